from __future__ import annotations

from collections.abc import Collection
from unittest.mock import Mock

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from tornado_sse import negotiation


def request(*headers: tuple[str, str], uri: str = "/", host: str = "here.example") -> HTTPServerRequest:
    collected = HTTPHeaders({"Host": host})
    for name, value in headers:
        collected.add(name, value)
    start_line = RequestStartLine("GET", uri, "HTTP/1.1")
    return HTTPServerRequest(
        start_line=start_line, headers=collected, connection=Mock(context=Mock(remote_ip="::1"))
    )


@pytest.mark.parametrize(
    ("accept", "accepted"),
    [
        (None, True),
        ("", True),
        ("text/event-stream", True),
        ("TEXT/Event-Stream", True),
        ("text/event-stream;q=0.1", True),
        ("text/*", True),
        ("*/*", True),
        ("application/json, */*;q=0.1", True),
        ("text/html, text/event-stream", True),
        ("text/event-stream; charset=utf-8", True),
        ("*/*;q=bogus", True),
        ("text/html", False),
        ("application/json", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=0.0, */*", False),
        ("text/*;q=0, */*", False),
        ("text/*;q=0, text/event-stream", True),
    ],
)
def test_accept_decides_by_its_most_specific_range(accept: str | None, accepted: bool) -> None:
    headers = [] if accept is None else [("Accept", accept)]
    assert negotiation.accepts_event_stream(request(*headers)) is accepted


def test_several_accept_headers_are_one_list() -> None:
    assert negotiation.accepts_event_stream(request(("Accept", "text/html"), ("Accept", "text/event-stream")))


@pytest.mark.parametrize(
    ("headers", "uri", "expected"),
    [
        ([], "/", None),
        ([], "/?last_event_id=7", "7"),
        ([], "/?last_event_id=", None),
        ([], "/?last_event_id=7&last_event_id=8", "8"),
        ([], "/?last_event_id=%E2%80%A6", "…"),
        ([], "/?last_event_id=%FF", "\ufffd"),
        (["7"], "/", "7"),
        (["7"], "/?last_event_id=8", "7"),
        ([""], "/", None),
        (["…".encode().decode("latin-1")], "/", "…"),
        (["\xff"], "/", "\xff"),
        (["7", "7"], "/", "7"),
        (["7", "8"], "/", "7,8"),
        (["7,8"], "/", "7,8"),
    ],
)
def test_the_last_event_id_is_what_the_client_meant(
    headers: list[str], uri: str, expected: str | None
) -> None:
    assert (
        negotiation.last_event_id(request(*(("Last-Event-ID", each) for each in headers), uri=uri))
        == expected
    )


@pytest.mark.parametrize(
    ("event_id", "final"), [(None, False), ("", False), ("7", False), ("~final", True), ("7~final", True)]
)
def test_an_id_says_that_it_was_the_last(event_id: str | None, final: bool) -> None:
    assert negotiation.is_final(event_id) is final


FRIENDS = ["https://app.example", "http://localhost:3000"]


@pytest.mark.parametrize(
    ("allowed", "headers", "let_in", "readable_by"),
    [
        (None, {}, True, None),
        (None, {"Origin": "https://evil.example"}, True, None),
        (FRIENDS, {}, True, None),
        (FRIENDS, {"Origin": "https://app.example"}, True, "https://app.example"),
        (FRIENDS, {"Origin": "http://localhost:3000"}, True, "http://localhost:3000"),
        (FRIENDS, {"Origin": "http://here.example"}, True, None),
        (FRIENDS, {"Origin": "https://HERE.example"}, True, None),
        (FRIENDS, {"Origin": "https://app.example.evil.example"}, False, None),
        (FRIENDS, {"Origin": "https://app.example:444"}, False, None),
        (FRIENDS, {"Origin": "http://app.example"}, False, None),
        (FRIENDS, {"Origin": "null"}, False, None),
        (FRIENDS, {"Origin": ""}, False, None),
        (FRIENDS, {"Origin": "http://["}, False, None),
        (FRIENDS, {"Sec-Fetch-Site": "cross-site"}, False, None),
        (FRIENDS, {"Sec-Fetch-Site": "same-site"}, False, None),
        (FRIENDS, {"Sec-Fetch-Site": "same-origin"}, True, None),
        (FRIENDS, {"Sec-Fetch-Site": "none"}, True, None),
        ((), {"Origin": "https://app.example"}, False, None),
        ("*", {}, True, "*"),
        ("*", {"Origin": "https://evil.example"}, True, "*"),
        ("*", {"Origin": "null"}, True, "*"),
    ],
)
def test_origins(
    allowed: Collection[str] | None, headers: dict[str, str], let_in: bool, readable_by: str | None
) -> None:
    asked = request(*headers.items())
    assert negotiation.origin_allowed(asked, allowed) is let_in
    if let_in:
        answer = HTTPHeaders()
        negotiation.set_cors_headers(answer, asked, allowed)
        assert answer.get("Access-Control-Allow-Origin") == readable_by
        credentials = answer.get("Access-Control-Allow-Credentials")
        assert credentials == ("true" if readable_by not in (None, "*") else None)
        # A cache must not hand one origin's answer to another.
        assert answer.get("Vary") == ("Origin" if allowed is not None and allowed != "*" else None)


def test_a_vary_header_of_the_application_is_kept() -> None:
    answer = HTTPHeaders({"Vary": "Cookie"})
    negotiation.set_cors_headers(answer, request(), FRIENDS)
    assert answer.get_list("Vary") == ["Cookie", "Origin"]


def test_the_head_keeps_what_the_application_has_set() -> None:
    headers = HTTPHeaders({"Content-Type": "text/html", "Cache-Control": "no-store", "X-Mine": "1"})
    assert negotiation.begin_head(request(), headers)
    assert dict(headers.get_all()) == {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-store",
        "X-Mine": "1",
        "X-Accel-Buffering": "no",
        "Connection": "close",
    }


def test_the_framing_is_not_the_applications_to_set() -> None:
    headers = HTTPHeaders({"Content-Length": "5", "Transfer-Encoding": "gzip"})
    negotiation.begin_head(request(), headers)
    assert "Content-Length" not in headers
    assert "Transfer-Encoding" not in headers


@pytest.mark.parametrize(
    ("uri", "described"),
    [
        ("/plain", "GET /plain from ::1"),
        ("/a/b?token=s3cret&x=%0aFAKE&%0Aname=1", "GET /a/b?token,x,%0Aname from ::1"),
        ("/a?eyJTOKEN", "GET /a from ::1"),
        (
            "/a?a%20from%201.2.3.4:%20stream%20closed=1",
            "GET /a?a%20from%201.2.3.4%3A%20stream%20closed from ::1",
        ),
        ("/\u00e4\x1b[31m", "GET /%C3%A4%1B%5B31m from ::1"),
        ("/" + "x" * 500, "GET /" + "x" * 199 + "… from ::1"),
    ],
)
def test_a_log_line_names_no_secret_and_forges_nothing(uri: str, described: str) -> None:
    assert negotiation.describe(request(uri=uri)) == described


def test_what_is_wrong_is_told_in_this_order() -> None:
    asked = request(("Last-Event-ID", "7~final"), ("Accept", "text/html"), ("Origin", "https://evil.example"))
    assert negotiation.status_for(asked, ("POST",), FRIENDS) == 405
    assert negotiation.status_for(asked, ("GET",), FRIENDS) == 403
    assert negotiation.status_for(asked, ("GET",), None) == 406
    del asked.headers["Accept"]
    assert negotiation.status_for(asked, ("GET",), None) == 204
    del asked.headers["Last-Event-ID"]
    assert negotiation.status_for(asked, ("GET",), None) == 200
