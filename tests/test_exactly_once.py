"""Every event, once, in order: to readers that are cut, stall and resume, while publishing goes on."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import tornado.web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tests.chaos import ChaoticReader, finish
from tests.nats_server import running as running_nats
from tests.outliving import CHANNELS, Server, outlive, position
from tests.support import Logs, reserved_address
from tests.valkey import running
from tornado_sse import Broker, Retention, SSEHandler

EVERYTHING = Retention(events=None, bytes=None, age=None)


class Follow(SSEHandler):
    async def open(self, channels: str) -> None:
        await self.subscribe(*channels.split("+"), start=self.get_query_argument("start", "new"))


@contextlib.asynccontextmanager
async def serving(broker: Broker, **settings: object) -> AsyncIterator[tuple[str, int]]:
    application = tornado.web.Application([("/([^/]+)", Follow)], sse_broker=broker, **settings)
    server = HTTPServer(application)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield sockets[0].getsockname()
    finally:
        server.stop()
        await broker.close()
        await server.close_all_connections()


def check(reader: ChaoticReader, published: list[tuple[int, str, str]]) -> None:
    """Compare what a reader got with what was published: positions, channels, texts."""
    wanted = reader.path.strip("/").split("?")[0].split("+")
    owed = [
        (place, text)
        for place, channel, text in published
        if channel in wanted and place > position(reader.first_id)
    ]
    assert [(position(event_id), data) for _, event_id, data in reader.events] == owed


@pytest.mark.gen_test(timeout=100)
@pytest.mark.parametrize("seed", [1, 2])
async def test_every_event_once_and_in_order_whatever_happens_to_the_readers(seed: int, logs: Logs) -> None:
    rng = random.Random(seed)
    broker = Broker(retention=EVERYTHING)
    published: list[tuple[int, str, str]] = []
    async with serving(broker) as address:
        readers = [
            ChaoticReader(address, "/" + "+".join(rng.sample(CHANNELS, rng.randint(1, 3))), random.Random(n))
            for n in range(200)
        ]
        tasks = [asyncio.create_task(reader.run()) for reader in readers]
        for number in range(1_500):
            channel = rng.choice(CHANNELS)
            text = f"{channel} {number} {'x' * rng.choice([0, 0, 10, 10, 100, 1000])}\n{number}"
            event_id = await broker.publish(channel, text, serializer="text", event=rng.choice([None, "t"]))
            published.append((position(event_id), channel, text))
            if number % rng.choice([1, 7, 50]) == 0:
                await asyncio.sleep(0)
        # A last word in each channel, so that who has it has all.
        for channel in CHANNELS:
            event_id = await broker.publish(channel, "end", serializer="text")
            published.append((position(event_id), channel, "end"))
        ends = {channel: place for place, channel, _ in published[-3:]}

        def done(reader: ChaoticReader) -> bool:
            wanted = reader.path.strip("/").split("+")
            if position(reader.first_id or "0-0") >= max(ends[channel] for channel in wanted):
                return True
            return position(reader.last_id or "0-0") >= max(ends[channel] for channel in wanted)

        await finish(readers, done)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            assert task.cancelled() or task.exception() is None, task.exception()
    for reader in readers:
        check(reader, published)
    # The test is worth what it did: many cuts, and some readers that had an id before their first event.
    assert sum(reader.connections for reader in readers) > 600
    assert broker.stats.subscribers == 0


# Over the death of servers


@pytest.mark.gen_test(timeout=110)
@pytest.mark.parametrize("processes", [1, 3])
async def test_what_was_acknowledged_outlives_the_servers(processes: int, tmp_path: Path) -> None:
    rng = random.Random(3)
    with reserved_address() as address:
        servers = [Server(f"sqlite:///{tmp_path}/events.db", address[1]) for _ in range(processes)]
        await outlive(servers, address, rng)


@pytest.mark.gen_test(timeout=110)
@pytest.mark.parametrize("mortal", [False, True], ids=["a log that stays", "a log that is killed too"])
async def test_what_was_acknowledged_in_redis_outlives_the_servers(mortal: bool, tmp_path: Path) -> None:
    rng = random.Random(4)
    with reserved_address() as address, running("valkey", tmp_path / "data") as log:
        servers = [Server(log.url, address[1]) for _ in range(3)]

        def kill() -> None:
            log.kill()
            log.start()

        await outlive(servers, address, rng, kill if mortal else None)


@pytest.mark.gen_test(timeout=110)
@pytest.mark.parametrize("mortal", [False, True], ids=["a log that stays", "a log that is killed too"])
async def test_what_was_acknowledged_in_nats_outlives_the_servers(mortal: bool, tmp_path: Path) -> None:
    rng = random.Random(5)
    with reserved_address() as address, running_nats(tmp_path / "nats") as log:
        servers = [Server(log.url, address[1]) for _ in range(3)]

        def kill() -> None:
            log.kill()
            log.start()

        await outlive(servers, address, rng, kill if mortal else None)
