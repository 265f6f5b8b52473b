"""Every event, once, in order: to readers that are cut, stall and resume, while publishing goes on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import tornado.web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tests.chaos import ChaoticReader, finish
from tests.nats_server import running as running_nats
from tests.support import DEADLINE, Connection, Logs, reserved_address, until, within
from tests.valkey import running
from tornado_sse import Broker, Retention, SSEHandler

EVERYTHING = Retention(events=None, bytes=None, age=None)
CHANNELS = ("a", "b", "c.d")


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


def position(event_id: str | None) -> int:
    return int((event_id or "").rpartition("-")[2])


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


# Over the death of the server

SERVER = """
import asyncio, sys
import tornado.web
from tornado.httpserver import HTTPServer
from tornado_sse import BackendError, Broker, Retention, SSEHandler

class Follow(SSEHandler):
    async def open(self, channels):
        await self.subscribe(*channels.split("+"))

class Publish(tornado.web.RequestHandler):
    async def post(self, channel):
        text = self.request.body.decode()
        broker = self.settings["sse_broker"]
        try:
            self.write(await broker.publish(channel, text, serializer="text", message_id=text))
        except BackendError:
            self.set_status(503)

async def main():
    broker = Broker(sys.argv[1], retention=Retention(events=None, bytes=None))
    routes = [("/publish/([^/]+)", Publish), ("/([^/]+)", Follow)]
    app = tornado.web.Application(routes, sse_broker=broker, log_function=lambda handler: None)
    HTTPServer(app).listen(int(sys.argv[2]), "127.0.0.1", reuse_port=True)
    print("serving", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Server:
    """A server in a process of its own, which can be killed."""

    def __init__(self, url: str, port: int) -> None:
        self.url = url
        self.port = port
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVER, self.url, str(self.port), stdout=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        line = await within(self.process.stdout.readline(), 3 * DEADLINE)
        assert line == b"serving\n", line

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


class Publisher:
    """Publishes one event after the other, each again until it is acknowledged: each is in the log once."""

    def __init__(self, address: tuple[str, int], channel: str, name: str) -> None:
        self.address = address
        self.channel = channel
        self.name = name
        self.acknowledged: list[tuple[int, str, str]] = []
        self.attempted: set[str] = set()
        self.number = 0
        #: Whether the log may be away for longer than a broker waits.
        self.patient = False

    async def run(self) -> None:
        while True:
            try:
                await self._publish()
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.01)  # nobody listens: a server that is being restarted

    async def _publish(self) -> None:
        connection = await Connection.open(*self.address)
        try:
            while True:
                text = f"{self.name} {self.number}"
                self.attempted.add(text)
                await connection.request(f"/publish/{self.channel}", method="POST", body=text.encode())
                size = int(connection.headers["Content-Length"])
                event_id = (await connection.reader.readexactly(size)).decode()
                if connection.status == 503 and self.patient:
                    continue
                assert connection.status == 200
                self.acknowledged.append((position(event_id), self.channel, text))
                self.number += 1
        finally:
            connection.reset()


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


async def outlive(
    servers: list[Server],
    address: tuple[str, int],
    rng: random.Random,
    kill: Callable[[], object] | None = None,
) -> None:
    """Kill servers that share a port and a log, one after the other, while readers and publishers go on.

    :arg kill: kills the log and brings it back, if it is a server too.
    """
    readers = [
        ChaoticReader(address, "/" + "+".join(rng.sample(CHANNELS, rng.randint(1, 3))), random.Random(n))
        for n in range(100)
    ]
    publishers = [Publisher(address, CHANNELS[n % 3], f"p{n}") for n in range(6)]
    for each in (*readers, *publishers):
        each.patient = kill is not None
    tasks = [asyncio.create_task(reader.run()) for reader in readers]
    try:
        await asyncio.gather(*(server.start() for server in servers))
        await until(lambda: all(reader.first_id for reader in readers), 3 * DEADLINE)
        publishing = [asyncio.create_task(publisher.run()) for publisher in publishers]
        tasks += publishing
        for turn in range(6):
            before = sum(len(publisher.acknowledged) for publisher in publishers)
            enough = before + rng.randint(200, 600)
            await until(lambda: sum(len(p.acknowledged) for p in publishers) >= enough, 3 * DEADLINE)  # noqa: B023
            server = servers[turn % len(servers)]
            await server.kill()
            if kill is not None:
                kill()
            await server.start()
        for task in publishing:
            task.cancel()
        await asyncio.gather(*publishing, return_exceptions=True)
        # A last word in each channel, so that who has it has all.
        ends = {}
        for channel in CHANNELS:
            last = Publisher(address, channel, f"last of {channel}")
            task = asyncio.create_task(last.run())
            await until(lambda: last.acknowledged)  # noqa: B023
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            ends[channel] = last.acknowledged[0][0]
            publishers.append(last)

        def done(reader: ChaoticReader) -> bool:
            wanted = reader.path.strip("/").split("+")
            return position(reader.last_id) >= max(ends[channel] for channel in wanted)

        await finish(readers, done)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in servers:
            await server.kill()
    for task in tasks:
        assert task.cancelled() or task.exception() is None, task.exception()
    acknowledged = sorted(each for publisher in publishers for each in publisher.acknowledged)
    attempted = set().union(*(publisher.attempted for publisher in publishers))
    assert len(acknowledged) > 1_200
    for reader in readers:
        wanted = reader.path.strip("/").split("+")
        got = [(position(event_id), data) for _, event_id, data in reader.events]
        places = [place for place, _ in got]
        assert places == sorted({*places}), "doubled or out of order"
        assert all(kind == "message" for kind, _, _ in reader.events), "no gap"
        assert {text for _, text in got} <= attempted
        first, last = position(reader.first_id), places[-1]
        mine = [(place, text) for place, channel, text in acknowledged if channel in wanted]
        owed = {(place, text) for place, text in mine if first < place <= last}
        assert owed <= {*got}, "acknowledged, and lost"
        assert len({text for _, text in got}) == len(got), "doubled"
