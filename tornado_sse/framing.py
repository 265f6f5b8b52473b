"""Where a response's body ends. No I/O: bytes in, the body's bytes out.

Tornado's own reading of a body can't be used for an event stream: it gathers small chunks before it hands
them on, and when the connection breaks off, what it has gathered is lost. A server that sends an event and
dies would send it again and again to a client that never sees it.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from tornado.httputil import HTTPHeaders

__all__ = ["Chunks", "Framing", "Length", "UntilClose", "framing_of"]

_IS_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n").fullmatch
_IS_LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII).fullmatch

# How long the line of a chunk's size may be, extensions included, and all trailers together. Nothing is done
# with either.
_MAX_LINE: Final = 4096


class Framing(Protocol):
    """What finds the end of a body."""

    @property
    def complete(self) -> bool:
        """Whether the end has been seen. What comes after it is ignored."""

    @property
    def may_close(self) -> bool:
        """Whether the end of the connection is now the end of the body."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes from the connection and return those of them that are the body's.

        :raises ValueError: if they make no sense, with what is wrong.
        """


class UntilClose:
    """A body that ends with its connection (RFC 9112, section 6.3, rule 8)."""

    complete = False
    may_close = True

    def feed(self, data: bytes) -> bytes:
        """Return them as they are."""
        return data


class Length:
    """A body of so many bytes."""

    may_close = False

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def complete(self) -> bool:
        """Whether all have come."""
        return self._left == 0

    def feed(self, data: bytes) -> bytes:
        """Return them, up to the end."""
        data = data[: self._left]
        self._left -= len(data)
        return data


class Chunks:
    """A body in chunks (RFC 9112, section 7.1). A chunk is not an event, nor are two."""

    may_close = False

    def __init__(self) -> None:
        self.complete = False
        self._left = 0  # of the chunk that is being read
        self._line = b""  # what there is of a line: a size, the end of a chunk, or a trailer
        self._ending = False  # whether that line ends a chunk
        self._trailers = -1  # their bytes so far; before the last chunk -1

    def feed(self, data: bytes) -> bytes:
        """Return the chunks' contents."""
        contents = []
        at = 0
        while at < len(data) and not self.complete:
            if self._left:
                piece = data[at : at + self._left]
                contents.append(piece)
                self._left -= len(piece)
                self._ending = not self._left
                at += len(piece)
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line += data[at : min(end, at + _MAX_LINE + 1)]
            if len(self._line) + max(self._trailers, 0) > _MAX_LINE:
                raise ValueError("a chunk's head or the trailers are too long")
            at = end
            if self._line.endswith(b"\n"):
                line, self._line = self._line, b""
                self._take(line)
        return contents[0] if len(contents) == 1 else b"".join(contents)

    def _take(self, line: bytes) -> None:
        if self._ending:
            if line != b"\r\n":
                raise ValueError("a chunk is longer than it said")
            self._ending = False
        elif self._trailers >= 0:
            self._trailers += len(line)
            self.complete = line == b"\r\n"
        else:
            match = _IS_SIZE(line)
            if match is None:
                raise ValueError("what should be a chunk's size is none")
            self._left = int(match[1], 16)
            if not self._left:
                self._trailers = 0


def framing_of(headers: HTTPHeaders) -> Framing:
    """Return what finds the end of a response's body.

    :raises ValueError: if the head says nothing that makes sense.
    """
    encoding = headers.get("Transfer-Encoding")
    lengths = {part.strip() for part in headers.get("Content-Length", "").split(",")}
    if encoding is not None:
        if encoding.strip().lower() != "chunked":
            raise ValueError(f"the transfer encoding {encoding!r} is not chunked")
        return Chunks()
    if lengths == {""}:
        return UntilClose()
    (length,) = lengths if len(lengths) == 1 else ("",)
    if not _IS_LENGTH(length):
        raise ValueError(f"{headers['Content-Length']!r} is no length")
    return Length(int(length))
