"""A log in Redis or Valkey: what its scripts are given and return, as drafts and records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final

from tornado_sse.backends.base import WINDOW, Page
from tornado_sse.backends.redis_link import Link
from tornado_sse.backends.tailed import Tail
from tornado_sse.log import Retention
from tornado_sse.record import Draft, Record, with_id

__all__ = ["append_args", "parse_record", "read_behind", "read_page", "read_state", "read_tail"]

# How many bytes of keyed events a server reads in one go: some milliseconds in which it does nothing else.
_AT_ONCE: Final = 512 * 1024

# How many channels are asked about in one go.
_CHANNELS: Final = 500

# How long a message id is remembered, in milliseconds.
_REMEMBERED: Final = round(WINDOW * 1000)

_by_position: Final = attrgetter("position")

_Arg = str | bytes | int


def append_args(
    drafts: Sequence[Draft],
    retention: Callable[[str], Retention],
    *,
    epoch: str,
    topics: str,
    nonce: str,
    number: int,
    ahead: int,
) -> list[_Arg]:
    """Return what the script ``append`` is given.

    :arg str topics: what the names of all topics begin with.
    :arg str nonce: the name of the one who appends.
    :arg int number: that of the batch, which is the same when it is tried again.
    :arg int ahead: by how many microseconds the log's clock is ahead of the server's.
    """
    channels: dict[str, int] = {}
    for draft in drafts:
        channels.setdefault(draft.channel, len(channels) + 1)
    args: list[_Arg] = [epoch, topics, nonce, number, _REMEMBERED, ahead, len(channels)]
    for channel in channels:
        limit = retention(channel)
        age = None if limit.age is None else round(limit.age * 1e6)
        args.append(channel)
        args += ["" if each is None else each for each in (limit.events, limit.bytes, limit.keys, age)]
    for channel, frame, key, message_id in drafts:
        if key is None:
            args += [channels[channel], "", message_id or "", b"- " + frame]
        else:
            name = key.encode()
            args += [channels[channel], b"k" + name, message_id or "", b"%d %b%b" % (len(name), name, frame)]
    return args


def parse_record(channel: str, epoch: str, position: int, value: bytes) -> Record:
    """Return an event from the way it is stored."""
    time, length, rest = value.split(b" ", 2)
    key = None
    if length != b"-":
        key, rest = rest[: int(length)].decode(), rest[int(length) :]
    return Record(position, channel, with_id(rest, epoch, position), key, int(time) / 1e6)


# Reading. The first of what each of these returns is the epoch of what was read.


async def read_page(link: Link, channel: str, after: int, upto: int, size: int) -> tuple[str, Page]:
    """Return the events after a position, up to another, within a size in bytes."""
    epoch, _, floor, more, *found = await link.ask("page", channel, after, upto, size)
    return epoch.decode(), Page([*_records(channel, epoch, found)], floor, bool(more))


async def read_tail(link: Link, channel: str, after: int, limit: Retention) -> tuple[str, Tail]:
    """Return the last events after a position, as many of those without a key as there is room for."""
    records: list[Record] = []
    seen, more, epoch = after, 1, b""
    events = "" if limit.events is None else limit.events
    room = "" if limit.bytes is None else limit.bytes
    while more:
        epoch, position, start, more, *found = await link.ask(
            "tail", channel, after, seen, _AT_ONCE, events, room
        )
        records += _records(channel, epoch, found)
        if more:
            seen = records[-1].position
    # What was replaced between two parts is there twice; the log in memory keeps the latter.
    return epoch.decode(), Tail(sorted(records, key=_by_position), start, position)


async def read_state(link: Link, channel: str) -> tuple[str, Sequence[Record]]:
    """Return the latest event of every key of a channel."""
    epoch, tail = await read_tail(link, channel, 0, Retention(events=1, bytes=1))
    latest = {record.key: record for record in tail.records if record.key is not None}
    return epoch, sorted(latest.values(), key=_by_position)


async def read_behind(link: Link, after: int, channels: Sequence[str]) -> Sequence[str]:
    """Return those of the channels that have got something after a position."""
    found: list[str] = []
    for begin in range(0, len(channels), _CHANNELS):
        _, _, *behind = await link.ask("behind", after, *channels[begin : begin + _CHANNELS])
        found += [channel.decode() for channel in behind]
    return found


def _records(channel: str, epoch: bytes, found: Sequence[Any]) -> Iterator[Record]:
    name = epoch.decode()
    for position, value in zip(found[::2], found[1::2], strict=True):
        yield parse_record(channel, name, position, value)
