"""What is late; whole servers are in test_probe_prober.py."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from tornado.httputil import HTTPHeaders, ResponseStartLine

from tornado_sse.probe.finding import Thresholds
from tornado_sse.probe.timing import check_compressed, check_timing, keepalive
from tornado_sse.probe.visit import Visit
from tornado_sse.request import Request

pytestmark = pytest.mark.gen_test

THRESHOLDS = Thresholds()


def heard(pieces: Iterable[tuple[float, bytes]], *, ended: float = 20.0, encoding: str = "") -> Visit:
    visit = Visit(Request.to("http://a/", "GET", {}, None))
    visit.start_line = ResponseStartLine("HTTP/1.1", 200, "OK")
    visit.headers = HTTPHeaders({"Content-Type": "text/event-stream", "Content-Encoding": encoding})
    visit.ended = visit.listened = ended
    for at, piece in pieces:
        visit.transcript.feed(at, piece)
    return visit


def event(number: int) -> bytes:
    return f"id: {number}\ndata: {number}\n\n".encode()


@pytest.mark.parametrize(
    ("pieces", "codes"),
    [
        ([(1.0, event(1)), (19.9, event(2))], []),
        ([(1.0, b"data: 1"), (2.5, b"\n\n")], ["cut-event"]),
        ([(1.0, b":\n"), (15.0, event(1))], []),
        ([], ["silence"]),
        ([(0.0, event(1)), (30.0, event(2))], ["silence"]),
    ],
)
async def test_times(io_loop: object, pieces: list[tuple[float, bytes]], codes: list[str]) -> None:
    visit = heard(pieces, ended=31.0 if codes == ["silence"] else 20.0)
    assert [finding.code for finding in check_timing(visit, THRESHOLDS)] == codes


async def test_two_connections_are_compared(io_loop: object) -> None:
    plain = heard([(1.0, event(1)), (2.0, event(2)), (3.0, event(3))])
    for pieces, encoding, codes in [
        ([(1.1, event(1)), (3.9, event(3))], "gzip", []),
        ([(1.1, event(1)), (3.5, event(2) + event(3))], "gzip", ["compression"]),
        ([(3.5, event(1) + event(2))], "", ["buffered"]),
        ([(0.1, event(3))], "", ["buffered"]),
        ([], "gzip", ["compression"]),
        ([], "", []),  # a stream for each connection
    ]:
        found = check_compressed(plain, heard(pieces, encoding=encoding), THRESHOLDS)
        assert [finding.code for finding in found] == codes


async def test_a_client_that_came_later_is_not_told_late(io_loop: object) -> None:
    plain, late = heard([(1.0, event(1))]), heard([(0.1, event(1))])
    late._sent = plain._sent + 5
    assert [*check_compressed(plain, late, THRESHOLDS)] == []


async def test_a_comment_after_silence_is_a_keepalive(io_loop: object) -> None:
    assert keepalive(heard([(0.0, b": hello\n"), (1.0, event(1))])) is None
    assert keepalive(heard([(0.0, event(1)), (15.0, b":\n"), (30.0, b":\n")])) == 15.0
