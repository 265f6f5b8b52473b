from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import cuts, parse
from tornado_sse import Event, EventParser, InvalidEventError, encode_comment, encode_event

GOLDEN = [
    (Event("x"), b"data: x\n\n"),
    (Event(""), b"data: \n\n"),
    (Event(" x"), b"data:  x\n\n"),
    (Event("a\nb"), b"data: a\ndata: b\n\n"),
    (Event("a\rb"), b"data: a\ndata: b\n\n"),
    (Event("a\r\nb"), b"data: a\ndata: b\n\n"),
    (Event("a\n\rb"), b"data: a\ndata: \ndata: b\n\n"),
    (Event("a\r\r\n\nb"), b"data: a\ndata: \ndata: \ndata: b\n\n"),
    (Event("a\n"), b"data: a\ndata: \n\n"),
    (Event("\n"), b"data: \ndata: \n\n"),
    (Event("\n\n"), b"data: \ndata: \ndata: \n\n"),
    (
        Event("a\u2028b\u0085c\vd\fe\x1cf\x1dg\x1eh"),
        "data: a\u2028b\u0085c\vd\fe\x1cf\x1dg\x1eh\n\n".encode(),
    ),
    (Event("data: x\n\nid: 1"), b"data: data: x\ndata: \ndata: id: 1\n\n"),
    (Event("\0"), b"data: \0\n\n"),
    (Event("\ufeff"), b"data: \xef\xbb\xbf\n\n"),
    (Event("…🎈"), "data: …🎈\n\n".encode()),
    (Event("x", "tick"), b"event: tick\ndata: x\n\n"),
    (Event("x", id="1"), b"id: 1\ndata: x\n\n"),
    (Event("x", id=""), b"id: \ndata: x\n\n"),
    (Event("x", id=" 1"), b"id:  1\ndata: x\n\n"),
    (Event("x", id="…"), "id: …\ndata: x\n\n".encode()),
    (Event("x", retry=0), b"retry: 0\ndata: x\n\n"),
    (Event("x", codec="json"), b"codec: json\ndata: x\n\n"),
    (
        Event("x\ny", "t", "1", 250, "msgpack"),
        b"event: t\nid: 1\nretry: 250\ncodec: msgpack\ndata: x\ndata: y\n\n",
    ),
]


@pytest.mark.parametrize(("event", "expected"), GOLDEN, ids=[repr(event.data) for event, _ in GOLDEN])
def test_the_bytes_are_exactly_these(event: Event, expected: bytes) -> None:
    assert encode_event(event) == expected


@pytest.mark.parametrize(("event", "encoded"), GOLDEN, ids=[repr(event.data) for event, _ in GOLDEN])
def test_the_parser_reads_the_same_table_however_it_is_cut(event: Event, encoded: bytes) -> None:
    expected = Event(
        event.data.replace("\r\n", "\n").replace("\r", "\n"),
        event.type or "message",
        event.id or "",
        event.retry,
        event.codec,
    )
    for pieces in cuts(encoded):
        assert parse(pieces) == [expected]


text = st.text(st.characters(exclude_categories=["Cs"]))
line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"))
events = st.builds(
    Event,
    text,
    st.none() | line.filter(bool),
    st.none() | line,
    st.none() | st.integers(0, 2**53 - 1),
    st.none() | st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._+-]{0,20}\Z"),
)


@given(st.lists(events, max_size=5), st.lists(st.integers(0, 500)))
def test_what_is_encoded_is_what_is_parsed(written: list[Event], places: list[int]) -> None:
    stream = b"".join(encode_event(event) + encode_comment("between") for event in written)
    edges = sorted({0, len(stream), *(place for place in places if place < len(stream))})
    parser = EventParser()
    read = parse((stream[a:b] for a, b in itertools.pairwise(edges)), parser)

    last_id, expected = "", []
    for event in written:
        last_id = last_id if event.id is None else event.id
        data = event.data.replace("\r\n", "\n").replace("\r", "\n")
        expected.append(Event(data, event.type or "message", last_id, event.retry, event.codec))
    assert read == expected
    assert parser.last_event_id == last_id


@given(events)
def test_no_event_starts_with_a_bom(event: Event) -> None:
    assert not encode_event(event).startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("", b":\n"),
        ("ping", b": ping\n"),
        (" x", b":  x\n"),
        ("…", ": …\n".encode()),
        ("\ufeff", b": \xef\xbb\xbf\n"),
    ],
)
def test_a_comment_is_one_line_without_a_blank_one(comment: str, expected: bytes) -> None:
    assert encode_comment(comment) == expected


@pytest.mark.parametrize("comment", ["a\nb", "a\rdata: x", "\n\n", "\0", "\ud800"])
def test_a_comment_that_would_be_more_than_one_is_refused(comment: str) -> None:
    with pytest.raises(InvalidEventError):
        encode_comment(comment)
