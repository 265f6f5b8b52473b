from __future__ import annotations

import asyncio

import pytest

from tests.scripted import STREAM, Scripted, then_wait
from tests.support import until
from tornado_sse import ConnectionFailedError, EventSource
from tornado_sse.testing import Relay, listen

pytestmark = pytest.mark.gen_test

EVENTS = b"".join(b"id: %d\ndata: %d\n\n" % (i, i) for i in range(5))


async def test_byte_by_byte_nothing_changes(io_loop: object) -> None:
    async with Scripted(then_wait(STREAM + EVENTS)).running() as server, Relay(server.url, piece=1) as relay:
        async with listen(relay.url) as it:
            assert [event.id for event in await it.collect(5)] == ["0", "1", "2", "3", "4"]
        await until(lambda: not server.open)


async def test_the_end_is_passed_on(io_loop: object) -> None:
    async with Scripted(STREAM + EVENTS).running() as server, Relay(server.url, piece=7) as relay:
        it = await listen(relay.url)
        assert len(await it.rest()) == 5
        assert it.complete
        await it.aclose()


async def test_a_pulled_cable_and_what_comes_when_it_is_put_back(io_loop: object) -> None:
    go_on = asyncio.Event()

    async def part(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + b": hello\n")
        await go_on.wait()
        writer.write(EVENTS)
        await asyncio.Event().wait()

    async with Scripted(part).running() as server, Relay(server.url) as relay, listen(relay.url) as it:
        relay.freeze()
        go_on.set()
        await it.silence(0.2)
        relay.thaw()
        assert len(await it.collect(5)) == 5


async def test_a_client_that_is_cut_comes_back(io_loop: object) -> None:
    async with Scripted(then_wait(STREAM + EVENTS)).running() as server, Relay(server.url) as relay:
        source = EventSource(relay.url, retry=0.01)
        for _ in range(5):
            await anext(source)
        relay.cut()
        await anext(source)
        assert server.asked[1].headers["Last-Event-Id"] == "4"
        source.close()


async def test_nobody_is_there(io_loop: object) -> None:
    async with Scripted(b"").running() as server:
        url = server.url
    async with Relay(url) as relay:
        with pytest.raises(ConnectionFailedError, match="reset"):
            await anext(EventSource(relay.url, reconnect=False))
