"""The bytes of several events, as one send."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from tornado_sse.record import Record
from tornado_sse.transport import chunk

__all__ = ["SIZE", "Piece", "pieces"]

#: How many bytes a piece may have; one event may have more. Large enough that a system call is nothing beside
#: its bytes, small enough for what each slow subscriber may hold.
SIZE: Final = 64 * 1024


class Piece(NamedTuple):
    """Whole events, framed as the body of a response has them."""

    data: bytes
    #: How many events.
    events: int
    #: Where a subscriber is before this piece, and after it.
    after: int
    upto: int


def pieces(records: Iterable[Record], after: int, upto: int, *, chunked: bool) -> list[Piece]:
    """Return events, from one position to another, in pieces."""
    found: list[Piece] = []
    frames: list[bytes] = []
    size = 0
    for record in records:
        if size and size + len(record.frame) > SIZE:
            # What lies between the last event of this piece and the first of the next is for others.
            found.append(_piece(frames, after, record.position - 1, chunked))
            after, frames, size = record.position - 1, [], 0
        frames.append(record.frame)
        size += len(record.frame)
    if frames:
        found.append(_piece(frames, after, upto, chunked))
    return found


def _piece(frames: list[bytes], after: int, upto: int, chunked: bool) -> Piece:
    data = frames[0] if len(frames) == 1 else b"".join(frames)
    return Piece(chunk(data) if chunked else data, len(frames), after, upto)
