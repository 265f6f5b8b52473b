from __future__ import annotations

import pytest

from tests.support import parse
from tornado_sse.piece import SIZE, Piece, pieces
from tornado_sse.record import Record


def record(position: int, size: int = 10) -> Record:
    return Record(position, "a", b"id: e-%d\ndata: %b\n\n" % (position, b"x" * size), None, 0.0)


def test_nothing_is_no_piece() -> None:
    assert pieces([], 3, 9, chunked=True) == []


@pytest.mark.parametrize("chunked", [True, False])
def test_a_piece_is_whole_events_framed_once(chunked: bool) -> None:
    records = [record(4), record(7)]
    (piece,) = pieces(records, 3, 9, chunked=chunked)
    frames = b"".join(each.frame for each in records)
    assert piece == Piece(b"%x\r\n%b\r\n" % (len(frames), frames) if chunked else frames, 2, 3, 9)


def test_a_single_event_is_not_copied() -> None:
    (piece,) = pieces([record(1)], 0, 1, chunked=False)
    assert piece.data == record(1).frame


def test_pieces_are_cut_between_events_and_follow_each_other() -> None:
    records = [record(2 * n, 10_000) for n in range(1, 31)]
    found = pieces(records, 0, 70, chunked=False)
    assert len(found) > 3
    assert all(len(piece.data) <= SIZE for piece in found)
    assert [piece.after for piece in found] == [0, *(piece.upto for piece in found[:-1])]
    assert found[-1].upto == 70
    assert sum(piece.events for piece in found) == 30
    assert len(parse([piece.data for piece in found])) == 30
    # Whoever has a piece has exactly the events up to its end.
    done = 0
    for piece in found:
        done += piece.events
        assert [each.position <= piece.upto for each in records] == [True] * done + [False] * (30 - done)


def test_an_event_larger_than_a_piece_is_one_by_itself() -> None:
    records = [record(1), record(2, SIZE * 2), record(3)]
    assert [piece.events for piece in pieces(records, 0, 3, chunked=True)] == [1, 1, 1]
