"""An event in a log: what is appended, what is read back, and the id that stands for its place.

A log keeps events in the wire format, encoded once, when they are published. What a record lacks until it has
its place is the id, ``<epoch>-<position>``: the epoch names an incarnation of the log, the position counts
its events, whatever their channel. The same id serves any set of channels, so a frame is the same for all who
get it.
"""

from __future__ import annotations

import re
import secrets
from typing import Final, NamedTuple

from tornado_sse.errors import InvalidChannelError

__all__ = ["Draft", "Record", "check_channel", "format_id", "new_epoch", "parse_id", "with_id"]

# Nothing that means something in a path, a pattern of names, a header or a shell. Backends may escape
# further; they need not fear a name.
_IS_CHANNEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@~+=,-]{0,199}", re.ASCII).fullmatch

# One spelling for each id: no sign, no leading zero, ASCII digits alone, and no more than 64 bits hold.
_IS_ID: Final = re.compile(r"([a-z0-9]{1,32})-(0|[1-9][0-9]{0,18})", re.ASCII).fullmatch

_TYPE: Final = b"event: "


class Draft(NamedTuple):
    """An event on its way into a log."""

    #: The channel's name.
    channel: str
    #: The event in the wire format, without an id.
    frame: bytes
    #: What the event is the latest state of; None if it stands for itself.
    key: str | None = None
    #: What tells that it is the same event when it is appended again; None if it never is.
    message_id: str | None = None


class Record(NamedTuple):
    """An event in a log."""

    #: Its place among all events of the log.
    position: int
    #: The channel's name.
    channel: str
    #: The event in the wire format, with its id.
    frame: bytes
    #: What the event is the latest state of; None if it stands for itself.
    key: str | None
    #: When it was appended: seconds, by the backend's clock.
    time: float


def check_channel(name: object) -> str:
    """Return a channel's name.

    :raises InvalidChannelError: if it can't be one.
    """
    if isinstance(name, str) and _IS_CHANNEL(name):
        return name
    raise InvalidChannelError(name)


def new_epoch() -> str:
    """Return a name for a new incarnation of a log. Two that are the same are one in a million million."""
    return secrets.token_hex(5)


def format_id(epoch: str, position: int) -> str:
    """Return the id of an event, which is also where a client is that has seen it."""
    return f"{epoch}-{position}"


def parse_id(text: str) -> tuple[str, int] | None:
    """Return the epoch and the position of an id, or None if no log has written it."""
    match = _IS_ID(text)
    return None if match is None else (match[1], int(match[2]))


def with_id(frame: bytes, epoch: str, position: int) -> bytes:
    """Return an encoded event with its id, which goes behind the type, as in `.encode_event`."""
    if frame.startswith(_TYPE):
        end = frame.index(b"\n") + 1
        return b"%bid: %b-%d\n%b" % (frame[:end], epoch.encode(), position, frame[end:])
    return b"id: %b-%d\n%b" % (epoch.encode(), position, frame)
