"""Many tabs, one connection; reloads; and other readers beside the browser module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import tornado.web

from tests.browser.conftest import Server
from tests.browser.scripts import HTMX_4, HTMX_4_SSE
from tests.browser.stage import Answer, Stage, stream
from tornado_sse import Broker, Retention, SSEHandler

pytestmark = pytest.mark.browser

CHANNEL = "news"

# Follows a stream and notes what it says; the page's `seen` has the data of all events.
FOLLOW = """async ([url, options]) => {
  const { EventStream } = await import("/tornado_sse/tornado_sse.js");
  globalThis.seen = [];
  globalThis.errors = [];
  globalThis.stream = new EventStream(url, options);
  stream.onmessage = ({ payload }) => seen.push(payload);
  stream.ongap = ({ payload }) => seen.push(payload.reason);
  stream.onerror = ({ reason }) => errors.push(reason);
}"""


class Follow(SSEHandler):
    """Follows the channel; the route says where a new client begins."""

    sse_retry = 0.01
    open_now: ClassVar[set[Follow]] = set()
    most: ClassVar[int] = 0
    resumed: ClassVar[list[str | None]] = []

    async def open(self, start: str) -> None:
        """Subscribe."""
        self.open_now.add(self)
        Follow.most = max(self.most, len(self.open_now))
        self.resumed.append(self.stream.last_event_id)
        await self.subscribe(CHANNEL, start=start)

    def on_close(self) -> None:
        """Forget it."""
        self.open_now.discard(self)


class World:
    """A server, its broker, and what is published there."""

    def __init__(self, start_server: Callable[..., Server]) -> None:
        self.stage = Stage()
        self.broker = Broker(retention=Retention(events=100_000, bytes=2**28, age=None))
        application = self.stage.application(
            (r"/follow/(\w+)", Follow), ("/htmx", Htmx), (r"/htmx\.js|/hx-sse\.js", Script)
        )
        application.settings["sse_broker"] = self.broker
        self.server = start_server(application)
        self.published = 0

    def publish(self, count: int = 1, channel: str = CHANNEL) -> None:
        """Publish the next numbers."""
        first, self.published = self.published, self.published + (count if channel == CHANNEL else 0)

        async def publish() -> None:
            for number in range(first, first + count):
                await self.broker.publish(channel, number)

        self.server.run(publish)

    def cut(self) -> None:
        """Break all streams off."""

        async def cut() -> None:
            for handler in [*Follow.open_now]:
                handler.stream.abort()

        self.server.run(cut)


@pytest.fixture
def world(start_server: Callable[..., Server]) -> World:
    """A server with a channel of its own."""
    Follow.open_now.clear()
    Follow.resumed.clear()
    Follow.most = 0
    return World(start_server)


@pytest.fixture
def follow(world: World, open_page: Any) -> Callable[..., Any]:
    """``follow(context, url, **options)`` opens a tab that does."""

    def follow(context: Any = None, url: str = "/follow/earliest", **options: Any) -> Any:
        page = open_page(context=context)
        page.goto(world.server.url)
        page.evaluate(FOLLOW, [url, {"shared": True} | options])
        return page

    return follow


def wait_for(page: Any, numbers: range | list[Any]) -> None:
    """Wait until a page has seen so many events, and check that it is these, once and in order."""
    page.wait_for_function("(count) => seen.length >= count", arg=len(numbers))
    assert page.evaluate("seen") == list(numbers)


def settled(page: Any, streams: int) -> None:
    """Wait until so many streams are open; the page only lends its patience."""
    page.wait_for_function("() => true")
    for _ in range(2000):
        if len(Follow.open_now) == streams:
            return
        page.wait_for_timeout(5)
    raise AssertionError(f"{len(Follow.open_now)} streams are open, not {streams}")


# Sharing


def test_ten_tabs_hold_one_connection(world: World, follow: Callable[..., Any]) -> None:
    world.publish(5)
    first = follow()
    first.wait_for_function("() => stream.state === 'open'")
    tabs = [first, *(follow(first.context) for _ in range(9))]
    for tab in tabs:
        wait_for(tab, range(5))
        assert tab.evaluate("stream.shared")
    settled(first, 1)
    world.publish(5)
    for tab in tabs:
        wait_for(tab, range(10))
    assert len(Follow.open_now) == 1
    assert Follow.most <= 3


def test_a_new_tab_begins_where_the_server_says(world: World, follow: Callable[..., Any]) -> None:
    world.publish(5)
    first = follow(url="/follow/new")
    first.wait_for_function("() => stream.state === 'open'")
    world.publish(5)
    wait_for(first, range(5, 10))
    second = follow(first.context, "/follow/new")
    second.wait_for_function("() => stream.state === 'open'")
    settled(first, 1)
    world.publish(5)
    wait_for(first, range(5, 15))
    wait_for(second, range(10, 15))


def test_a_quiet_channel_beside_a_busy_one(world: World, follow: Callable[..., Any]) -> None:
    # The broker's position goes on, and no event of this stream has the id that a new tab is told.
    world.publish(3)
    first = follow()
    wait_for(first, range(3))
    world.publish(50, channel="other")
    tabs = [first, *(follow(first.context, "/follow/earliest") for _ in range(3))]
    for tab in tabs:
        wait_for(tab, range(3))
    world.publish(50, channel="other")
    late = follow(first.context, "/follow/earliest", lastEventId=first.evaluate("stream.lastEventId"))
    late.wait_for_function("() => stream.state === 'open'")
    settled(first, 1)
    world.publish()
    for tab in tabs:
        wait_for(tab, range(4))
    wait_for(late, [3])


def test_a_state_is_not_taken_for_a_history(world: World, follow: Callable[..., Any]) -> None:
    async def publish() -> None:
        for number in range(10):
            await world.broker.publish(CHANNEL, number, key=None if number % 3 else "key")

    world.server.run(publish)
    first = follow(url="/follow/state")
    wait_for(first, [9])
    epoch = first.evaluate("stream.lastEventId").partition("-")[0]
    second = follow(first.context, "/follow/state", lastEventId=f"{epoch}-4")
    missed = [4, 5, 7, 8, 9]  # the 6 has been replaced
    wait_for(second, missed)
    third = follow(first.context, "/follow/state")
    wait_for(third, [9])
    settled(first, 1)
    world.published = 10
    world.publish(5)
    wait_for(first, range(9, 15))
    wait_for(second, [*missed, *range(10, 15)])
    wait_for(third, range(9, 15))


def test_closing_the_tab_that_connected_loses_nothing(world: World, follow: Callable[..., Any]) -> None:
    first = follow()
    first.wait_for_function("() => stream.state === 'open'")
    tabs = [follow(first.context) for _ in range(3)]
    world.publish(50)
    first.close()
    world.publish(50)
    tabs.pop(0).close(run_before_unload=False)
    world.publish(50)
    for tab in tabs:
        wait_for(tab, range(150))
    settled(tabs[0], 1)
    for tab in tabs:
        tab.evaluate("stream.close()")
    settled(tabs[0], 0)


def test_a_lost_connection_is_resumed_once_for_all(world: World, follow: Callable[..., Any]) -> None:
    first = follow()
    tabs = [first, *(follow(first.context) for _ in range(3))]
    world.publish(10)
    for tab in tabs:
        wait_for(tab, range(10))
    settled(first, 1)
    for _ in range(3):
        Follow.resumed.clear()
        world.cut()
        world.publish(10)
        for tab in tabs:
            wait_for(tab, range(world.published))
        assert len(Follow.resumed) == 1
    for tab in tabs:
        assert "network" in tab.evaluate("errors")
        tab.complaints.take()


def test_while_tabs_come_and_go_and_connections_break(world: World, follow: Callable[..., Any]) -> None:
    tabs = [follow()]
    for round in range(8):
        world.publish(200)
        if round % 3 == 1:
            world.cut()
        tabs.append(follow(tabs[0].context))
        if round % 4 == 3:
            tabs.pop(0 if round == 3 else 1).close()
        world.publish(100)
    for tab in tabs:
        wait_for(tab, range(world.published))
        tab.complaints.take()
    settled(tabs[0], 1)


def test_a_tab_that_is_busy_holds_nobody_up_and_misses_nothing(
    world: World, follow: Callable[..., Any]
) -> None:
    first = follow()
    busy = follow(first.context)
    world.publish(10)
    wait_for(busy, range(10))
    # More than the ring has, while this one takes nothing.
    busy.evaluate(
        """() => {
          const { postMessage } = MessagePort.prototype;
          const kept = [];
          MessagePort.prototype.postMessage = function (...message) {
            if (message[0][0] === "taken") kept.push(() => postMessage.apply(this, message));
            else postMessage.apply(this, message);
          };
          globalThis.release = () => {
            MessagePort.prototype.postMessage = postMessage;
            for (const each of kept) each();
          };
        }"""
    )
    world.publish(12_000)
    wait_for(first, range(12_010))
    assert busy.evaluate("seen.length") < 12_010
    busy.evaluate("release()")
    wait_for(busy, range(12_010))
    settled(first, 1)


def test_the_end_comes_after_the_last_event_to_all(world: World, follow: Callable[..., Any]) -> None:
    url = world.stage.set(stream(b"retry: 1\n\nid: 1\ndata: 1\n\n", hold=True), Answer(204))
    first = follow(url=url, lastEventId="0")
    wait_for(first, ["1"])
    second = follow(first.context, url, lastEventId="0")
    wait_for(second, ["1"])
    world.server.run(world.stage.end)
    for tab in (first, second):
        tab.wait_for_function("() => stream.state === 'closed'")
        assert tab.evaluate("errors") == ["ended", "status"]
    # And so for whoever comes then.
    third = follow(first.context, url, lastEventId="1")
    third.wait_for_function("() => stream.state === 'closed'")


def test_what_differs_is_not_shared(world: World, follow: Callable[..., Any]) -> None:
    first = follow()
    follow(first.context, headers={"X-User": "2"})
    follow(first.context, shared="user 3")
    follow(first.context, shared=False)
    settled(first, 4)
    follow(first.context, shared="user 3")
    world.publish()
    settled(first, 4)


def test_without_ids_a_tab_begins_with_what_comes(world: World, follow: Callable[..., Any]) -> None:
    url = world.stage.set(stream(b"data: 1\n\n", hold=True))
    first = follow(url=url)
    wait_for(first, ["1"])
    second = follow(first.context, url)
    second.wait_for_function("() => stream.state === 'open'")
    assert second.evaluate("seen") == []
    assert len(world.stage.asked[url]) == 1


def test_ids_of_another_kind_meet_when_they_are_equal(world: World, follow: Callable[..., Any]) -> None:
    beginning = b"id: a\ndata: 1\n\nid: b\ndata: 2\n\n"
    url = world.stage.set(stream(beginning, hold=True), resumed=stream(b"", hold=True))
    first = follow(url=url)
    wait_for(first, ["1", "2"])
    second = follow(first.context, url)
    wait_for(second, ["1", "2"])
    for _ in range(1000):
        if world.stage.open[url] == 1:
            break
        first.wait_for_timeout(5)
    assert world.stage.open[url] == 1
    assert sorted(headers.get("Last-Event-ID", "") for headers in world.stage.asked[url]) == ["", "", "b"]


def test_where_there_are_no_shared_workers_each_tab_has_its_own(world: World, open_page: Any) -> None:
    page = open_page()
    page.add_init_script("delete globalThis.SharedWorker")
    page.goto(world.server.url)
    page.evaluate(FOLLOW, ["/follow/earliest", {"shared": True}])
    world.publish()
    wait_for(page, range(1))
    assert page.evaluate("stream.shared") is False


def test_a_policy_without_workers_is_no_hindrance(world: World, open_page: Any) -> None:
    page = open_page()
    page.route("**/worker.js", lambda route: route.fulfill(status=404))
    page.goto(world.server.url)
    page.evaluate(FOLLOW, ["/follow/earliest", {"shared": True}])
    world.publish()
    wait_for(page, range(1))
    page.complaints.take()


def test_a_worker_that_dies_is_replaced_and_nothing_is_lost(
    world: World, follow: Callable[..., Any], browser: Any
) -> None:
    first = follow()
    second = follow(first.context)
    world.publish(10)
    for tab in (first, second):
        wait_for(tab, range(10))
        tab.clock.install()
        tab.evaluate("dispatchEvent(new Event('online'))")  # so that it asks, by this clock
        tab.wait_for_timeout(100)
    session = browser.new_browser_cdp_session()
    targets = session.send("Target.getTargets")["targetInfos"]
    (worker,) = [
        each for each in targets if each["type"] == "shared_worker" and world.server.url in each["url"]
    ]
    session.send("Target.closeTarget", {"targetId": worker["targetId"]})
    world.publish(10)
    settled(first, 0)
    for tab in (first, second):
        tab.clock.run_for(18_500)  # it asks every 15 seconds, and waits for 3
        wait_for(tab, range(20))
    settled(first, 1)


def test_the_ring_knows_what_a_client_lacks(world: World, open_page: Any) -> None:
    page = open_page()
    page.goto(world.server.url)
    assert page.evaluate(
        """async () => {
          const { Ring } = await import("/tornado_sse/ring.js");
          const block = (lastEventId, { identified = true, type = "message" } = {}) =>
            ({ type, data: "x", codec: null, lastEventId, identified });
          const id = (position) => `0123456789-${position}`;
          const ring = new Ring();
          const found = (...positions) => positions.map((position) => ring.find(id(position)));
          const told = [];
          ring.append(block(id(3)));
          told.push(found(3)); // nobody knows what came before, and what lacks
          ring.cover(id(3));
          told.push(found(2, 3, 9)); // one is behind, one there, one ahead
          for (const position of [4, 6, 8]) ring.append(block(id(position)));
          told.push(found(3, 4, 5, 8, 9), [ring.skip(1, id(7)), ring.skip(1, id(3)), ring.skip(1, id(9))]);
          ring.append(block(id(8), { identified: false, type: "half" }));
          told.push(found(8, 9), [ring.skip(1, id(9))]);
          ring.append(block("fedcba9876-1"));
          told.push(found(8, 9), [ring.find("fedcba9876-1"), ring.find("fedcba9876-0"), ring.find("")]);
          ring.append(block("fedcba9876-1", { identified: false, type: "gap" }));
          told.push(found(8), [ring.find("fedcba9876-1")]);
          ring.cover("b");
          ring.append(block("a"));
          told.push([ring.find("a"), ring.find("b"), ring.find("c"), ring.find("a-1")]);
          for (let position = 0; position < 6000; position++) ring.append(block(id(position)));
          told.push(found(999, 1000, 5999).map((number) => number && ring.end - number));
          return told;
        }"""
    ) == [
        [None],
        [None, 1, 1],
        [1, 2, 2, 4, 4],
        [3, 1, 4],
        [4, 4],
        [4],
        [4, 4],
        [6, None, None],
        [None],
        [None],
        [8, 7, None, None],
        [5000, 4999, 0],
    ]


# Reloads


@pytest.mark.parametrize("shared", [False, True])
def test_a_reload_resumes(shared: bool, world: World, follow: Callable[..., Any]) -> None:
    options = {"remember": True, "shared": shared}
    page = follow(**options)
    other = follow(page.context) if shared else None
    expected = 0
    for _ in range(5):
        world.publish(20)
        page.wait_for_function("() => seen.length > 3")
        world.publish(200)  # some of them arrive before the reload, some while it goes on
        before = page.evaluate(
            "() => { const before = [...seen]; stream.close(); location.reload(); return before; }"
        )
        assert before == list(range(expected, expected + len(before)))
        expected += len(before)
        page.wait_for_function("() => typeof seen === 'undefined'")
        page.evaluate(FOLLOW, ["/follow/earliest", options])
    world.publish()
    page.wait_for_function("(last) => seen.at(-1) === last", arg=world.published - 1)
    assert page.evaluate("seen") == list(range(expected, world.published))
    if other:
        wait_for(other, range(world.published))


def test_each_tab_and_each_name_has_a_memory_of_its_own(world: World, follow: Callable[..., Any]) -> None:
    world.publish(3)
    page = follow(remember="a", shared=False)
    wait_for(page, range(3))
    for options, numbers in (({"remember": "b"}, [0, 1, 2]), ({"remember": "a"}, []), ({}, [0, 1, 2])):
        page.evaluate("stream.close()")
        page.evaluate(FOLLOW, ["/follow/earliest", options])
        page.wait_for_function("() => stream.state === 'open'")
        world.publish(0)
        wait_for(page, numbers)
    wait_for(follow(page.context, remember="a", shared=False), range(3))


def test_storage_that_is_denied_is_no_hindrance(world: World, open_page: Any) -> None:
    page = open_page()
    page.add_init_script(
        "Object.defineProperty(globalThis, 'sessionStorage', { get() { throw new DOMException('denied'); } })"
    )
    page.goto(world.server.url)
    page.evaluate(FOLLOW, ["/follow/earliest", {"remember": True}])
    world.publish()
    wait_for(page, range(1))


def test_a_log_that_is_another_is_told_as_a_gap(world: World, follow: Callable[..., Any]) -> None:
    world.publish()
    page = follow(shared=False, lastEventId="0123456789-7")
    wait_for(page, ["epoch", 0])


# Out of sight

TURN = """(state) => {
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.mark.parametrize("shared", [False, True])
def test_out_of_sight_it_rests_and_misses_nothing(
    shared: bool, world: World, follow: Callable[..., Any]
) -> None:
    page = follow(rest=20, shared=shared)
    world.publish(3)
    wait_for(page, range(3))
    page.evaluate(TURN, "hidden")
    page.wait_for_function("() => stream.state === 'resting'")
    settled(page, 0)
    world.publish(3)
    page.evaluate(TURN, "visible")
    wait_for(page, range(6))


def test_a_page_that_is_left_and_shown_again_goes_on(world: World, follow: Callable[..., Any]) -> None:
    page = follow(shared=False)
    world.publish(3)
    wait_for(page, range(3))
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    settled(page, 0)
    world.publish(3)
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    wait_for(page, range(6))


def test_somebody_who_looks_hastens_the_next_attempt(world: World, follow: Callable[..., Any]) -> None:
    for shared in (False, True):
        first = stream(b"retry: 3000000\nid: 1\ndata: 1\n\n")
        page = follow(url=world.stage.set(first, stream(b"data: 2\n\n", hold=True)), shared=shared)
        page.wait_for_function("() => stream.state === 'reconnecting'")
        page.evaluate(TURN, "visible")
        wait_for(page, ["1", "2"])


# Beside others


def test_a_plain_eventsource_beside_it(world: World, follow: Callable[..., Any]) -> None:
    page = follow()
    page.evaluate(
        """() => {
          globalThis.plain = [];
          new EventSource("/follow/earliest").onmessage = ({ data }) => plain.push(Number(data));
        }"""
    )
    world.publish(20)
    wait_for(page, range(20))
    page.wait_for_function("() => plain.length >= 20")
    assert page.evaluate("plain") == list(range(20))


class Htmx(tornado.web.RequestHandler):
    """A page of htmx, with its extension for events, that also has the module."""

    def get(self) -> None:
        """Answer with it."""
        self.write(
            """<!doctype html><meta name="htmx-config" content='{"extensions": "sse"}'>"""
            '<link rel="icon" href="data:,">'
            '<script src="/htmx.js"></script><script src="/hx-sse.js"></script>'
            '<ol hx-sse:connect="/follow/earliest" hx-swap="beforeend"></ol>'
        )


class Script(tornado.web.RequestHandler):
    """A script of others."""

    def get(self) -> None:
        """Answer with it."""
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.write((HTMX_4 if self.request.path == "/htmx.js" else HTMX_4_SSE).read())


def test_htmx_beside_it(world: World, open_page: Any) -> None:
    HTMX_4.read()
    page = open_page()
    page.goto(f"{world.server.url}/htmx")
    page.evaluate(FOLLOW, ["/follow/earliest", {"shared": True}])
    settled(page, 2)
    world.publish(20)
    wait_for(page, range(20))
    page.wait_for_function("() => document.querySelector('ol').textContent.endsWith('19')")
    assert page.evaluate("document.querySelector('ol').textContent") == "".join(map(str, range(20)))
