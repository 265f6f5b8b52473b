"""tornado-sse-htmx with htmx and its SSE extensions, of version 2 and of version 4, in a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import tornado.web
from tornado.template import DictLoader
from tornado_sse_htmx import STATIC_PATH, Fragment, Renderer, out_of_band

from tests.browser.scripts import HTMX_2, HTMX_2_SSE, HTMX_4, HTMX_4_SSE
from tests.support import Logs
from tornado_sse import Broker, SSEHandler, Stream

pytestmark = pytest.mark.browser

SCRIPTS = {
    "2": {"htmx.js": HTMX_2.read, "sse.js": HTMX_2_SSE.read},
    "4": {"htmx.js": HTMX_4.read, "sse.js": HTMX_4_SSE.read},
}
OURS = (STATIC_PATH / "tornado_sse_htmx.js").read_text

# What the two versions call the same things. Version 4 swaps what has no type, and makes the rest DOM events.
LISTEN = {
    "2": '<main hx-ext="sse" sse-connect="/feed" sse-close="finish">'
    '<ul id="list" sse-swap="message" hx-swap="beforeend"></ul></main>',
    "4": '<main hx-sse:connect="/feed" hx-sse:close="finish" hx-target="#list" hx-swap="beforeend">'
    '<ul id="list"></ul></main>',
}

PAGE = """<!doctype html>
<meta charset="utf-8">
<meta name="htmx-config" content='{"extensions": "sse"}'>
<link rel="icon" href="data:,">
<script src="/htmx.js"></script>
<script src="/sse.js"></script>
%s
<body>%s<p id="count">0</p><table><tbody id="rows"><tr><td>1</td></tr></tbody></table></body>
"""

RESUMING = '<script src="/tornado_sse_htmx.js"></script>'

# What the browser says by itself of a response that is cut off, that is no stream, or that is left alone; and
# htmx 2, which logs the event of it.
INTERRUPTED = re.compile(
    r"ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_ABORTED|502|\[object Event\]|network error"
).search

render = Renderer(DictLoader({"item.html": "<li>{{ n }} {{ text }}</li>"}))


class Page(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(self.settings["page"])


class File(tornado.web.RequestHandler):
    def get(self, name: str) -> None:
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.write({**self.settings["files"], "tornado_sse_htmx.js": OURS}[name]())


class Feed(SSEHandler):
    sse_retry = 0.05

    requests: list[tuple[str | None, str | None]]
    latest: Stream
    broken = 0

    def prepare(self) -> None:
        if self.request.method == "GET" and Feed.broken:
            Feed.broken -= 1
            raise tornado.web.HTTPError(502)

    async def open(self) -> None:
        resumed = self.request.headers.get("Last-Event-ID"), self.get_query_argument("last_event_id", None)
        self.requests.append(resumed)
        Feed.latest = self.stream
        await self.subscribe("feed", start="earliest")


class Site:
    """A running site, and a page of it."""

    def __init__(self, version: str, start_server: Callable[..., Any], page: Any, head: str = "") -> None:
        for script in SCRIPTS[version].values():
            script()
        Feed.requests, Feed.broken = [], 0
        self.broker = Broker()
        self.server = start_server(
            tornado.web.Application(
                [("/", Page), ("/feed", Feed), (r"/([a-z_]+\.js)", File)],
                page=PAGE % (head, LISTEN[version]),
                files=SCRIPTS[version],
                sse_broker=self.broker,
            )
        )
        self.page = page
        page.goto(self.server.url)

    def say(self, number: int, before: str | None = None, **options: Any) -> None:
        """End the stream in one way or another, and publish an item."""

        async def say() -> None:
            if before is not None:
                getattr(Feed.latest, before)()
            fragment = render("item.html", n=number, text="<b>&")
            await self.broker.publish("feed", fragment, serializer="html", **options)

        self.server.run(say)

    def forgive(self) -> None:
        """Take what the page has said of interruptions, and nothing else."""
        for complaint in self.page.complaints.take():
            assert INTERRUPTED(complaint), complaint

    def expect(self, *numbers: int) -> None:
        """Wait for the items to be these, in this order."""
        self.page.locator("#list li").nth(len(numbers) - 1).wait_for()
        assert self.page.locator("#list li").all_inner_texts() == [f"{n} <b>&" for n in numbers]


@pytest.fixture
def open_site(start_server: Callable[..., Any], open_page: Callable[..., Any]) -> Callable[..., Site]:
    """``open_site(version, head="")`` opens a page that listens."""
    return lambda version, head="": Site(version, start_server, open_page(), head)


@pytest.mark.parametrize("version", SCRIPTS)
def test_fragments_arrive_and_text_in_them_stays_text(version: str, open_site: Callable[..., Site]) -> None:
    site = open_site(version)
    for number in (1, 2, 3):
        site.say(number)
    site.expect(1, 2, 3)
    assert site.page.locator("#list b").count() == 0


@pytest.mark.parametrize("version", SCRIPTS)
def test_fragments_for_elsewhere_arrive_there(version: str, open_site: Callable[..., Site]) -> None:
    site = open_site(version)
    row = Fragment("<tr><td>2</td></tr>")
    rows = out_of_band(row, "#rows", swap="beforeend", tag="tbody")
    count = out_of_band(Fragment("<b>7</b>"), "#count")

    async def publish() -> None:
        await site.broker.publish(
            "feed", rows + count + render("item.html", n=1, text="<b>&"), serializer="html"
        )
        await site.broker.publish("feed", out_of_band(Fragment("8"), "#count"), serializer="html")

    site.server.run(publish)
    site.page.locator("#count").get_by_text("8", exact=True).wait_for()
    site.expect(1)
    assert site.page.locator("#rows td").all_inner_texts() == ["1", "2"]
    assert site.page.locator("[hx-swap-oob]").count() == 0


@pytest.mark.parametrize("version", SCRIPTS)
def test_a_stream_is_resumed_after_every_kind_of_end(version: str, open_site: Callable[..., Site]) -> None:
    site = open_site(version)
    site.say(1)
    site.expect(1)
    for number, end in enumerate(("close", "abort", "close"), 2):
        site.say(number, before=end)
        site.expect(*range(1, number + 1))
    assert [header is not None for header, _ in Feed.requests] == [False, True, True, True]
    site.forgive()


@pytest.mark.parametrize(("version", "head"), [("2", RESUMING), ("4", "")])
def test_an_answer_that_is_no_stream_costs_nothing(
    version: str, head: str, open_site: Callable[..., Site], logs: Logs
) -> None:
    site = open_site(version, head)
    site.say(1)
    site.say(2)
    site.expect(1, 2)
    Feed.broken = 2
    site.say(3, before="abort")
    site.expect(1, 2, 3)
    site.say(4)
    site.expect(1, 2, 3, 4)
    resumed = [header or parameter for header, parameter in Feed.requests]
    assert len(resumed) == 2
    assert resumed[1]
    logs.claim("502 GET /feed", count=2)
    site.forgive()


def test_without_our_script_htmx_2_begins_anew_then(open_site: Callable[..., Site], logs: Logs) -> None:
    site = open_site("2")
    site.say(1)
    site.expect(1)
    Feed.broken = 1
    site.say(2, before="abort")
    site.expect(1, 1, 2)
    logs.claim("502 GET /feed")
    site.forgive()


@pytest.mark.parametrize("version", SCRIPTS)
def test_a_stream_that_is_finished_is_not_asked_for_again(
    version: str, open_site: Callable[..., Site]
) -> None:
    site = open_site(version)
    site.page.evaluate(
        "() => { for (const name of ['htmx:sseClose', 'htmx:sse:close'])"
        "  document.addEventListener(name, () => { window.ended = (window.ended ?? 0) + 1; }); }"
    )
    site.say(1)
    site.expect(1)

    async def finish() -> None:
        Feed.latest.finish()

    site.server.run(finish)
    site.page.wait_for_function("() => window.ended === 1")
    site.expect(1)
    assert len(Feed.requests) == 1
    site.forgive()


def test_without_that_attribute_htmx_4_takes_the_204_for_a_failure(open_site: Callable[..., Site]) -> None:
    site = open_site("4")
    site.say(1)
    site.expect(1)
    site.page.evaluate("() => document.querySelector('main').removeAttribute('hx-sse:close')")

    async def finish() -> None:
        Feed.latest.finish()

    for _ in range(3):
        with site.page.expect_response(lambda response: response.status == 204):
            if not Feed.latest.closed:
                site.server.run(finish)
    site.page.complaints.take()
