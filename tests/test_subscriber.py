"""Subscribers that fall behind: slow ones, ones that stop, ones whose log is away."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tornado.web import Application

from tests.chaos import Dechunker
from tests.support import SECOND, Connect, Logs, until, within
from tests.test_model import FakeStream, Wire
from tornado_sse import (
    BackendError,
    Broker,
    Event,
    EventParser,
    Reason,
    Retention,
    SSEHandler,
    StreamClosedError,
)
from tornado_sse.backends import MemoryBackend, Page
from tornado_sse.follower import Follower
from tornado_sse.record import Draft
from tornado_sse.subscriber import Subscriber, preface

pytestmark = pytest.mark.gen_test

Serve = Callable[..., None]
EVERYTHING = Retention(events=None, bytes=None, age=None)


class Follow(SSEHandler):
    async def open(self, channels: str) -> None:
        await self.subscribe(*channels.split("+"))


class Reader:
    """A socket that is read when the test says so, with little room in its buffer."""

    def __init__(self, port: int, path: str, headers: str = "") -> None:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.connect(("127.0.0.1", port))
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        self.sock.setblocking(False)
        self.parser = EventParser()
        self.dechunker = Dechunker()
        self.head = b""
        self.events: list[Event] = []
        self.received = 0

    async def read(self, size: int = 65536) -> bytes:
        data = await within(asyncio.get_running_loop().sock_recv(self.sock, size))
        self.received += len(data)
        if b"\r\n\r\n" not in self.head:
            self.head += data
            _, _, body = self.head.partition(b"\r\n\r\n")
        else:
            body = data
        self.events += self.parser.feed(self.dechunker.feed(body))
        return data

    async def read_until(self, count: int) -> None:
        while len(self.events) < count:
            assert await self.read(), f"the end, after {len(self.events)} events"

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.sock.close()


def numbers(events: Sequence[Event]) -> list[int]:
    return [int(event.data.split()[0]) for event in events]


async def test_one_that_stops_reading_gets_everything_when_it_reads_again(
    serve: Serve, http_server: object, http_port: int
) -> None:
    broker = Broker(retention=EVERYTHING)
    serve(Follow, sse_broker=broker)
    with Reader(http_port, "/follow/a") as slow:
        await slow.read()
        await until(lambda: broker.stats.subscribers)
        for n in range(3_000):
            broker.publish("a", f"{n} {'x' * 5_000}", serializer="text")
            if n % 10 == 0:
                await asyncio.sleep(0)
        assert broker.stats.behind == 1
        await slow.read_until(3_000)
        assert numbers(slow.events) == [*range(3_000)]
        await until(lambda: not broker.stats.behind)
        await broker.publish("a", "3000", serializer="text")
        await slow.read_until(3_001)


async def test_one_that_falls_off_the_log_is_told_and_goes_on(
    serve: Serve, http_server: object, http_port: int
) -> None:
    broker = Broker(retention=Retention(events=50, bytes=None))
    serve(Follow, sse_broker=broker)
    with Reader(http_port, "/follow/a") as slow:
        await slow.read()
        await until(lambda: broker.stats.subscribers)
        for n in range(3_000):
            broker.publish("a", f"{n} {'x' * 5_000}", serializer="text")
            if n % 10 == 0:
                await asyncio.sleep(0)
        while not slow.events or not slow.events[-1].data.startswith("2999 "):
            await slow.read()
        gaps = [index for index, event in enumerate(slow.events) if event.type == "gap"]
        assert len(gaps) == 1
        before, after = slow.events[: gaps[0]], slow.events[gaps[0] + 1 :]
        assert numbers(before) == [*range(len(before))]
        assert numbers(after) == [*range(2_950, 3_000)]
        lost = json.loads(slow.events[gaps[0]].data)
        assert (lost["after"], lost["until"]) == (before[-1].id, f"{before[-1].id.split('-')[0]}-2950")  # type: ignore[union-attr]
        assert slow.events[gaps[0]].id == lost["until"]


async def test_one_that_never_reads_is_cut_and_resumes(
    serve: Serve, http_server: object, http_port: int
) -> None:
    broker = Broker(retention=EVERYTHING)
    serve(Follow, sse_broker=broker, sse_stall_timeout=0.3 * SECOND)
    with Reader(http_port, "/follow/a") as slow:
        await slow.read()
        await until(lambda: broker.stats.subscribers)
        for n in range(2_000):
            broker.publish("a", f"{n} {'x' * 5_000}", serializer="text")
        await until(lambda: not broker.stats.subscribers)
        try:
            while await slow.read():
                pass
        except ConnectionError:
            pass
        last = slow.events[-1].id
    with Reader(http_port, "/follow/a", f"Last-Event-ID: {last}\r\n") as again:
        await again.read_until(2_000 - len(slow.events))
        assert numbers(slow.events + again.events) == [*range(2_000)]


async def test_a_gigabyte_past_a_reader_that_has_stopped(
    serve: Serve, http_server: object, http_port: int
) -> None:
    broker = Broker()
    serve(Follow, sse_broker=broker, sse_stall_timeout=None)
    payload = "x" * 50_000
    with Reader(http_port, "/follow/a") as stopped, Reader(http_port, "/follow/a") as other:
        await stopped.read()
        await other.read()
        await until(lambda: broker.stats.subscribers == 2)
        taking = asyncio.create_task(_take(other))
        peak = 0
        for n in range(21_000):
            await broker.publish("a", payload, serializer="text")
            await asyncio.sleep(0)
            if n == 1_000:
                gc.collect()
                base = _resident()
            elif n > 1_000 and n % 200 == 0:
                peak = max(peak, _resident())
        # A megabyte is what the log keeps; the rest is for the allocator and the reader that reads.
        assert peak - base < 16 * 1024 * 1024
        assert broker.stats.subscribers == 2
        taking.cancel()
        # Within retention it still has everything from where the gap ends.
        last = await broker.publish("a", "end", serializer="text")
        while not stopped.events or stopped.events[-1].id != last:
            await stopped.read()
        assert [event.type for event in stopped.events].count("gap") == 1


async def _take(reader: Reader) -> None:
    while True:
        await reader.read(1 << 20)
        reader.events.clear()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_own_writes_of_a_slow_stream_come_between_whole_events(
    serve: Serve, http_server: object, http_port: int
) -> None:
    broker = Broker(retention=EVERYTHING)

    class Both(SSEHandler):
        async def open(self) -> None:
            await self.subscribe("a")
            for n in range(300):
                await self.stream.write(f"{n} {'y' * 3_000}", serializer="text", event="own")

    serve(Both, sse_broker=broker)
    with Reader(http_port, "/both") as slow:
        await slow.read()
        await until(lambda: broker.stats.subscribers)
        for n in range(300):
            broker.publish("a", f"{n} {'x' * 3_000}", serializer="text")
            await asyncio.sleep(0)
        await slow.read_until(600)
        for kind in ("own", "message"):
            assert numbers([event for event in slow.events if event.type == kind]) == [*range(300)]


async def test_what_memory_does_not_have_is_read_from_the_backend(connect: Connect, serve: Serve) -> None:
    backend = _Paged(lambda channel: EVERYTHING)
    broker = Broker(backend)
    serve(Follow, sse_broker=broker)
    ids = [await broker.publish("ab"[n % 2], f"{n} {'x' * 2_000}", serializer="text") for n in range(400)]
    its = [
        await (await connect()).request(f"/follow/{path}", headers=[("Last-Event-ID", ids[0])])
        for path in ("a+b", "a", "b")
    ]
    assert numbers(await its[0].events(399)) == [*range(1, 400)]
    assert numbers(await its[1].events(199)) == [*range(2, 400, 2)]
    assert numbers(await its[2].events(200)) == [*range(1, 400, 2)]
    assert backend.reads > 10
    await broker.publish("a", "400", serializer="text")
    assert numbers([await its[0].event(), await its[1].event()]) == [400, 400]


class _Paged(MemoryBackend):
    """A log of which memory has only what has come since it was followed."""

    reads = 0
    away = False

    async def follow(self, channel: str) -> Any:
        await super().follow(channel)
        self._cache = getattr(self, "_cache", {})
        cache = self._cache[channel] = type(self._logs[channel])(EVERYTHING, self.position)
        return cache

    def start(self, listener: Any) -> None:
        backend = self

        class Relay:
            def on_records(self, records: Any, position: int) -> None:
                for record in records:
                    backend._cache[record.channel].append(record)
                listener.on_records(records, position)

            def on_gap(self, channel: str) -> None:
                listener.on_gap(channel)

            def on_epoch(self) -> None:
                listener.on_epoch()

        super().start(Relay())

    async def read(self, channel: str, after: int, size: int) -> Page:
        self.reads += 1
        await asyncio.sleep(0)
        if self.away:
            raise BackendError(self.name, "it is away")
        return await super().read(channel, after, size)


async def test_a_log_that_is_away_is_waited_for(connect: Connect, serve: Serve, logs: Logs) -> None:
    backend = _Paged(lambda channel: EVERYTHING)
    broker = Broker(backend)
    serve(Follow, sse_broker=broker, sse_keepalive=0.1 * SECOND)
    ids = [await broker.publish("a", n) for n in range(100)]
    backend.away = True
    it = await (await connect()).request("/follow/a", headers=[("Last-Event-ID", ids[9])])
    await until(lambda: logs.messages("tornado.application"))
    while b":\n" not in await it.read_some():
        pass  # it is kept alive
    for n in range(100, 110):
        await broker.publish("a", n)
    backend.away = False
    assert numbers(await it.events(100)) == [*range(10, 110)]
    told = len(logs.messages("tornado.application"))
    logs.claim("GET /follow/a from .*: waiting, because the memory log failed: it is away", count=told)


async def test_one_that_goes_while_its_log_is_read_leaves_nothing(connect: Connect, serve: Serve) -> None:
    backend = _Paged(lambda channel: EVERYTHING)
    broker = Broker(backend)
    serve(Follow, sse_broker=broker)
    ids = [await broker.publish("a", n) for n in range(10)]
    for _ in range(20):
        it = await (await connect()).request("/follow/a", headers=[("Last-Event-ID", ids[0])])
        it.reset()
    await until(lambda: not broker.stats.subscribers)
    assert broker.stats.channels == 0
    fanout = broker._fanout
    assert fanout is not None
    assert not fanout._groups
    await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_a_gap_that_could_not_be_told_is_told_later(logs: Logs) -> None:
    class Flaky(MemoryBackend):
        fails = 1

        async def read(self, channel: str, after: int, size: int) -> Page:
            if channel == "b" and self.fails:
                self.fails -= 1
                raise BackendError(self.name, "it is away")
            return await super().read(channel, after, size)

    broker = Broker(Flaky(lambda channel: Retention(events=2)))
    first = await broker.publish("a", 0)
    for n in range(1, 6):
        await broker.publish("a", n)
    await broker.publish("b", "x")
    await asyncio.sleep(0)
    wire = Wire(10**9)
    stream: Any = FakeStream(wire, first)
    await broker.subscribe(stream, "a", "b")
    await until(lambda: broker.stats.behind == 0)
    events = EventParser().feed(wire.socket.taken)
    assert [event.type for event in events] == ["gap"] + ["message"] * 3
    logs.claim("waiting, because", count=1)


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_a_snapshot_that_is_cut_short_leaves_nobody_behind(logs: Logs, how: str) -> None:
    broker = Broker(retention=Retention(events=2))
    first = await broker.publish("a", 0)
    for n in range(1, 6):
        await broker.publish("a", n)
    await asyncio.sleep(0)
    shared = asyncio.get_running_loop().create_future()

    async def snapshot(channel: str) -> Event:
        await shared
        raise StreamClosedError("of another stream")

    stream: Any = FakeStream(Wire(10**9), first)
    aborted: list[bool] = []
    stream.abort = lambda: aborted.append(True)
    await broker.subscribe(stream, "a", snapshot=snapshot)
    await asyncio.sleep(0)
    if how == "cancelled":
        shared.cancel()
    else:
        shared.set_result(None)
    await until(lambda: aborted)
    logs.claim("uncaught exception")


async def test_snapshots_that_take_their_time_hold_up_nobody_else() -> None:
    broker = Broker(retention=Retention(events=2))
    first = await broker.publish("a", 0)
    for n in range(1, 6):
        await broker.publish("a", n)
    await asyncio.sleep(0)
    never = asyncio.get_running_loop().create_future()

    async def snapshot(channel: str) -> Event:
        await never
        raise AssertionError

    for _ in range(20):
        slow: Any = FakeStream(Wire(10**9), first)
        await broker.subscribe(slow, "a", snapshot=snapshot)
    wire = Wire(10**9)
    stream: Any = FakeStream(wire, first)
    await broker.subscribe(stream, "a")
    await until(lambda: wire.socket.taken.count(b"data: ") == 3)
    for subscriber in list(broker._subscribers):
        subscriber.transport.cut()  # type: ignore[attr-defined]


async def test_what_was_dropped_before_it_could_be_told_is_a_gap_for_its_channel_alone() -> None:
    backend = _Paged(lambda channel: Retention(events=3))
    broker = Broker(backend)
    wires = {name: Wire(10**9) for name in "ab"}
    for name, wire in wires.items():
        stream: Any = FakeStream(wire, None)
        await broker.subscribe(stream, name)
    await broker.publish("a", "before")
    # What another process writes, and retains but three of.
    listener, backend._listener = backend._listener, _Deaf()
    for n in range(10):
        backend.append(Draft("a", b"data: %d\n\n" % n))
    backend._listener = listener
    backend._cache["a"].start = 8
    broker.on_gap("a")
    broker.on_records((), backend.position)
    await until(lambda: broker.stats.behind == 0)
    events = EventParser().feed(wires["a"].socket.taken)
    assert [event.type for event in events] == ["message", "gap", "message", "message", "message"]
    assert [event.data for event in events[2:]] == ["7", "8", "9"]
    assert b"gap" not in wires["b"].socket.taken
    await broker.publish("b", "goes on")
    await asyncio.sleep(0)
    assert b"goes on" in wires["b"].socket.taken


class _Deaf:
    def on_records(self, records: Any, position: int) -> None:
        pass


async def test_a_socket_that_takes_all_and_says_so_at_once_is_queued_once() -> None:
    broker = Broker(retention=EVERYTHING)
    first = await broker.publish("a", 0)
    for n in range(200):
        await broker.publish("a", f"{n} {'x' * 20_000}", serializer="text")
    await asyncio.sleep(0)

    class Telling(Wire):
        def transmit(self, data: bytes) -> None:
            super().transmit(data)
            if self.follower is not None:
                self.follower.on_drained()  # as over TLS

    stream: Any = FakeStream(Telling(10**9), first)
    await broker.subscribe(stream, "a")
    fanout = broker._fanout
    assert fanout is not None
    most = 0
    while broker.stats.behind:
        most = max(most, len(fanout._behind))
        await asyncio.sleep(0)
    assert most == 1


async def test_a_snapshot_that_fails_later_ends_the_stream_as_incomplete(
    serve: Serve, http_server: object, http_port: int, logs: Logs
) -> None:
    class Shown(Follow):
        def snapshot(self, channel: str) -> Any:
            raise RuntimeError("no state")

    broker = Broker(retention=Retention(events=5))
    serve(Shown, sse_broker=broker)
    with Reader(http_port, "/shown/a") as slow:
        await slow.read()
        await until(lambda: broker.stats.subscribers)
        for n in range(2_000):
            broker.publish("a", f"{n} {'x' * 5_000}", serializer="text")
            if n % 10 == 0:
                await asyncio.sleep(0)
        try:
            while await slow.read():
                pass
        except ConnectionError:
            pass
    await until(lambda: not broker.stats.subscribers)
    logs.claim("uncaught exception")
    logs.claim(f"stream {Reason.FAILED}")


async def test_connecting_and_leaving_ten_thousand_times_leaves_nothing(
    app: Application, serve: Serve, http_server: object, http_port: int, logs: Logs
) -> None:
    broker = Broker()
    serve(Follow, sse_broker=broker)
    before = 0
    for turn in range(10):
        for n in range(1_000):
            with socket.create_connection(("127.0.0.1", http_port)) as sock:
                sock.sendall(f"GET /follow/c{n % 100} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                await asyncio.sleep(0)
        await until(lambda: not (broker.stats.subscribers or broker.stats.channels))
        logs.records.clear()
        gc.collect()
        if turn == 1:
            before = len(gc.get_objects())
    gc.collect()
    assert len(gc.get_objects()) - before < 2_000


def test_a_subscriber_is_a_follower_of_its_transport() -> None:
    for name in ("settle", "on_blocked", "on_drained", "on_end"):
        assert callable(getattr(Subscriber, name))
        assert callable(getattr(Follower, name))


def test_only_the_last_of_what_is_said_before_the_events_moves_the_client() -> None:
    frames = preface([Event("1", "gap"), Event("2", "snapshot")], "e", 7)
    assert frames == [b"event: gap\ndata: 1\n\n", b"event: snapshot\nid: e-7\ndata: 2\n\n"]
    assert preface([], "e", 7) == []
