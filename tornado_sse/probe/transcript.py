"""A stream as it came: which lines, when, and what a standard reader makes of them. No I/O.

An `.EventParser` tells what the events are; a linter has to see the rest as well: what is in no event, in
which order, and how much time has passed between the first byte of an event and its last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tornado_sse.event import Event
from tornado_sse.parser import EventParser

__all__ = ["Block", "Transcript"]

_BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Block:
    """The lines up to a blank one.

    Times are in seconds on the clock of who feeds the transcript.
    """

    #: Its lines, without their ends and without comments.
    lines: list[bytes] = field(default_factory=list)
    #: How many comments there are among them.
    comments: int = 0
    #: When the first byte came that is not of a comment.
    begun: float = 0.0
    #: When the blank line came.
    ended: float = 0.0
    #: The event, or None if a reader dispatches none.
    event: Event | None = None

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of the fields of a name."""
        return [value for each, value in self.fields() if each == name]

    def fields(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield names and values (HTML, section 9.2.6)."""
        for line in self.lines:
            name, _, value = line.partition(b":")
            yield name, value.removeprefix(b" ")

    @property
    def id(self) -> str | None:
        """The id that the block itself has, which a reader takes even if there is no event."""
        values = [value for value in self.values(b"id") if b"\0" not in value]
        return values[-1].decode("utf-8", "replace") if values else None


class Transcript:
    """The blocks of a stream, in whatever pieces it comes."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        #: What has begun and was not ended by a blank line.
        self.unfinished = Block()
        #: When a comment came.
        self.comments: list[float] = []
        #: When bytes came.
        self.moments: list[float] = []
        self.size = 0
        #: Whether all bytes so far are UTF-8, and whether the first ones are a BOM.
        self.utf8 = True
        self.bom = False
        self._at_start = True
        self._line = b""
        self._line_begun = 0.0
        self._after_cr = False
        self._parser = EventParser()

    @property
    def events(self) -> list[tuple[Block, Event]]:
        """The blocks that are events, each with its event."""
        return [(block, block.event) for block in self.blocks if block.event is not None]

    @property
    def retry(self) -> int | None:
        """The reconnection time, in milliseconds, as a reader takes it."""
        return self._parser.retry

    def feed(self, at: float, data: bytes) -> None:
        """Take the next bytes, and the time at which they came.

        :raises EventTooLargeError: if an event is larger than an `.EventParser` takes.
        """
        self.moments.append(at)
        self.size += len(data)
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        if not data:
            return
        self._after_cr = data.endswith(b"\r")
        begun = self._line_begun if self._line else at
        lines = (self._line + data).splitlines()
        self._line = b"" if data[-1] in b"\r\n" else lines.pop()
        self._line_begun = begun if not lines else at
        for line in lines:
            self._take(line, begun, at)
            begun = at
        # A reader that is told of half an event knows nothing yet; the time of its beginning counts.
        if self._line and not self._line.startswith(b":") and not self.unfinished.lines:
            self.unfinished.begun = self._line_begun

    def _take(self, line: bytes, begun: float, at: float) -> None:
        if self._at_start:
            self._at_start = False
            self.bom = line.startswith(_BOM)
            line = line.removeprefix(_BOM)
        block = self.unfinished
        if line.startswith(b":"):
            block.comments += 1
            self.comments.append(at)
        elif line:
            if not block.lines:
                block.begun = begun
            block.lines.append(line)
        else:
            if block.lines or block.comments:
                self._finish(block, at)
            self.unfinished = Block()

    def _finish(self, block: Block, at: float) -> None:
        raw = b"\n".join(block.lines)
        try:
            raw.decode()
        except UnicodeDecodeError:
            self.utf8 = False
        block.ended = at
        block.begun = block.begun or at
        (block.event,) = self._parser.feed(raw + b"\n\n") or (None,)
        self.blocks.append(block)

    @property
    def has_unfinished(self) -> bool:
        """Whether something has come that a blank line would make an event."""
        return bool(self.unfinished.values(b"data")) or self._line.startswith(b"data")
