from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nats.aio.msg import Msg

from tests.cutter import Cutter
from tests.nats_server import Server
from tests.support import until
from tornado_sse.backends.nats_address import Address
from tornado_sse.backends.nats_link import Link
from tornado_sse.errors import BackendError

pytestmark = pytest.mark.gen_test


class Heard:
    """What a link has heard, in the order in which it came."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def on_message(self, message: Msg) -> None:
        if message.data == b"bad":
            raise LookupError("bad")
        self.all.append(message.data)

    def on_answer(self, number: int, data: bytes | None) -> None:
        self.all.append((number, data))


@contextlib.asynccontextmanager
async def linked(host: str, port: int, heard: Heard, patience: float = 5.0) -> AsyncIterator[Link]:
    link = Link(Address([(host, port)]), patience, heard.on_message, heard.on_answer)
    try:
        await link.open(0)
        yield link
    finally:
        await link.close()


async def test_all_that_comes_is_heard_in_order(nats_server: Server) -> None:
    heard = Heard()
    async with linked(nats_server.host, nats_server.port, heard) as link:
        for i in range(10):
            await link.subscribe(f"order.{i}")
        for i in range(1_000):
            # Nobody answers this, which the server says at once.
            await link.publish(f"order.{i % 10}", b"%d" % i, i, {})
        await until(lambda: len(heard.all) == 1_000)
        assert heard.all == [b"%d" % i for i in range(1_000)]


async def test_who_is_not_there_does_not_answer(nats_server: Server) -> None:
    heard = Heard()
    async with linked(nats_server.host, nats_server.port, heard) as link:
        await link.publish("nobody", b"", 7, {})
        await until(lambda: heard.all == [(7, None)])
        with pytest.raises(BackendError, match="has no such log, or no JetStream"):
            await link.ask("nobody")
        (answer,) = await link.ask("$JS.API.INFO")
        assert "limits" in json.loads(answer.data)


async def test_who_does_not_answer_in_time_ends_the_link(nats_server: Server) -> None:
    async with linked(nats_server.host, nats_server.port, Heard(), 0.2) as link:
        await link.subscribe("silence")
        with pytest.raises(BackendError, match="does not answer"):
            await link.ask("silence")
        assert link.ended.is_set()
        for ask in (link.ask("silence"), link.publish("x", b"", 1, {})):
            with pytest.raises(BackendError, match="does not answer"):
                await ask


async def test_what_is_not_understood_ends_the_link(nats_server: Server) -> None:
    async with linked(nats_server.host, nats_server.port, Heard()) as link:
        await link.subscribe("news")
        await link.publish("news", b"bad", 1, {})
        await until(link.ended.is_set)
        assert "sends what is not understood: LookupError: bad" in str(link.problem)


async def test_what_is_unsubscribed_is_not_heard(nats_server: Server) -> None:
    heard = Heard()
    async with linked(nats_server.host, nats_server.port, heard) as link:
        await link.subscribe("news")
        await link.subscribe("news")
        await link.unsubscribe("news")
        await link.unsubscribe("never")
        await link.publish("news", b"x", 1, {})
        await until(lambda: heard.all == [(1, None)])


async def test_a_connection_that_is_reset_while_something_waits_to_be_sent(nats_server: Server) -> None:
    async with (
        Cutter(nats_server.host, nats_server.port) as network,
        linked(network.host, network.port, Heard()) as link,
    ):
        network.hold()
        for i in range(30):
            await link.publish("large", b"x" * 1_000_000, i, {})
            await asyncio.sleep(0)
        network.cut()
        await until(link.ended.is_set)
        assert "is away" in str(link.problem)


@contextlib.asynccontextmanager
async def pretending(greeting: bytes) -> AsyncIterator[tuple[str, int]]:
    """Run what says this first, and answers pings."""
    tasks = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        writer.write(greeting)
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                if line == b"PING\r\n":
                    writer.write(b"PONG\r\n")
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()
    server.close()
    await asyncio.gather(*(task for task in tasks if task is not None))


async def test_a_server_that_is_too_old_is_told_so() -> None:
    async with pretending(b'INFO {"version":"2.10.29","headers":true}\r\n') as (host, port):
        with pytest.raises(BackendError, match=r"too old for this: nats-server 2\.11 or newer is needed"):
            async with linked(host, port, Heard()):
                pass


@pytest.mark.parametrize("greeting", [b"SSH-2.0\r\n", b"INFO {\r\n", b"INFO {}\r\n-ERR 'No'\r\n"])
async def test_what_is_no_server(greeting: bytes) -> None:
    async with pretending(greeting) as (host, port):
        with pytest.raises(BackendError, match=r"is away|does not answer"):
            async with linked(host, port, Heard(), 0.3):
                pass
