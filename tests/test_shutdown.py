from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tornado.web
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.routing import HostMatches, Rule, RuleRouter

from tests.support import SECOND, Connect, Connection, Logs, Recorder, until
from tornado_sse import (
    Broker,
    BrokerClosedError,
    Observer,
    SSEHandler,
    drain_application,
    serve_until_stopped,
)
from tornado_sse.capacity import Capacity

pytestmark = pytest.mark.gen_test

Serve = Callable[..., None]

#: A server as its author would write it. It tells its port, and what happens to its streams.
SERVER = """
import asyncio
import sys

from tornado.web import Application, RequestHandler

from tornado_sse import Broker, SSEHandler, serve_until_stopped


class Follow(SSEHandler):
    async def open(self, channel):
        await self.subscribe(channel)


class Ticks(SSEHandler):
    async def open(self):
        try:
            while True:
                await self.stream.write("tick")
                await asyncio.sleep(0.02)
        finally:
            print("ticks ended", flush=True)

    def on_close(self):
        print("ticks on_close", self.stream.reason, flush=True)


class Held(SSEHandler):
    go = None

    async def open(self):
        print("held", flush=True)
        Held.go = asyncio.Event()
        await Held.go.wait()
        await self.stream.write("too late")


class Big(SSEHandler):
    async def open(self):
        while True:
            await self.stream.write_text("x" * 100_000)


class Plain(RequestHandler):
    def get(self):
        if Held.go is not None:
            Held.go.set()
        self.write("ordinary")

    async def post(self):
        self.write(await self.settings["sse_broker"].publish("news", self.request.body.decode()))


async def main():
    url, port, deadline = sys.argv[1:]
    application = Application(
        [("/follow/(.*)", Follow), ("/ticks", Ticks), ("/held", Held), ("/big", Big), ("/plain", Plain)],
        sse_broker=Broker(url or None),
    )
    server = application.listen(int(port), "127.0.0.1")
    print(next(iter(server._sockets.values())).getsockname()[1], flush=True)
    await serve_until_stopped(server, deadline=float(deadline))
    print("stopped", flush=True)


asyncio.run(main())
"""


class Process:
    """The server above, as a process of its own."""

    def __init__(self, directory: Path, *, url: str = "", port: int = 0, deadline: float) -> None:
        script = directory / "server.py"
        script.write_text(SERVER)
        self._out, self._err = directory / "out", directory / "err"
        root = str(Path(__file__).parents[1])
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", str(script), url, str(port), str(deadline)],
                stdout=out,
                stderr=err,
                env={**os.environ, "PYTHONPATH": root},
            )
        self.port = port

    @property
    def said(self) -> list[str]:
        return self._out.read_text().splitlines()

    @property
    def complaints(self) -> str:
        return self._err.read_text()

    async def started(self) -> Process:
        await until(lambda: self.said or self.process.poll() is not None, 30 * SECOND)
        assert self.said, self.complaints
        self.port = int(self.said[0])
        return self

    async def ended(self) -> int:
        await until(lambda: self.process.poll() is not None, 30 * SECOND)
        code: int = self.process.returncode
        return code


Start = Callable[..., Awaitable[Process]]
Reach = Callable[..., Awaitable[Connection]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the server above; what runs at the end is killed."""
    with contextlib.ExitStack() as stack:

        async def start(**options: Any) -> Process:
            server = Process(tmp_path, **options)
            stack.callback(server.process.wait)
            stack.callback(server.process.kill)
            return await server.started()

        yield start


@pytest.fixture
def reach(io_loop: IOLoop) -> Iterator[Reach]:
    """Send a request to a server; what is open at the end is closed."""
    with contextlib.ExitStack() as stack:

        async def reach(server: Process | HTTPServer, path: str, **options: Any) -> Connection:
            port = server.port if isinstance(server, Process) else port_of(server)
            it = await Connection.open("127.0.0.1", port)
            stack.callback(it.close)
            return await it.request(path, **options)

        yield reach


async def a_stalled_client(reach: Reach, server: Process) -> Connection:
    """Return a client that has read the head and reads no more, of a server that writes and writes."""
    it = await reach(server, "/big")
    it.writer.transport.pause_reading()  # type: ignore[attr-defined]
    return it


def last_word(body: bytes) -> int:
    """Return what a body ends with: a reconnection time, in milliseconds, on a line of its own."""
    found = re.search(rb"(?:^|\n\n)retry: (\d+)\n$", body)
    assert found, body[-200:]
    return int(found[1])


# A process that is told to stop


async def test_a_signal_ends_all_streams_cleanly_while_requests_are_answered(
    start: Start, reach: Reach
) -> None:
    server = await start(deadline=5 * SECOND)
    # One ends every twentieth of a second: there is time to look.
    followers = [await reach(server, "/follow/news") for _ in range(int(50 * SECOND))]
    ticks = await reach(server, "/ticks")
    kept = await reach(server, "/plain")
    await kept.reader.readexactly(len("ordinary"))
    held = await Connection.open("127.0.0.1", server.port)
    await held.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n")
    await a_stalled_client(reach, server)
    await until(lambda: "held" in server.said)

    server.process.send_signal(signal.SIGTERM)
    ends = [asyncio.ensure_future(it.rest()) for it in (*followers, ticks)]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    refused = await reach(server, "/follow/news")
    assert (refused.status, refused.headers["Retry-After"].isdecimal()) == (503, True)
    assert (await reach(server, "/ticks")).status == 503
    for ordinary in (await reach(server, "/plain"), await kept.request("/plain")):
        assert (ordinary.status, ordinary.headers["Connection"]) == (200, "close")
        assert await ordinary.reader.read() == b"ordinary"
    # That has let go of the one in open(), which finds that it may not start any more.
    assert (await held.read_head()).status == 503
    held.close()
    await asyncio.gather(*ends)
    assert all(it.complete for it in (*followers, ticks))
    # It waits for the slow one, but by now nobody may come.
    with pytest.raises(OSError):
        while True:
            (await Connection.open("127.0.0.1", server.port)).close()
    assert server.process.poll() is None

    assert await server.ended() == 0
    assert len({last_word(it.body) for it in followers}) >= 40
    assert last_word(ticks.body) > 0
    assert server.said[1:] == ["held", "ticks ended", "ticks on_close drained", "stopped"]
    assert "Traceback" not in server.complaints
    assert "Warning" not in server.complaints


async def test_a_signal_without_streams_ends_it_at_once(start: Start, reach: Reach) -> None:
    server = await start(deadline=3600)
    await reach(server, "/plain")
    server.process.send_signal(signal.SIGINT)
    assert await server.ended() == 0
    assert server.said[1:] == ["stopped"]
    assert server.complaints == ""


async def test_one_signal_more_is_as_good_as_one_less(start: Start, reach: Reach) -> None:
    server = await start(deadline=3600)
    it = await reach(server, "/follow/news")
    server.process.send_signal(signal.SIGTERM)
    with contextlib.suppress(ProcessLookupError):
        server.process.send_signal(signal.SIGTERM)
    await it.rest()
    assert await server.ended() in (0, -signal.SIGTERM)
    assert "Traceback" not in server.complaints


async def test_a_second_signal_does_not_wait(start: Start, reach: Reach) -> None:
    server = await start(deadline=3600)
    it = await reach(server, "/follow/news")
    await a_stalled_client(reach, server)
    server.process.send_signal(signal.SIGTERM)
    await it.rest()
    assert it.complete
    server.process.send_signal(signal.SIGTERM)
    assert await server.ended() == -signal.SIGTERM


async def test_a_client_goes_on_where_it_was_when_the_server_is_back(
    start: Start, reach: Reach, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    server = await start(url=url, deadline=3 * SECOND)

    async def publish(text: str) -> None:
        it = await reach(server, "/plain", method="POST", body=text.encode())
        assert it.status == 200

    clients = [await reach(server, "/follow/news") for _ in range(3)]
    for i in range(3):
        await publish(f"event {i}")
    # One has read all before the end, one finds the rest in its socket, one is gone before the third.
    seen = {0: await clients[0].events(3), 1: [], 2: await clients[2].events(2)}
    clients[2].reset()
    server.process.send_signal(signal.SIGTERM)
    await clients[0].rest()
    seen[1] += await clients[1].events(3)
    await clients[1].rest()
    assert clients[0].complete
    assert clients[1].complete
    assert await server.ended() == 0
    assert "Traceback" not in server.complaints

    server = await start(url=url, port=server.port, deadline=3 * SECOND)
    await publish("event 3")
    for i in range(3):
        headers = [("Last-Event-ID", seen[i][-1].id or "")]
        clients[i] = await reach(server, "/follow/news", headers=headers)
    await publish("event 4")
    for i in range(3):
        seen[i] += await clients[i].events(5 - len(seen[i]))
        assert [event.data for event in seen[i]] == [f'"event {n}"' for n in range(5)]
        assert len({event.id for event in seen[i]}) == 5


# Within a process


class Follow(SSEHandler):
    async def open(self, channel: str) -> None:
        await self.subscribe(channel)


class Idle(SSEHandler):
    """Sends its head and nothing else."""


@pytest.fixture
def server(app: tornado.web.Application, io_loop: IOLoop) -> Iterator[HTTPServer]:
    server = HTTPServer(app)
    server.add_sockets(bind_sockets(0, "127.0.0.1"))
    yield server
    server.stop()


def port_of(server: HTTPServer) -> int:
    (listener,) = server._sockets.values()
    port: int = listener.getsockname()[1]
    return port


def stop_soon(server: HTTPServer, **options: Any) -> asyncio.Future[None]:
    """Serve until a signal that nobody else needs; it is sent as soon as it is waited for."""

    async def serve() -> None:
        serving = asyncio.ensure_future(serve_until_stopped(server, signals=[signal.SIGUSR1], **options))
        await until(lambda: signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGUSR1)
        await serving

    return asyncio.ensure_future(serve())


async def test_when_it_returns_everything_is_closed(serve: Serve, server: HTTPServer, reach: Reach) -> None:
    broker = Broker()
    serve(Follow, sse_broker=broker)
    port = port_of(server)
    it = await reach(server, "/follow/news")
    await stop_soon(server)
    last_word(await it.rest())
    with pytest.raises(OSError):
        await Connection.open("127.0.0.1", port)
    with pytest.raises(BrokerClosedError):
        await broker.publish("news", 1)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


async def test_whoever_stops_waiting_gets_the_signals_back(server: HTTPServer) -> None:
    serving = asyncio.ensure_future(serve_until_stopped(server, signals=[signal.SIGUSR1]))
    await until(lambda: signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


async def test_requests_that_have_arrived_are_answered_and_may_still_publish(
    serve: Serve, server: HTTPServer, reach: Reach
) -> None:
    class Slow(tornado.web.RequestHandler):
        asked: ClassVar[list[str]] = []
        go: ClassVar[asyncio.Event]

        async def get(self) -> None:
            self.asked.append("slow")
            await self.go.wait()
            self.write(await self.settings["sse_broker"].publish("news", 1))

    class Quick(tornado.web.RequestHandler):
        def get(self) -> None:
            self.write("quick")

    Slow.go = asyncio.Event()
    serve(Slow, Quick, sse_broker=Broker())
    idle = await reach(server, "/quick")
    await idle.reader.readexactly(5)
    slow = asyncio.ensure_future(reach(server, "/slow"))
    await until(lambda: Slow.asked)
    listener = port_of(server)
    stopping = stop_soon(server, deadline=3600)
    while True:
        try:
            other = await Connection.open("127.0.0.1", listener)
        except OSError:
            break  # nobody may connect any more
        other.close()
    assert not stopping.done()
    assert await idle.reader.read() == b"", "who waits for nothing is not waited for"
    assert not stopping.done()
    Slow.go.set()
    it = await slow
    assert it.status == 200
    assert re.fullmatch(rb"\w+-1", await it.reader.read())
    await stopping


async def test_a_request_that_is_not_answered_in_time_is_cut(
    serve: Serve, server: HTTPServer, reach: Reach
) -> None:
    class Hangs(Recorder):
        async def body(self, *args: str) -> None:
            await asyncio.Event().wait()

    serve(Hangs)
    hanging = asyncio.ensure_future(reach(server, "/hangs"))
    await until(lambda: Hangs.notes)
    await stop_soon(server, deadline=0.2)
    with pytest.raises(asyncio.IncompleteReadError):
        await hanging
    await until(lambda: len(Hangs.notes) == 3)
    assert Hangs.notes == ["open", "CancelledError", "on_close None"]


async def test_a_server_of_several_applications_is_told_which_one(
    app: tornado.web.Application, serve: Serve, reach: Reach
) -> None:
    serve(Idle)
    router = RuleRouter([Rule(HostMatches(".*"), app)])
    server = HTTPServer(router)
    server.add_sockets(bind_sockets(0, "127.0.0.1"))
    with pytest.raises(TypeError, match=r"calls a RuleRouter.*application=application"):
        await serve_until_stopped(server)
    it = await reach(server, "/idle")
    await stop_soon(server, application=app)
    last_word(await it.rest())
    assert it.complete


async def test_a_broker_that_can_not_be_closed_does_not_keep_the_server_open(
    serve: Serve, server: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker()

    async def close() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(broker, "close", close)
    serve(Follow, sse_broker=broker)
    port = port_of(server)
    with pytest.raises(ZeroDivisionError):
        await stop_soon(server)
    with pytest.raises(OSError):
        await Connection.open("127.0.0.1", port)


async def test_an_application_without_a_broker_is_drained_too(
    serve: Serve, connect: Connect, app: tornado.web.Application, logs: Logs
) -> None:
    class Loops(Recorder):
        async def body(self, *args: str) -> None:
            while True:
                await self.stream.write(1)
                await asyncio.sleep(0.01)

    serve(Loops, Idle)
    loops = await (await connect()).request("/loops")
    idle = await (await connect()).request("/idle")
    await drain_application(app, 0.2)
    for it in (loops, idle):
        last_word(await it.rest())
        assert it.complete
    await until(lambda: len(asyncio.all_tasks()) == 1)
    # Its own write() may find the end before the cancellation comes.
    assert Loops.notes[1] in ("CancelledError", "StreamClosedError")
    assert (Loops.notes[0], Loops.notes[2:]) == ("open", ["on_close drained"])
    assert (await (await connect()).request("/idle")).status == 503
    logs.claim("503 GET /idle")


async def test_who_is_about_to_open_is_refused_and_who_watches_hears_of_it(
    serve: Serve, connect: Connect, app: tornado.web.Application, logs: Logs
) -> None:
    refused = []

    class Refusals(Observer):
        def on_refuse(self, status: int) -> None:
            refused.append(status)

    class Held(Recorder):
        go: ClassVar[asyncio.Event]

        async def body(self, *args: str) -> None:
            await self.go.wait()
            if args == ("write",):
                await self.stream.write("too late")

    Held.go = asyncio.Event()
    serve(Held, sse_broker=Broker(), sse_observer=Refusals())
    clients = {}
    for path in ("/held/write", "/held/return"):
        clients[path] = it = await connect()
        await it.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
    await until(lambda: Held.notes == ["open"] * 2)
    await drain_application(app, 3600)
    Held.go.set()
    for path, it in clients.items():
        assert (await it.read_head()).status == 503
        assert it.headers["Retry-After"].isdecimal()
        logs.claim(f"503 GET {path}")
    assert refused == [503, 503]
    assert Capacity.of(app).used == 0
