"""What is read from a log in NATS, while others append to it.

Many messages are read by one request, which the server calls a batched direct get. It goes through the stream
in the order of positions, so whoever has read up to a message has read all before it, but for those that have
been replaced meanwhile: what replaces them comes later.

Floors are written before anything up to them is dropped, and are read after the events. So nothing is missed
without being known of. What is up to a floor and still there is left out, since some of it may be gone.

A replica answers too, which may be behind the stream's leader for a moment. Where there are replicas, the
leader is asked for the last message of what has been read, and for floors.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from tornado_sse.backends.base import Page
from tornado_sse.backends.nats_link import Link
from tornado_sse.backends.nats_names import Floors, Message, Names
from tornado_sse.backends.nats_stream import Stream
from tornado_sse.backends.tailed import Tail
from tornado_sse.errors import BackendError
from tornado_sse.log import OVERHEAD, Retention
from tornado_sse.record import Record

__all__ = ["Batch", "Log"]

# How much is asked for at a time: messages, and bytes.
_AT_ONCE: Final = 500
_BYTES: Final = 256 * 1024

# How many channels are asked for what was missed of them at a time.
_CHANNELS: Final = 32

_by_position: Final = attrgetter("position")

# How long to wait for a replica to catch up, in seconds, before it is asked again, and how often.
_PAUSE: Final = 0.02
_ATTEMPTS: Final = 50


class Batch(NamedTuple):
    """Some messages of a stream."""

    messages: Sequence[Message]
    #: How many more there are.
    left: int


class Log:
    """Reads a log.

    :arg retention: says how old a channel's events may be.
    :arg clock: tells the server's time, in seconds since 1970.
    """

    def __init__(
        self,
        stream: Stream,
        names: Names,
        retention: Callable[[str], Retention],
        clock: Callable[[], float],
    ) -> None:
        self._stream = stream
        self._names = names
        self._retention = retention
        self._clock = clock
        #: Whether there are replicas.
        self.replicated = False
        #: Everything up to here may have been dropped, in all channels.
        self.floor = 0
        #: The log's incarnation.
        self.epoch = ""

    async def page(self, link: Link, channel: str, after: int, upto: int, size: int) -> Page:
        """Return a page of a channel's events up to a position."""
        records: list[Record] = []
        oldest, expired = self._oldest(channel), 0
        more, left = False, 1
        at = after
        while left and not more:
            subjects = self._names.channel(channel)
            messages, left = await self.batch(link, subjects, at, size=max(size, 1))
            for message in messages:
                at = message.sequence
                if at > upto:
                    left = 0
                    break
                record = self._names.record(message, self.epoch)
                if record is None:
                    continue
                if record.time < oldest:
                    expired = at
                    continue
                if size <= 0:
                    more = True
                    break
                records.append(record)
                size -= len(record.frame) + OVERHEAD
        floors = await self.read_floors(link, channel)
        records = [record for record in records if not floors.cover(record)]
        return Page(records, max(expired, self.floor, *floors), more)

    async def state(self, link: Link, channel: str) -> Sequence[Record]:
        """Return the latest event of every key of a channel, in the order of their positions."""
        records: dict[str | None, Record] = {}
        oldest = self._oldest(channel)
        at, left = 0, 1
        while left:
            messages, left = await self.batch(link, self._names.keyed(channel), at)
            for message in messages:
                at = message.sequence
                record = self._names.record(message, self.epoch)
                if record is not None:
                    # One that has been replaced meanwhile makes place for the one that was read later.
                    records.pop(record.key, None)
                    records[record.key] = record
        floors = await self.read_floors(link, channel)
        return [each for each in records.values() if each.time >= oldest and not floors.cover(each)]

    async def tail(self, link: Link, channel: str, position: int, limit: Retention) -> Tail:
        """Return the last events of a channel, and the state of its keys.

        :arg int position: up to where everything is in the log.
        """
        keyed = await self.state(link, channel)
        plain, start = await self._last_plain(link, channel, limit)
        floors = await self.read_floors(link, channel)
        start = max(start, self.floor, *floors)
        records = sorted(
            (record for record in (*keyed, *plain) if not floors.cover(record)), key=_by_position
        )
        return Tail(records, start, max(position, records[-1].position if records else 0))

    async def missed(
        self, link: Link, channels: Iterable[str], after: int, upto: int
    ) -> AsyncIterator[tuple[Mapping[str, int], Sequence[Record], int]]:
        """Yield what has come to some channels after a position and up to another.

        Each time that is: up to where something of a channel is lost, which comes first; all events up to
        some position; and that position. The last one is the end.
        """
        behind = dict.fromkeys(channels, after)
        found: list[Record] = []
        while after < upto:
            floors: dict[str, int] = {}
            more: dict[str, int] = {}
            names = [*behind]
            for begin in range(0, len(names), _CHANNELS):
                some = names[begin : begin + _CHANNELS]
                pages = await asyncio.gather(
                    *(self.page(link, name, behind[name], upto, _BYTES // 4) for name in some)
                )
                for name, page in zip(some, pages, strict=True):
                    found += page.records
                    if page.floor > behind[name]:
                        floors[name] = page.floor
                    if page.more:
                        more[name] = page.records[-1].position
            # Up to here there is everything of all of them.
            after = min(more.values(), default=upto)
            found.sort(key=_by_position)
            ready = [record for record in found if record.position <= after]
            found = found[len(ready) :]
            yield floors, ready, after
            behind = more

    async def read_floors(self, link: Link, channel: str) -> Floors:
        """Return up to where something of a channel may have been dropped."""
        subject = self._names.floors(channel)
        if self.replicated:
            message = await self._stream.last(link, subject)
        else:
            (answer,) = await link.ask(f"$JS.API.DIRECT.GET.{self._stream.name}.{subject}")
            message = None if _status(answer) else Message.of(answer)
        return Floors.of(message)

    async def count(self, link: Link, subject: str, after: int = 0) -> tuple[Message | None, int]:
        """Return the first message of some subjects after a position, and how many there are."""
        messages, left = await self.batch(link, subject, after, count=1)
        return (messages[0], left + 1) if messages else (None, 0)

    async def find(self, link: Link, subject: str, fewest: int, most: int, low: int, high: int) -> int:
        """Return a position between two after which there are so many messages of some subjects.

        There are more after the lower one, and fewer after the higher one. Each step halves what is between.
        """
        while high - low > 1:
            middle = (low + high) // 2
            _, count = await self.count(link, subject, middle)
            if fewest <= count <= most:
                return middle
            low, high = (middle, high) if count > most else (low, middle)
        return low

    async def since(self, link: Link, subject: str, time: str) -> Message | None:
        """Return the first message of some subjects at or after a time, as the server writes it."""
        batch = await self._get(link, {"start_time": time, "next_by_subj": subject, "batch": 1})
        return batch.messages[0] if batch.messages else None

    async def batch(
        self, link: Link, subject: str, after: int, *, count: int = _AT_ONCE, size: int = _BYTES
    ) -> Batch:
        """Return messages of some subjects after a position: at least one, if there is one."""
        request = {"seq": after + 1, "next_by_subj": subject, "batch": count, "max_bytes": min(size, _BYTES)}
        for _ in range(_ATTEMPTS):
            batch = await self._get(link, request)
            if batch.left or not self.replicated:
                return batch
            last = await self._stream.last(link, subject)
            if last is None or last.sequence <= (batch.messages[-1].sequence if batch.messages else after):
                return batch
            await asyncio.sleep(_PAUSE)
        raise BackendError("nats", "a replica of the stream stays behind its leader")

    # How it is done

    async def _get(self, link: Link, request: dict[str, Any]) -> Batch:
        *answers, end = await link.ask(f"$JS.API.DIRECT.GET.{self._stream.name}", request, many=True)
        status = _status(end)
        if status not in ("204", "404"):
            said = (end.headers or {}).get("Description", "")
            raise BackendError("nats", f"the server answers: {status} {said}")
        left = int((end.headers or {}).get("Nats-Num-Pending", "0"))
        return Batch([Message.of(answer) for answer in answers], left)

    async def _last_plain(self, link: Link, channel: str, limit: Retention) -> tuple[Sequence[Record], int]:
        """Return the last events without a key, and from where on they are whole."""
        subject = self._names.plain(channel)
        first, total = await self.count(link, subject)
        if first is None:
            return (), 0
        # Fewer are read if they seem to be large. There may be more room than that; it is only memory's.
        most = _AT_ONCE if limit.events is None else limit.events
        if limit.bytes is not None:
            most = min(most, max(16, 4 * limit.bytes // (len(first.data) + OVERHEAD)))
        start = at = 0
        if total > most:
            last = await self._stream.last(link, subject)
            high = first.sequence + total if last is None else last.sequence
            start = at = await self.find(link, subject, most - most // 4, most, first.sequence, high)
        records: deque[Record] = deque()
        size, left = 0, 1
        oldest = self._oldest(channel)
        while left:
            messages, left = await self.batch(link, subject, at)
            for message in messages:
                at = message.sequence
                record = self._names.record(message, self.epoch)
                if record is None:
                    continue
                records.append(record)
                size += len(record.frame) + OVERHEAD
                while records and (
                    (limit.events is not None and len(records) > limit.events)
                    or (limit.bytes is not None and size > limit.bytes and len(records) > 1)
                    or records[0].time < oldest
                ):
                    start = records[0].position
                    size -= len(records.popleft().frame) + OVERHEAD
        return records, start

    def _oldest(self, channel: str) -> float:
        age = self._retention(channel).age
        return float("-inf") if age is None else self._clock() - age


def _status(message: Any) -> str | None:
    status: str | None = message.headers.get("Status") if message.headers else None
    return status
