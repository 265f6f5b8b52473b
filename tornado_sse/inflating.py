"""Compressed bytes to plain ones, a bounded piece at a time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

__all__ = ["SIZE", "Inflater"]

#: The largest piece, in bytes. A byte of deflate may stand for a thousand: what came in one piece is never
#: held as one.
SIZE: Final = 64 * 1024

_GZIP: Final = 16 + zlib.MAX_WBITS


class Inflater:
    """A decoder of ``Content-Encoding: gzip``, one member or several (RFC 1952, section 2.2).

    Each piece is there as soon as its bytes are, so an event that the server has flushed waits for nothing.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes stand for, in pieces of `SIZE` at the most.

        What the caller does between two pieces decides how fast it goes; nothing is made in advance.

        :raises zlib.error: if it is not gzip, or damaged.
        """
        while True:
            self._begun = self._begun or bool(data)
            piece = self._member.decompress(data, SIZE)
            if piece:
                yield piece
            if self._member.eof:
                data = self._member.unused_data
                self._member = zlib.decompressobj(_GZIP)
                self._begun = False
                if not data:
                    return
            else:
                data = self._member.unconsumed_tail
                # A piece that is full may leave more in the window, though all bytes have been taken.
                if not data and len(piece) < SIZE:
                    return

    @property
    def complete(self) -> bool:
        """Whether nothing is missing: the bytes so far end with a member's end."""
        return not self._begun
