from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from tests.support import cuts
from tornado_sse.inflating import SIZE, Inflater


def inflate(inflater: Inflater, *pieces: bytes) -> bytes:
    return b"".join(plain for piece in pieces for plain in inflater.pieces(piece))


def test_members_however_they_are_cut() -> None:
    data = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two")
    for pieces in cuts(data):
        inflater = Inflater()
        assert inflate(inflater, *pieces) == b"onetwo"
        assert inflater.complete


def test_what_has_been_flushed_is_there_at_once() -> None:
    compressor = zlib.compressobj(wbits=31)
    inflater = Inflater()
    for text in (b"data: a\n\n", b"data: b\n\n"):
        assert inflate(inflater, compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)) == text
    assert not inflater.complete


def test_what_is_cut_short_is_not_complete() -> None:
    inflater = Inflater()
    assert inflater.complete
    inflate(inflater, gzip.compress(b"x" * 100)[:-1])
    assert not inflater.complete


def test_what_is_damaged_is_refused() -> None:
    with pytest.raises(zlib.error):
        inflate(Inflater(), b"plain text")
    with pytest.raises(zlib.error):
        inflate(Inflater(), gzip.compress(b"x") + b"and more")


def test_a_bomb_goes_off_in_small_pieces() -> None:
    size = 50_000_000
    bomb = gzip.compress(bytes(size))
    tracemalloc.start()
    pieces = [len(piece) for piece in Inflater().pieces(bomb)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(pieces) == size
    assert max(pieces) <= SIZE
    assert peak < 1_000_000


def test_a_size_that_fills_pieces_exactly() -> None:
    for size in (SIZE, 2 * SIZE, SIZE - 1, SIZE + 1):
        inflater = Inflater()
        assert len(inflate(inflater, gzip.compress(bytes(size)))) == size
        assert inflater.complete
