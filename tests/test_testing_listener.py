from __future__ import annotations

import asyncio
from typing import Any

import pytest
import tornado.web
from tornado.web import Application

from tests.support import Logs, Recorder, until
from tornado_sse import Broker, ResponseError, SSEHandler
from tornado_sse.testing import listen

pytestmark = pytest.mark.gen_test


class Follow(SSEHandler):
    async def open(self) -> None:
        await self.subscribe("news")


class Count(Recorder):
    async def body(self) -> None:
        async with self.stream:
            for number in range(3):
                await self.stream.write(number, id=number)


class Fails(SSEHandler):
    async def open(self) -> None:
        await self.stream.write(1)
        self.stream.flush()
        self.stream.abort()


class Refuses(tornado.web.RequestHandler):
    def get(self) -> None:
        self.set_status(403)
        self.finish("not you")


class Pours(Recorder):
    async def body(self) -> None:
        async with self.stream:
            while True:
                await self.stream.write("x" * 10_000, serializer="text")


class Waits(Recorder):
    async def body(self) -> None:
        self.stream.comment("hello")
        await asyncio.Event().wait()


def application(**settings: Any) -> Application:
    routes: list[Any] = [
        ("/follow", Follow),
        ("/count", Count),
        ("/fails", Fails),
        ("/refuses", Refuses),
        ("/pours", Pours),
        ("/waits", Waits),
    ]
    for _, handler in routes:
        if hasattr(handler, "notes"):
            handler.notes.clear()
    return Application(routes, **settings)


async def test_events_silence_and_coming_back(io_loop: object) -> None:
    broker = Broker()
    async with listen(application(sse_broker=broker), "/follow") as it:
        await broker.publish("news", 1)
        assert (await it.next()).payload == 1
        await it.silence()
        await broker.publish("news", 2)
        await it.reconnect()
        await broker.publish("news", 3)
        assert [event.payload for event in await it.collect(2)] == [2, 3]
        assert [event.payload for event in it.events] == [1, 2, 3]
        await broker.publish("news", 4)
        with pytest.raises(AssertionError, match="there should be silence"):
            await it.silence(5)
    await broker.close()


async def test_the_end_of_a_stream(io_loop: object) -> None:
    it = await listen(application(), "/count")
    assert [event.payload for event in await it.rest()] == [0, 1, 2]
    assert it.complete
    assert it.last_event_id == "2"
    with pytest.raises(AssertionError, match=r"has ended \(complete\); there were 3 so far"):
        await it.next()
    await it.reconnect(last_event_id="")
    await it.collect(3)
    await it.aclose()
    await it.aclose()
    with pytest.raises(RuntimeError, match="not connected"):
        await it.next()


async def test_a_stream_that_is_cut(io_loop: object) -> None:
    async with listen(application(), "/fails") as it:
        assert len(await it.rest()) == 1
        assert not it.complete
        with pytest.raises(AssertionError, match="in the middle"):
            await it.next()


async def test_what_does_not_come_is_a_failure_and_not_a_hang(io_loop: object) -> None:
    async with listen(application(), "/waits", timeout=0.1) as it:
        with pytest.raises(AssertionError, match=r"no event within 0\.1 s; there were 0 so far; .* is open"):
            await it.next()
        with pytest.raises(AssertionError, match="no end within"):
            await it.rest()
        with pytest.raises(AssertionError, match=r"came 0 times within 0\.1 s, not 2"):
            await it.received(b"data", 2)
        await it.received(b": hello\n")


async def test_a_refusal_says_what_it_is(io_loop: object, logs: Logs) -> None:
    with pytest.raises(ResponseError) as caught:
        await listen(application(), "/refuses")
    assert (caught.value.status, caught.value.body) == (403, "not you")
    logs.claim("403")


async def test_clients_that_go_in_other_ways(io_loop: object) -> None:
    async with listen(application(), "/waits") as it:
        it.reset()
        await until(lambda: len(Waits.notes) == 3)
        assert Waits.notes[-1] == "on_close disconnected"
    async with listen(application(), "/waits") as it:
        it.half_close()
        await until(lambda: len(Waits.notes) == 3)


async def test_a_client_that_does_not_read(io_loop: object) -> None:
    async with listen(application(sse_stall_timeout=0.5), "/pours") as it:
        it.stall()
        await until(lambda: len(Pours.notes) == 3)
        assert Pours.notes[-1] == "on_close stalled"


async def test_a_url_will_do(io_loop: object, http_server: object, base_url: str, app: Application) -> None:
    app.add_handlers(".*", [("/count", Count)])
    for target in ((f"{base_url}/count",), (base_url, "/count")):
        async with listen(*target) as it:
            assert len(await it.rest()) == 3
