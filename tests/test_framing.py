from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders

from tests.support import cuts
from tornado_sse.framing import Chunks, Length, UntilClose, framing_of


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3\r\n\r\n\n\r\n00A ;x=\"y\"\r\n0123456789\r\n000\r\n\r\n", b"\r\n\n0123456789"),
        (b"1\r\na\r\n0\r\nX: y\r\nZ: \r\n\r\nand more", b"a"),
    ],
)  # fmt: skip
def test_chunks_however_they_are_cut(data: bytes, body: bytes) -> None:
    for pieces in cuts(data):
        chunks = Chunks()
        assert b"".join(map(chunks.feed, pieces)) == body
        assert chunks.complete


@pytest.mark.parametrize(
    "data",
    [b"x\r\n", b"\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b"1_0\r\n", b"1\n", b"1\r\nabc\r\n", b"1\r\na\n",
     b"1" * 17 + b"\r\n",
     b"1" * 5000, b"1;" + b"x" * 5000, b"0\r\n" + b"X: y\r\n" * 1000],
)  # fmt: skip
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    for pieces in (
        cuts(data) if len(data) < 100 else [[data], [data[i : i + 100] for i in range(0, 6000, 100)]]
    ):
        chunks = Chunks()
        with pytest.raises(ValueError, match="chunk"):
            for piece in pieces:
                chunks.feed(piece)


def test_what_is_cut_short_is_not_complete() -> None:
    whole = b"3\r\nabc\r\n0\r\n\r\n"
    for end in range(len(whole)):
        chunks = Chunks()
        chunks.feed(whole[:end])
        assert not chunks.complete
        assert not chunks.may_close


def test_a_length() -> None:
    length = Length(5)
    assert (length.feed(b"abc"), length.complete) == (b"abc", False)
    assert (length.feed(b"defg"), length.complete) == (b"de", True)
    assert Length(0).complete


def test_until_close() -> None:
    framing = UntilClose()
    assert framing.feed(b"abc") == b"abc"
    assert (framing.complete, framing.may_close) == (False, True)


def test_the_head_says_which() -> None:
    assert isinstance(framing_of(HTTPHeaders()), UntilClose)
    assert isinstance(framing_of(HTTPHeaders({"Content-Length": "5, 5"})), Length)
    assert isinstance(
        framing_of(HTTPHeaders({"Transfer-Encoding": "Chunked", "Content-Length": "5"})), Chunks
    )
    for name, value in (
        ("Content-Length", "5, 6"),
        ("Content-Length", "-5"),
        ("Content-Length", "٣"),
        ("Transfer-Encoding", "gzip, chunked"),
    ):
        with pytest.raises(ValueError, match=r"length|encoding"):
            framing_of(HTTPHeaders({name: value}))
