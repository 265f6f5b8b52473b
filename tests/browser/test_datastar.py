"""tornado-sse-datastar with the script that it is for, in a page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
import tornado.web
from tornado_sse_datastar import (
    DatastarHandler,
    execute_script,
    patch_elements,
    patch_signals,
    publish,
    redirect,
    remove_elements,
)

from tests.browser.scripts import DATASTAR
from tests.support import until
from tornado_sse import Broker, Event, Retention, Stream

pytestmark = pytest.mark.browser

PAGE = """<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<script type="module" src="/datastar.js"></script>
<body data-signals="{count: 0, name: 'Ada', old: 1, _private: 'no'}">
%s
<p id="count" data-text="$count"></p>
<div id="target">before</div>
<ul id="list"><li id="first">1</li></ul>
<svg id="plot"></svg>
<input id="name" data-bind:name>
</body>
"""

# What the browser says by itself of a response that is cut off, and Datastar before it tries again.
RETRYING = re.compile("ERR_INCOMPLETE_CHUNKED_ENCODING|Datastar failed to reach|network error").search

# And of a request that the page leaves.
LEFT = re.compile("ERR_ABORTED").search

TURN = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


class Page(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(PAGE % self.settings["begin"])


class File(tornado.web.RequestHandler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.write(DATASTAR.read())


class Everything(DatastarHandler):
    """Sends one of each, twice as odd as it has to be."""

    sse_keepalive = 0.01  # so that comments are among them

    async def open(self) -> None:
        async with self.stream:
            await self.send(patch_elements('<div id="target">\n  <b>two\r\nlines\u2028three</b>\n</div>'))
            await self.send(patch_elements("<li>2</li>", selector="#list", mode="append"))
            await self.send(patch_elements("<li>0</li>", selector="#list", mode="prepend"), id=7, retry=0.5)
            await asyncio.sleep(0.03)
            await self.send(remove_elements("#first"))
            await self.send(
                patch_elements('<circle id="dot" r="5"/>', selector="#plot", mode="inner", namespace="svg")
            )
            name = self.signals["name"]
            await self.send(patch_signals({"count": 41, "old": None, "seen": f"{name}\n</script>"}))
            await self.send(patch_signals({"count": 0, "fresh": 1}, only_if_missing=True))
            await self.send(
                execute_script(
                    'window.ran = "\\u003cb>";\nwindow.times = (window.times ?? 0) + 1',
                    attributes={"id": "s"},
                )
            )
            await self.send(patch_elements("<p id='end'></p>", selector="body", mode="append"))


class Echo(DatastarHandler):
    """Tells what has been sent to it."""

    async def open(self) -> None:
        async with self.stream:
            keys = ",".join(sorted(self.signals))
            await self.send(patch_signals({"count": f"{self.request.method} {keys} {self.signals['name']}"}))


class Away(DatastarHandler):
    async def open(self) -> None:
        async with self.stream:
            await self.send(redirect("/elsewhere?a=1&b=</script>"))


class Feed(DatastarHandler):
    """Follows a channel, and notes what the page says that it has had."""

    sse_retry = 0.05

    resumed: list[str | None]
    latest: Stream

    async def open(self) -> None:
        self.resumed.append(self.request.headers.get("Last-Event-ID"))
        Feed.latest = self.stream
        await self.subscribe("feed", start="state")

    def snapshot(self, channel: str) -> Event:
        return patch_elements('<div id="target">snapshot</div>')


class Elsewhere(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write('<!doctype html><link rel="icon" href="data:,"><p>elsewhere')


@pytest.fixture
def serve(start_server: Callable[..., Any]) -> Callable[..., Any]:
    """``serve(begin, **settings)`` starts a server whose page has something more in it."""
    DATASTAR.read()

    def serve(begin: str, **settings: Any) -> Any:
        routes: list[Any] = [("/", Page), ("/datastar.js", File), ("/elsewhere", Elsewhere)]
        routes += [("/everything", Everything), ("/echo", Echo), ("/away", Away), ("/feed", Feed)]
        Feed.resumed = []
        return start_server(tornado.web.Application(routes, begin=begin, **settings))

    return serve


def test_each_event_does_what_it_says(serve: Callable[..., Any], open_page: Callable[..., Any]) -> None:
    server = serve('<i data-init="@get(\'/everything\')"></i><p id="seen" data-text="$seen"></p>')
    page = open_page()
    page.goto(server.url)
    page.locator("#end").wait_for(state="attached")
    assert page.locator("#target b").evaluate("b => b.textContent") == "two\nlines\u2028three"
    assert page.locator("#list li").all_inner_texts() == ["0", "2"]
    assert page.locator("#dot").evaluate("dot => dot.namespaceURI") == "http://www.w3.org/2000/svg"
    page.locator("#count").get_by_text("41", exact=True).wait_for()
    assert page.locator("#seen").evaluate("p => p.textContent") == "Ada\n</script>"
    page.wait_for_function("() => window.ran === '<b>' && window.times === 1")
    page.wait_for_function("() => document.querySelector('#s') === null")


@pytest.mark.parametrize("method", ["get", "post"])
def test_signals_come_with_a_request(
    method: str, serve: Callable[..., Any], open_page: Callable[..., Any]
) -> None:
    server = serve(f"<button data-on:click=\"@{method}('/echo')\">go</button>")
    page = open_page()
    page.goto(server.url)
    page.locator("#name").fill("Grace é")
    page.get_by_role("button").click()
    page.locator("#count").get_by_text(f"{method.upper()} count,name,old Grace é", exact=True).wait_for()


def test_a_redirect(serve: Callable[..., Any], open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.goto(serve("<i data-init=\"@get('/away')\"></i>").url)
    page.wait_for_url(lambda url: url.endswith("/elsewhere?a=1&b=%3C/script%3E"))
    page.get_by_text("elsewhere").wait_for()
    # The page may go before its request has ended.
    assert all("/away" in complaint and "ERR_ABORTED" in complaint for complaint in page.complaints.take())


def test_a_channel_is_resumed_after_every_kind_of_end(
    serve: Callable[..., Any], open_page: Callable[..., Any]
) -> None:
    broker = Broker()
    init = "@get('/feed', {retry: 'always', retryInterval: 50})"
    server = serve(f'<i data-init="{init}"></i>', sse_broker=broker)
    page = open_page()
    page.add_init_script(
        "window.fetched = []; "
        "document.addEventListener('datastar-fetch', (event) => fetched.push(event.detail.type))"
    )
    page.goto(server.url)
    page.get_by_text("snapshot").wait_for()

    expected = ["1"]
    for number, end in enumerate(("close", "abort", "close"), 2):

        async def end_and_publish(number: int = number, end: str = end) -> None:
            getattr(Feed.latest, end)()
            event = patch_elements(f"<li>{number}</li>", selector="#list", mode="append")
            await publish(broker, "feed", event)

        server.run(end_and_publish)
        expected.append(str(number))
        page.locator("#list li").nth(number - 1).wait_for()
        assert page.locator("#list li").all_inner_texts() == expected
    assert Feed.resumed[0] is None
    assert len(Feed.resumed) == 4
    assert all(Feed.resumed[1:])

    async def finish() -> None:
        Feed.latest.finish()

    # For good: it asks once more, is told 204, and gives up.
    with page.expect_response(lambda response: response.status == 204):
        server.run(finish)
    page.wait_for_function("() => fetched.at(-1) === 'finished'")
    assert page.evaluate("() => fetched.filter((type) => type === 'started').length") == 1
    assert all(RETRYING(complaint) for complaint in page.complaints.take())


def test_a_page_that_was_hidden_gets_what_it_lacks_or_else_the_state(
    serve: Callable[..., Any], open_page: Callable[..., Any]
) -> None:
    broker = Broker(retention=Retention(events=2))
    server = serve("<i data-init=\"@get('/feed')\"></i>", sse_broker=broker)
    page = open_page()
    page.goto(server.url)
    page.get_by_text("snapshot").wait_for()

    async def publish_while_nobody_reads(numbers: range) -> None:
        await until(lambda: broker.stats.subscribers == 0)
        for number in numbers:
            event = patch_elements(f"<li>{number}</li>", selector="#list", mode="append")
            await publish(broker, "feed", event)

    page.evaluate(TURN, True)
    server.run(lambda: publish_while_nobody_reads(range(2, 4)))
    page.evaluate(TURN, False)
    page.locator("#list li").nth(2).wait_for()
    assert page.locator("#list li").all_inner_texts() == ["1", "2", "3"]
    page.evaluate("() => { document.querySelector('#target').textContent = 'stale'; }")
    page.evaluate(TURN, True)
    server.run(lambda: publish_while_nobody_reads(range(4, 8)))
    page.evaluate(TURN, False)
    # The gap's snapshot says all; what it says is not said again by the events that are left.
    page.get_by_text("snapshot").wait_for()
    assert page.locator("#list li").all_inner_texts() == ["1", "2", "3"]
    assert len(Feed.resumed) == 3
    assert all(LEFT(complaint) for complaint in page.complaints.take())
