from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import cuts, parse
from tornado_sse import Event, EventParser, EventTooLargeError
from tornado_sse.event import received_event


def message(data: str, id: str = "", **fields: object) -> Event:
    return Event(data, "message", id, **fields)  # type: ignore[arg-type]


# What other readers were seen to get wrong, and what the conformance table leaves open.
CASES: list[tuple[str, bytes, list[Event]]] = [
    ("nothing", b"", []),
    ("only blank lines", b"\n\r\n\r\r\n", []),
    ("an event without data is none, but its id counts", b"id: 7\n\ndata: x\n\n", [message("x", "7")]),
    ("event and retry alone dispatch nothing", b"event: a\nretry: 5\n\n: c\n\n", []),
    ("retry takes no sign", b"retry: +5\ndata: x\n\n", [message("x")]),
    ("retry takes no minus", b"retry: -5\ndata: x\n\n", [message("x")]),
    ("retry takes ASCII digits only", "retry: ٣\ndata: x\n\n".encode(), [message("x")]),
    ("retry takes no underscore", b"retry: 1_0\ndata: x\n\n", [message("x")]),
    ("retry takes no second space", b"retry:  5\ndata: x\n\n", [message("x")]),
    ("retry is told with its event", b"retry: 005\ndata: x\n\ndata: y\n\n",
        [message("x", retry=5), message("y")]),
    ("retry as far as it is exact", b"retry: 9007199254740990\ndata: x\n\n", [message("x", retry=2**53 - 2)]),
    ("retry beyond that", b"retry: 9007199254740993\ndata: x\n\n", [message("x", retry=2**53 - 1)]),
    ("retry of any length", b"retry: " + b"9" * 5000 + b"\ndata: x\n\n", [message("x", retry=2**53 - 1)]),
    ("the first line after a BOM is whole", b"\xef\xbb\xbfdata: x\n\n", [message("x")]),
    ("a BOM inside data stays", b"data: \xef\xbb\xbfx\n\n", [message("\ufeffx")]),
    ("half a BOM is a field nobody knows", b"\xef\xbbdata: x\ndata: y\n\n", [message("y")]),
    ("CR alone ends lines", b"data: x\r\rdata: y\r\r", [message("x"), message("y")]),
    ("CR LF ends one line", b"data: x\r\n\r\n", [message("x")]),
    ("U+2028, U+0085, VT, FF, FS, GS, RS end none", b"data: \xe2\x80\xa8\xc2\x85\v\f\x1c\x1d\x1e\n\n",
        [message("\u2028\u0085\v\f\x1c\x1d\x1e")]),
    ("broken UTF-8 is replaced", b"data: \xff\xe2\x82\ndata: \xf0\x9f\n\n",
        [message("\ufffd\ufffd\n\ufffd")]),
    ("NUL in a type is kept", b"event: a\0b\ndata: x\n\n", [received_event("x", "a\0b", "")]),
    ("an unknown field is skipped", b"foo: bar\ndata: x\n\n", [message("x")]),
    ("the codec is ours", b"codec: msgpack\ndata: gA==\n\ndata: x\n\n",
        [message("gA==", codec="msgpack"), message("x")]),
    ("an empty codec is none", b"codec\ndata: x\n\n", [message("x")]),
    ("a codec without data goes with its block", b"codec: json\n\ndata: x\n\n", [message("x")]),
    ("the type goes with its block", b"event: a\n\ndata: x\n\n", [message("x")]),
    ("an unfinished event at the end is dropped", b"data: x\n\ndata: y\nid: 9\n", [message("x")]),
    ("a field name must match whole", b"datax: 1\n data: 2\ndata : 3\nData: 4\ndata: x\n\n", [message("x")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stream", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_it_reads_what_the_standard_says_however_it_is_cut(stream: bytes, expected: list[Event]) -> None:
    for pieces in cuts(stream) if len(stream) < 1000 else [[stream]]:
        assert parse(pieces) == expected


def test_an_event_ended_by_cr_does_not_wait_for_the_next_byte() -> None:
    parser = EventParser()
    assert parser.feed(b"data: x\r\r") == [message("x")]
    assert parser.feed(b"\ndata: y\r") == []
    assert parser.feed(b"\n\r") == [message("y")]
    assert parser.feed(b"\n") == []


def test_the_id_and_the_retry_outlive_their_event() -> None:
    parser = EventParser("0")
    assert parse([b"data: a\n\nid: 1\nretry: 10\ndata: b\n\ndata: c\n\n"], parser) == [
        message("a", "0"),
        message("b", "1", retry=10),
        message("c", "1"),
    ]
    assert (parser.last_event_id, parser.retry) == ("1", 10)


def test_an_id_counts_when_its_block_ends_and_not_before() -> None:
    parser = EventParser()
    parser.feed(b"id: 1\n")
    assert parser.last_event_id == ""
    parser.feed(b"\n")
    assert parser.last_event_id == "1"


@pytest.mark.parametrize("piece", [1, 7, 64, 10_000])
@pytest.mark.parametrize(
    "endless",
    [
        b"data: " + b"x" * 300_000,
        b"x" * 300_000,
        b":" + b"x" * 300_000,
        b"data: x\n" * 40_000,
        b"id: " + b"x" * 300_000,
    ],
    ids=["data", "name", "comment", "lines", "id"],
)
def test_what_a_peer_sends_without_end_is_refused_before_it_is_held(endless: bytes, piece: int) -> None:
    parser = EventParser(max_event_size=50_000)
    tracemalloc.start()
    with pytest.raises(EventTooLargeError, match="50,000 bytes"):
        for i in range(0, len(endless), piece):
            parser.feed(endless[i : i + piece])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
    with pytest.raises(EventTooLargeError):
        parser.feed(b"data: x\n\n")


def test_fields_other_than_data_count_as_well() -> None:
    parser = EventParser(max_event_size=1000)
    with pytest.raises(EventTooLargeError):
        parser.feed(b"event: " + b"x" * 600 + b"\nid: " + b"y" * 600 + b"\n")
    assert EventParser(max_event_size=100).feed(b"id: 0123456789\n\n" * 100) == []


def test_events_before_one_that_is_too_large_are_not_lost() -> None:
    parser = EventParser(max_event_size=100)
    assert parser.feed(b"data: a\n\ndata: b\n\ndata: " + b"x" * 200 + b"\n\ndata: c\n\n") == [
        message("a"),
        message("b"),
    ]
    with pytest.raises(EventTooLargeError) as caught:
        parser.feed(b"")
    assert caught.value.limit == 100


def test_many_events_may_together_be_larger_than_one_may_be() -> None:
    parser = EventParser(max_event_size=100)
    assert len(parser.feed(b"data: 0123456789\n\n" * 100)) == 100


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_event_size"):
        EventParser(max_event_size=0)


def test_a_long_line_in_small_pieces_takes_linear_time() -> None:
    # Quadratic, this would copy some 10 GB.
    parser = EventParser()
    for _ in range(160_000):
        assert parser.feed(b"x" * 64) == []


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_where_any_bytes_are_cut_makes_no_difference(stream: bytes, places: list[int]) -> None:
    edges = sorted({0, len(stream), *(place for place in places if place < len(stream))})
    assert parse(stream[a:b] for a, b in itertools.pairwise(edges)) == parse([stream])


tokens = st.sampled_from(
    [
        b"data",
        b"event",
        b"id",
        b"retry",
        b"codec",
        b":",
        b" ",
        b"\n",
        b"\r",
        b"\r\n",
        b"\0",
        b"7",
        b"x",
        b"\xef\xbb\xbf",
    ]
)


@given(st.lists(tokens, max_size=40).map(b"".join))
def test_bytes_that_look_like_a_stream_are_cut_anywhere(stream: bytes) -> None:
    whole = parse([stream])
    for pieces in cuts(stream):
        assert parse(pieces) == whole
