"""A transcript has the events that a parser has, and knows of all else when it came."""

from __future__ import annotations

import pytest

from tests.support import cuts, parse
from tornado_sse import EventTooLargeError
from tornado_sse.probe.transcript import Transcript

STREAM = (
    b"\xef\xbb\xbf: hello\r\n\r\nid: 1\rdata: one\r\rdata\n: comment\ndata: two\n\n"
    b"retry: 7\n\nData: no\n\nid: 2\0\ndata:three\r\n\r\ndata: never"
)


def test_it_has_the_events_that_a_parser_has_however_it_is_cut() -> None:
    for pieces in cuts(STREAM):
        it = Transcript()
        for at, piece in enumerate(pieces):
            it.feed(at, piece)
        assert [event for _, event in it.events] == parse([STREAM])
        assert [block.id for block in it.blocks] == [None, "1", None, None, None, None]
        assert [block.lines for block in it.blocks][2] == [b"data", b"data: two"]
        assert [block.comments for block in it.blocks] == [1, 0, 1, 0, 0, 0]
        assert (it.retry, it.bom, it.utf8, it.has_unfinished) == (7, True, True, True)


def test_it_knows_when_what_came() -> None:
    it = Transcript()
    for at, piece in enumerate([b":\n", b"da", b"ta: 1\n", b"", b"\n", b":", b"\n", b"data: 2\n\n"]):
        it.feed(at, piece)
    first, second = it.blocks
    assert (first.begun, first.ended) == (1, 4), "a comment is not the beginning of an event"
    assert (second.begun, second.ended) == (7, 7)
    assert it.comments == [0, 6]
    assert not it.has_unfinished


def test_the_beginning_of_what_is_unfinished_counts() -> None:
    it = Transcript()
    it.feed(3.0, b"dat")
    it.feed(5.0, b"a: 1")
    assert it.unfinished.begun == 3.0
    assert it.has_unfinished
    it = Transcript()
    it.feed(3.0, b": comm")
    it.feed(5.0, b"ent")
    assert not it.has_unfinished


def test_bytes_that_are_no_utf8_are_noticed() -> None:
    it = Transcript()
    it.feed(0, b"data: \xff\n\n")
    assert not it.utf8


def test_an_event_may_be_too_large() -> None:
    it = Transcript()
    with pytest.raises(EventTooLargeError):
        it.feed(0, b"data: " + bytes(17 * 1024 * 1024) + b"\n\n")
