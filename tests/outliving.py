"""Servers that share a log and are killed, and what becomes of the events: all there, once, in order."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable

from tests.chaos import ChaoticReader, finish
from tests.support import DEADLINE, Connection, until, within

__all__ = ["CHANNELS", "Server", "outlive", "position"]

CHANNELS = ("a", "b", "c.d")

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


def position(event_id: str | None) -> int:
    return int((event_id or "").rpartition("-")[2])


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


async def outlive(
    servers: list[Server],
    address: tuple[str, int],
    rng: random.Random,
    kill: Callable[[], object] | None = None,
    *,
    turns: int = 6,
    events: int = 400,
    say: Callable[[str], object] = lambda line: None,
) -> int:
    """Kill servers that share a port and a log, one after the other, while readers and publishers go on.

    :arg kill: kills the log and brings it back, if it is a server too.
    :arg turns: how often something is killed.
    :arg events: how many events are published before that, more or less.
    :arg say: is told how it goes.

    Returns how many events have reached a reader.
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
        for turn in range(turns):
            before = sum(len(publisher.acknowledged) for publisher in publishers)
            enough = before + rng.randint(events // 2, events * 3 // 2)
            await until(lambda: sum(len(p.acknowledged) for p in publishers) >= enough, 3 * DEADLINE)  # noqa: B023
            server = servers[turn % len(servers)]
            await server.kill()
            if kill is not None:
                kill()
            await server.start()
            say(f"{turn + 1} of {turns}: {before} acknowledged, {sum(len(r.events) for r in readers)} read")
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
    assert len(acknowledged) > turns * events // 2
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
    return sum(len(reader.events) for reader in readers)
