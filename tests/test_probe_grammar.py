from __future__ import annotations

import pytest

from tornado_sse.probe.grammar import check_grammar, quoted
from tornado_sse.probe.transcript import Transcript


@pytest.mark.parametrize(
    ("stream", "codes"),
    [
        (b"", []),
        (b"id: 1\nretry: 2000\n\n: comment\nevent: a\nid: 2\ncodec: json\ndata: 1\ndata\n\n", []),
        (b"data: 1\nmore\n\n", ["unknown-field"]),
        (b"data : 1\n\n", ["unknown-field"]),
        (b"{}\n\n{}\n\n", ["unknown-field"]),
        (b"id: 1\nid: 2\ndata: 1\n\n", ["repeated-field"]),
        (b"retry: 0\ndata: 1\n\n", ["retry-short"]),
        (b"retry: +5\ndata: 1\n\n", ["retry-ignored"]),
        (b"retry: " + b"9" * 5000 + b"\ndata: 1\n\n", ["retry-long"]),
        (b"retry: 1000\n\n", ["retry-alone"]),
        (b"data: 1\n", ["unfinished-event"]),
        (b"data: 1", ["unfinished-event"]),
        (b": comment\n\n", ["comment-block"]),
        (b"id: 1\ndata: 1\n\nid: 1\ndata: 2\n\nid: 1\ndata: 3\n\n", []),  # in one go, as a snapshot
    ],
)
def test_streams(stream: bytes, codes: list[str]) -> None:
    it = Transcript()
    it.feed(0, stream)
    assert [finding.code for finding in check_grammar(it, over=True)] == codes


def test_what_may_still_be_ended_is_not_blamed() -> None:
    it = Transcript()
    it.feed(0, b"data: 1\n")
    assert [*check_grammar(it, over=False)] == []


def test_what_a_server_has_sent_is_quoted() -> None:
    assert quoted(b"\x1b[31m\xff") == repr("\x1b[31m\N{REPLACEMENT CHARACTER}")
    assert quoted(b"x" * 100) == repr("x" * 60 + "…")
