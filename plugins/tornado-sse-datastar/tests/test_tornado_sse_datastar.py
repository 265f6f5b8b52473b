import asyncio
import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
import tornado.web
from hypothesis import given
from hypothesis import strategies as st
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.netutil import bind_sockets
from tornado.template import DictLoader
from tornado.web import Application, HTTPError
from tornado_sse_datastar import (
    DatastarHandler,
    execute_script,
    patch_elements,
    patch_signals,
    publish,
    read_signals,
    redirect,
    remove_elements,
)

from tornado_sse import Broker, EncodeError, Event, InvalidEventError, encode_event
from tornado_sse.parser import EventParser


def wire(event: Event) -> list[str]:
    """Return an event's lines, without the blank one at its end."""
    text = encode_event(event).decode()
    assert text.endswith("\n\n")
    return text[:-2].split("\n")


def as_datastar_reads(event: Event) -> dict[str, str]:
    """Return what the script in the page makes of an event: its arguments by name."""
    (parsed,) = EventParser().feed(encode_event(event))
    arguments: dict[str, list[str]] = {}
    for line in parsed.data.split("\n"):
        name, _, value = line.partition(" ")
        arguments.setdefault(name, []).append(value)
    return {name: "\n".join(values) for name, values in arguments.items()}


ELEMENTS = "event: datastar-patch-elements"
SIGNALS = "event: datastar-patch-signals"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (patch_elements('<div id="a">1</div>'), [ELEMENTS, 'data: elements <div id="a">1</div>']),
        (
            patch_elements("<div>\n  <b>1</b>\n</div>"),
            [ELEMENTS, "data: elements <div>", "data: elements   <b>1</b>", "data: elements </div>"],
        ),
        (
            patch_elements("<p>1</p>", selector="#feed", mode="append", use_view_transition=True),
            [
                ELEMENTS,
                "data: selector #feed",
                "data: mode append",
                "data: useViewTransition true",
                "data: elements <p>1</p>",
            ],
        ),
        (
            patch_elements("<circle/>", selector="#vis", mode="inner", namespace="svg"),
            [
                ELEMENTS,
                "data: selector #vis",
                "data: mode inner",
                "data: namespace svg",
                "data: elements <circle/>",
            ],
        ),
        (
            patch_elements('<i id="a"/>', use_view_transition=True, view_transition_selector="#a"),
            [
                ELEMENTS,
                "data: useViewTransition true",
                "data: viewTransitionSelector #a",
                'data: elements <i id="a"/>',
            ],
        ),
        (
            patch_elements('<i id="a"/>', selector="#b", mode="outer", namespace="html"),
            [ELEMENTS, "data: selector #b", 'data: elements <i id="a"/>'],
        ),
        (
            remove_elements("#feed, #other"),
            [ELEMENTS, "data: selector #feed, #other", "data: mode remove"],
        ),
        (
            patch_signals({"one": "first\n signal", "two": {"alpha": None}}),
            [SIGNALS, r'data: signals {"one":"first\n signal","two":{"alpha":null}}'],
        ),
        (
            patch_signals({"one": 1}, only_if_missing=True),
            [SIGNALS, "data: onlyIfMissing true", 'data: signals {"one":1}'],
        ),
        (
            patch_signals('{\n"one": 1\n}'),
            [SIGNALS, "data: signals {", 'data: signals "one": 1', "data: signals }"],
        ),
        (
            execute_script("a();\nb();"),
            [
                ELEMENTS,
                "data: selector body",
                "data: mode append",
                'data: elements <script data-effect="el.remove()">a();',
                "data: elements b();</script>",
            ],
        ),
        (
            execute_script("a()", auto_remove=False, attributes={"type": "module", "nonce": '"<'}),
            [
                ELEMENTS,
                "data: selector body",
                "data: mode append",
                'data: elements <script type="module" nonce="&quot;&lt;">a()</script>',
            ],
        ),
    ],
    ids=lambda value: value.data[:40] if isinstance(value, Event) else "",
)
def test_the_lines_are_those_of_the_specification(event: Event, expected: list[str]) -> None:
    assert wire(event) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: patch_elements(),
        lambda: patch_elements(""),
        lambda: patch_elements(" \n"),
        lambda: patch_elements(1),  # type: ignore[arg-type]
        lambda: patch_elements(b"\xff"),
        lambda: patch_elements("\ud800"),
        lambda: patch_elements("<p>", mode="into"),  # type: ignore[arg-type]
        lambda: patch_elements("<p>", namespace="xml"),  # type: ignore[arg-type]
        lambda: patch_elements("<p>", mode="append"),
        lambda: patch_elements(mode="remove"),
        lambda: patch_elements("<p>", selector="a\nmode remove"),
        lambda: patch_elements("<p>", selector="a\rmode remove"),
        lambda: patch_elements("<p>", selector=" "),
        lambda: patch_elements("<p>", view_transition_selector="a\n"),
        lambda: remove_elements(""),
        lambda: patch_signals([1]),
        lambda: patch_signals(None),
        lambda: patch_signals("[1]"),
        lambda: patch_signals("{alert(1)}"),
        lambda: patch_signals('{"a": NaN}'),
        lambda: patch_signals("[" * 100_000),
        lambda: execute_script(b"a()"),  # type: ignore[arg-type]
        lambda: execute_script("a('</SCRIPT>')"),
        lambda: execute_script("a('</body>')"),
        lambda: execute_script("a('<!--')"),
        lambda: execute_script("a()", attributes={"a b": "c"}),
        lambda: execute_script("a()", attributes={"": "c"}),
        lambda: redirect(""),
        lambda: redirect("javascript:alert(1)"),
        lambda: redirect("JavaScript:alert(1)"),
        lambda: redirect("java\tscript:alert(1)"),
        lambda: redirect(" javascript:alert(1)"),
        lambda: redirect("data:text/html,x"),
        lambda: redirect("http://[x"),
        lambda: redirect(1),  # type: ignore[arg-type]
    ],
)
def test_what_a_page_could_do_nothing_with_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidEventError):
        wrong()


def test_what_json_can_not_be_is_an_encode_error() -> None:
    with pytest.raises(EncodeError):
        patch_signals({"a": object()})
    with pytest.raises(EncodeError):
        patch_signals({"a": float("nan")})


def test_signals_may_be_whatever_is_an_object_in_json() -> None:
    @dataclasses.dataclass
    class Position:
        x: int
        y: int

    assert patch_signals(Position(1, 2)).data == 'signals {"x":1,"y":2}'


def test_elements_come_from_templates_and_from_builders_of_html() -> None:
    class Built:
        def __html__(self) -> str:
            return "<p>€</p>"

    for elements in ("<p>€</p>", "<p>€</p>".encode(), Built()):
        assert patch_elements(elements).data == "elements <p>€</p>"


@pytest.mark.parametrize("url", ["/a?b=c#d", "next", "https://example.org/", "/\"</script>\u2028é'", "//x"])
def test_a_redirect_goes_where_it_says(url: str) -> None:
    script = as_datastar_reads(redirect(url))["elements"]
    assert script.count("<") == 2
    literal = script.partition("location.href = ")[2].removesuffix(")</script>")
    assert json.loads(literal) == url


@given(st.text(min_size=1))
def test_no_line_of_any_text_is_lost(text: str) -> None:
    if not text.strip() or not text.isascii():
        text = f"<p>\x0b\x0c\x85\u2028{text.encode('utf-8', 'replace').decode()}"
    arguments = as_datastar_reads(patch_elements(text))
    assert arguments == {"elements": text.replace("\r\n", "\n").replace("\r", "\n")}


def request(method: str, target: str = "/", body: bytes = b"", content: str = "") -> HTTPServerRequest:
    headers = HTTPHeaders({"Content-Type": content} if content else {})
    headers["Host"] = "test"
    start_line = RequestStartLine(method, target, "HTTP/1.1")
    return HTTPServerRequest(start_line=start_line, headers=headers, body=body)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (request("GET", "/?datastar=%7B%22a%22%3A%22%C3%A9%22%7D"), {"a": "é"}),
        (request("DELETE", "/?datastar=%7B%22a%22%3A1%7D"), {"a": 1}),
        (request("GET"), {}),
        (request("GET", "/?datastar="), {}),
        (request("GET", "/", b'{"a":1}', "application/json"), {}),
        (request("POST", "/", b'{"a":{"b":[1,null]}}', "application/json"), {"a": {"b": [1, None]}}),
        (request("POST", "/", b'{"a":1}', "Application/JSON; charset=utf-8"), {"a": 1}),
        (request("POST", "/?datastar=%7B%22a%22%3A1%7D", b"{}", "application/json"), {}),
        (request("POST", "/", b"", "application/json"), {}),
        (request("POST", "/", b"a=1", "application/x-www-form-urlencoded"), {}),
        (request("PUT", "/", b"x", "text/plain"), {}),
    ],
)
def test_signals_are_read_from_where_the_method_has_them(
    sent: HTTPServerRequest, expected: dict[str, Any]
) -> None:
    assert read_signals(sent) == expected


@pytest.mark.parametrize(
    "data", [b"x", b"[1]", b"1", b'"a"', b"\xff", b'{"a":NaN}', b"{" * 99_999, b"[" * 99_999, b"9" * 9999]
)
def test_signals_that_are_none_are_a_bad_request(data: bytes) -> None:
    with pytest.raises(HTTPError) as caught:
        read_signals(request("POST", "/", data, "application/json"))
    assert caught.value.status_code == 400


def test_an_id_belongs_to_the_call() -> None:
    for event in (Event("a", id="1"), Event("a", retry=1), Event("a", codec="json")):
        with pytest.raises(InvalidEventError):
            publish(Broker(), "a", event)


README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def example(mark: str) -> str:
    """Return the README's block of Python that holds a text."""
    (found,) = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if mark in code]
    return found


async def fetch(handler: Any, target: str, **options: Any) -> str:
    """Return what a handler answers, once it has ended."""
    templates = {"found.html": "<ul id=found>{% for each in found %}<li>{{ each }}{% end %}</ul>"}
    application = Application([("/", handler)], template_loader=DictLoader(templates))
    server = HTTPServer(application)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}{target}"
    try:
        async with asyncio.timeout(10):
            answer = await AsyncHTTPClient(force_instance=True).fetch(url, raise_error=False, **options)
        return answer.body.decode() if answer.code == 200 else str(answer.code)
    finally:
        server.stop()
        await server.close_all_connections()


def test_the_readme_s_search_finds() -> None:
    names = {"find": lambda query: [query, "<b>"], "tornado": tornado}
    exec(example("class Search"), names)
    expected = (
        "event: datastar-patch-elements\ndata: elements <ul id=found><li>é<li>&lt;b&gt;</ul>\n\n"
        'event: datastar-patch-signals\ndata: signals {"count":2}\n\n'
    )
    signals = json.dumps({"query": "é"})
    by_get = fetch(names["Search"], f"/?{urlencode({'datastar': signals})}")
    assert asyncio.run(by_get) == expected
    headers = {"Content-Type": "application/json"}
    by_post = fetch(names["Search"], "/", method="POST", body=signals, headers=headers)
    assert asyncio.run(by_post) == expected
    assert asyncio.run(fetch(names["Search"], "/?datastar=x")) == "400"


def test_the_readme_s_prices_are_published_by_key() -> None:
    async def run() -> None:
        async with Broker() as broker:
            names: dict[str, Any] = {"broker": broker, "DatastarHandler": DatastarHandler}
            names |= {"patch_elements": patch_elements, "render_row": lambda quote: f"<tr id={quote.symbol}>"}
            exec(example("class Prices"), names)
            for symbol in ("AAPL", "MSFT", "AAPL"):
                await names["on_quote"](SimpleNamespace(symbol=symbol))
            assert broker.stats.position == 3

    asyncio.run(run())
