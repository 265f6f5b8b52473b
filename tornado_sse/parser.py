"""Bytes to events, in whatever pieces they arrive. No I/O: `feed` it and take what comes out.

Theory of operation
-------------------
The standard (WHATWG HTML, sections 9.2.5 and 9.2.6) describes three layers: bytes are decoded as UTF-8,
text is split into lines, lines are interpreted. We split first and decode what is kept, which gives the
same result, because CR and LF are single bytes in UTF-8 and never part of another character, even
of a broken one. It lets `bytes.splitlines` do the work: for bytes it knows exactly the three line ends of
the standard (for str it knows eight more).

What must survive from one `feed` to the next:

- an unfinished line, as a list of fragments. Adding each to one growing string would cost O(N²) for a
  long line that arrives in small pieces.
- whether the last byte was CR. It ended its line at once, since an event must not wait for a byte that
  may never come; if LF is next, it belongs to that CR.
- at the very start, up to two bytes that may become a BOM.
- the fields of the unfinished event.

Memory is bounded: the unfinished line and the unfinished event together hold at most ``max_event_size``
bytes. A peer that exceeds it is broken or hostile, and there is no point in the stream from which one
could safely go on, so the parser refuses all further input.
"""

from __future__ import annotations

from tornado_sse.errors import EventTooLargeError
from tornado_sse.event import Event, received_event

__all__ = ["EventParser"]

_BOM = b"\xef\xbb\xbf"

# Bounds what a peer can make us hold for one event. Browsers have no limit here; the eventsource
# packages of npm and Go's bufio.Scanner readers stop at 64 KiB to 1 MiB, which breaks on images sent as
# base64. 16 MiB is far above what is sent in earnest and far below what hurts.
_MAX_EVENT_SIZE = 16 * 1024 * 1024

# `retry` may have any number of digits. Past the largest integer that JavaScript holds exactly,
# the difference is a quarter of a million years.
_MAX_RETRY = 2**53 - 1

_FIELDS = frozenset({b"data", b"id", b"event", b"codec", b"retry"})

# A line is long, in bytes, if it is worth a call of its own to find its end.
_LONG = 256


class EventParser:
    """An incremental parser for one event stream.

    :arg str last_event_id: the id to start from, when the stream resumes an earlier one.
    :arg int max_event_size: how many bytes one event may have.

    At the end of a stream simply drop the parser: an event that was not ended by a blank line does not
    count (section 9.2.6). For the next connection make a new one with this one's ``last_event_id``.
    """

    __slots__ = (
        "_after_cr", "_codec", "_data", "_failed", "_fragments", "_fragments_size", "_id",
        "_retry", "_size", "_start", "_type", "last_event_id", "max_event_size", "retry",
    )  # fmt: skip

    #: What its events are; a subclass may say otherwise.
    kind: type[Event] = Event

    def __init__(self, last_event_id: str = "", *, max_event_size: int = _MAX_EVENT_SIZE) -> None:
        if max_event_size < 1:
            raise ValueError(f"max_event_size must be a positive number of bytes, not {max_event_size}")
        #: The id to send as ``Last-Event-ID`` when reconnecting (str); the empty string means none.
        self.last_event_id = last_event_id
        #: The reconnection time the peer asked for, in milliseconds (int), or None.
        self.retry: int | None = None
        self.max_event_size = max_event_size

        self._start: bytes | None = b""  # what may become a BOM; None once that is decided
        self._after_cr = False
        self._fragments: list[bytes] = []
        self._fragments_size = 0
        self._failed = False

        self._data: list[bytes] = []
        self._size = 0
        self._type = b""
        self._id: bytes | None = None
        self._retry: int | None = None
        self._codec: bytes | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes of the stream and return the events they complete, oldest first.

        :raises EventTooLargeError: if an event exceeds ``max_event_size``; then on every further call,
            too. Events completed before that one are returned first.
        """
        if self._failed:
            raise EventTooLargeError(self.max_event_size)
        if self._start is not None:
            data = self._start + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._start = data
                return []
            self._start = None
            data = data.removeprefix(_BOM)
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 0x0A:
                data = data[1:]
        if not data:
            return []

        if b"\r" in data:
            lines = data.splitlines()
            last = data[-1]
            self._after_cr = last == 0x0D
            unfinished = b"" if last in b"\r\n" else lines.pop()
        else:
            lines = _split(data)
            unfinished = lines.pop()
        if lines and self._fragments:
            self._fragments.append(lines[0])
            lines[0] = b"".join(self._fragments)
            self._fragments.clear()
            self._fragments_size = 0

        events: list[Event] = []
        held, limit = self._data, self.max_event_size
        for line in lines:
            # Most lines are of these two kinds, and to interpret one by a call takes twice as long.
            if line.startswith(b"data: "):
                held.append(line[6:])
                self._size += len(line) - 5
            elif line.startswith(b"id: ") and b"\0" not in line:
                self._id = line[4:]
                self._size += len(line) - 3
            elif line:
                self._interpret(line)
            else:
                if (event := self._dispatch()) is not None:
                    events.append(event)
                continue
            if self._size > limit:
                return self._fail(events)
        if unfinished:
            self._fragments.append(unfinished)
            self._fragments_size += len(unfinished)
            if self._size + self._fragments_size > self.max_event_size:
                return self._fail(events)
        return events

    def _interpret(self, line: bytes) -> None:
        # "If value starts with a U+0020 SPACE character, remove it": one, and nothing but U+0020.
        name, _, value = line.partition(b": ")
        if name not in _FIELDS:
            # "If the line contains a colon": without one the whole line is the name, the value empty. A space
            # after the first colon would have been found above. A comment has no name, and is nobody's.
            name, _, value = line.partition(b":")
        if name == b"id":
            # "If the field value does not contain U+0000 NULL [...]. Otherwise, ignore the field."
            if b"\0" in value:
                return
            self._id = value
        elif name == b"event":
            self._type = value
        elif name == b"codec":
            self._codec = value
        elif name == b"data":
            self._data.append(value)
        else:
            # "consists of only ASCII digits": bytes.isdigit means just that, and refuses the empty value.
            if name == b"retry" and value.isdigit():
                if len(value) > 15:
                    # Python refuses to convert thousands of digits; the first few decide.
                    value = b"%d" % min(int(value.lstrip(b"0")[:17] or b"0"), _MAX_RETRY)
                self.retry = self._retry = int(value)
            return
        self._size += len(value) + 1

    def _dispatch(self) -> Event | None:
        # The id counts even where there is no data (section 9.2.6, dispatch, steps 1 and 2).
        if self._id is not None:
            self.last_event_id = self._id.decode("utf-8", "replace")
            self._id = None
        event = None
        data, type, codec = self._data, self._type, self._codec
        if data:
            event = received_event(
                (data[0] if len(data) == 1 else b"\n".join(data)).decode("utf-8", "replace"),
                type.decode("utf-8", "replace") if type else "message",
                self.last_event_id,
                self._retry,
                codec.decode("utf-8", "replace") if codec else None,
                self.kind,
            )
            data.clear()
        self._size = 0
        self._type = b""
        self._retry = self._codec = None
        return event

    def _fail(self, events: list[Event]) -> list[Event]:
        self._failed = True
        self._fragments.clear()
        self._data.clear()
        if events:
            return events
        raise EventTooLargeError(self.max_event_size)


def _split(data: bytes) -> list[bytes]:
    """Split at LF, as `bytes.split`, which looks at every byte; `bytes.find` skips over a long line.

    Which of the two it is depends on the line in the middle.
    """
    middle = len(data) // 2
    if middle < _LONG or data.find(b"\n", middle, middle + _LONG) >= 0:
        return data.split(b"\n")
    lines = []
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        lines.append(data[start:end])
        start = end + 1
    lines.append(data[start:])
    return lines
