from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders, ResponseStartLine

from tornado_sse.probe.head import check_head, check_status
from tornado_sse.probe.visit import Visit
from tornado_sse.request import Request

pytestmark = pytest.mark.gen_test

RIGHT = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}


def answer(status: int = 200, **fields: str) -> Visit:
    visit = Visit(Request.to("http://a/", "GET", {}, None))
    visit.start_line = ResponseStartLine("HTTP/1.1", status, "")
    names = {name.replace("_", "-"): value for name, value in fields.items()}
    visit.headers = HTTPHeaders({name: value for name, value in {**RIGHT, **names}.items() if value})
    return visit


@pytest.mark.parametrize(
    ("fields", "codes"),
    [
        ({}, []),
        ({"Content_Type": 'text/event-stream; charset="UTF-8"'}, []),
        ({"Content_Type": "text/event-stream;charset=latin-1"}, ["charset"]),
        ({"Cache_Control": "private, max-age=0"}, ["cacheable"]),
        ({"Cache_Control": "No-Cache"}, ["transformable"]),
        ({"X_Accel_Buffering": ""}, ["proxy-buffering"]),
        ({"X_Accel_Buffering": "", "Server": "nginx/1.22"}, []),
        ({"X_Accel_Buffering": "", "Via": "1.1 proxy"}, []),
        ({"X_Accel_Buffering": "yes", "Server": "nginx"}, ["proxy-buffering"]),
        ({"Content_Encoding": "identity"}, []),
    ],
)
async def test_heads(io_loop: object, fields: dict[str, str], codes: list[str]) -> None:
    assert [finding.code for finding in check_head(answer(**fields))] == codes


async def test_a_status_is_explained(io_loop: object) -> None:
    (finding,) = check_status(answer(401))
    assert "--token" in finding.remedy
    (finding,) = check_status(answer(500))
    assert finding.problem == "The answer is '500'."
    assert [*check_status(answer())] == []
