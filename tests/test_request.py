from __future__ import annotations

import pytest

from tornado_sse import RedirectError, SettingError
from tornado_sse.request import Request


def to(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Request:
    return Request.to(url, method, headers, body)


@pytest.mark.parametrize(
    ("url", "origin", "host", "target"),
    [
        ("http://a", ("http", "a", 80), "a", "/"),
        ("HTTP://A:80/b?c#d", ("http", "a", 80), "a", "/b?c"),
        ("https://a:8443/b/", ("https", "a", 8443), "a:8443", "/b/"),
        ("http://[::1]:8888/b", ("http", "::1", 8888), "[::1]:8888", "/b"),
        ("http://bücher.example/", ("http", "xn--bcher-kva.example", 80), "xn--bcher-kva.example", "/"),
        ("http://a/ü b?q=ü&x=%20", ("http", "a", 80), "a", "/%C3%BC%20b?q=%C3%BC&x=%20"),
        ("http://a/b\x01", ("http", "a", 80), "a", "/b%01"),
        ("http://a/b\r\nX: y", ("http", "a", 80), "a", "/bX:%20y"),
    ],
)
def test_where_it_goes(url: str, origin: object, host: str, target: str) -> None:
    request = to(url)
    assert (request.origin, request.host, request.target) == (origin, host, target)


def test_user_and_password_leave_the_url() -> None:
    request = to("http://me:p%40ss@a/b")
    assert request.url == "http://a/b"
    assert request.headers["Authorization"] == "Basic bWU6cEBzcw=="
    assert to("http://me:p@a/", Authorization="x").headers["Authorization"] == "x"


@pytest.mark.parametrize(
    "url", ["", "a/b", "ftp://a/", "http:///b", "http://a:x/", "http://a:0/", "http://a:99999/", 7, "http://[a/",
            "http://" + "a" * 70 + "/"],
)  # fmt: skip
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(SettingError, match="url"):
        to(url)


@pytest.mark.parametrize(
    "headers",
    [{"a b": "c"}, {"a": "b\r\nc: d"}, {"a": 7}, {"Content-Length": "7"}, {"last-event-id": "7"}],
)
def test_what_can_not_be_a_header_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(SettingError, match="headers"):
        Request.to("http://a/", "GET", headers, None)


def test_secrets_stay_with_their_origin() -> None:
    secret = {"Authorization": "x", "Cookie": "y", "X-Api-Key": "z", "User-Agent": "me"}
    request = to("http://a/b", **secret)
    assert dict(request.redirected(302, "/c").headers) == secret
    for elsewhere in ("http://b/", "https://a/", "http://a:81/", "//b/"):
        assert dict(request.redirected(302, elsewhere).headers) == {"User-Agent": "me"}
    back = request.redirected(302, "http://b/").redirected(302, "http://a/")
    assert dict(back.headers) == {"User-Agent": "me"}
    assert "Authorization" not in request.redirected(302, "http://me:you@b/").headers


@pytest.mark.parametrize(
    ("status", "kept"), [(301, False), (302, False), (303, False), (307, True), (308, True)]
)
def test_what_becomes_of_a_post(status: int, kept: bool) -> None:
    request = to("http://a/b", "POST", b"body", **{"Content-Type": "text/plain"}).redirected(status, "c")
    assert request.url == "http://a/c"
    assert (request.method, request.body) == (("POST", b"body") if kept else ("GET", None))
    assert ("Content-Type" in request.headers) is kept


@pytest.mark.parametrize(
    "location", ["http://a/", "ftp://a/", "javascript:alert(1)", "https://a:x/", "file:///b"]
)
def test_where_it_does_not_go(location: str) -> None:
    with pytest.raises(RedirectError) as caught:
        to("https://a/").redirected(302, location)
    assert caught.value.target == location


def test_a_location_in_utf_8() -> None:
    assert to("http://a/").redirected(302, "/ü".encode().decode("latin-1")).target == "/%C3%BC"
