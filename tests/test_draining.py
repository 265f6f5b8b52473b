from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from typing import ClassVar

import pytest
import tornado.web

from tests.support import Connect, Connection, Logs, Recorder, until
from tornado_sse import Broker, Observer, Reason, SSEHandler, Stream
from tornado_sse.capacity import Capacity
from tornado_sse.draining import drain

pytestmark = pytest.mark.gen_test

Serve = Callable[..., None]


class Idle(SSEHandler):
    """Sends its head and nothing else."""


class Follow(SSEHandler):
    async def open(self, channel: str) -> None:
        await self.subscribe(channel)


class Ends(Observer):
    """Notes when streams end, and why."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.reasons: set[str] = set()

    def on_close(self, description: str, reason: str, seconds: float, events: int, size: int) -> None:
        self.times.append(asyncio.get_running_loop().time())
        self.reasons.add(reason)


async def several(connect: Connect, path: str, count: int) -> list[Connection]:
    return [await (await connect()).request(path) for _ in range(count)]


def told(it: Connection) -> list[float]:
    """Return the reconnection times, in seconds, that a client has been told."""
    return [int(found) / 1000 for found in re.findall(rb"^retry: (\d+)$", it.body, re.MULTILINE)]


async def a_stalled_client(connect: Connect, app: tornado.web.Application) -> tuple[Connection, Stream]:
    """Return a client that does not read, and its stream, with bytes that wait."""
    it = await connect()
    await it.request("/idle")
    it.writer.transport.pause_reading()  # type: ignore[attr-defined]
    stream = Capacity.of(app).streams[-1]
    while not stream.pending:
        stream.write_text("x" * 50_000)
        stream.flush()
    return it, stream


async def test_each_stream_ends_as_complete_and_is_told_a_time_of_its_own(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    ends = Ends()
    serve(Idle, sse_observer=ends)
    clients = await several(connect, "/idle", 20)
    await drain(Capacity.of(app).streams, 1.0)
    for it in clients:
        body = await it.rest()
        assert it.complete
        assert re.fullmatch(rb"retry: \d+\n", body), "a line that is no event to anybody"
    assert len({told(it)[0] for it in clients}) > 15
    assert ends.reasons == {"drained"}
    assert Capacity.of(app).used == 0


async def test_the_ends_are_spread(serve: Serve, connect: Connect, app: tornado.web.Application) -> None:
    ends = Ends()
    serve(Idle, sse_observer=ends)
    await several(connect, "/idle", 40)
    await drain(Capacity.of(app).streams, 1.0)
    await until(lambda: len(ends.times) == 40)
    assert ends.times[-1] - ends.times[0] > 0.3, "over half of the deadline"
    turns = [b - a > 0.01 for a, b in zip(ends.times, ends.times[1:], strict=False)]
    assert sum(turns) >= 4


async def test_nobody_is_told_to_come_back_before_all_have_been_told(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    class Hasty(Idle):
        sse_retry = 0.02

    serve(Hasty)
    clients = await several(connect, "/hasty", 20)
    loop = asyncio.get_running_loop()
    back = []

    async def ended(it: Connection) -> None:
        await it.rest()
        back.append(loop.time() + told(it)[-1])

    readers = [asyncio.ensure_future(ended(it)) for it in clients]
    over = loop.time() + 0.25
    await drain(Capacity.of(app).streams, 0.5)
    await asyncio.gather(*readers)
    assert min(back) >= over


async def test_it_is_said_when_all_have_been_told_and_only_slow_ones_are_left(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    serve(Idle)
    clients = await several(connect, "/idle", 5)
    slow, stream = await a_stalled_client(connect, app)
    told_at = []

    def all_told() -> None:
        told_at.append([(each.closed, each.ended) for each in streams if each is not stream])

    streams = Capacity.of(app).streams
    draining = asyncio.ensure_future(drain(streams, math.inf, all_told))
    await until(lambda: told_at)
    assert told_at == [[(True, True)] * 5]
    assert (stream.closed, stream.ended, draining.done()) == (True, False, False)
    slow.reset()
    await draining
    for it in clients:
        await it.rest()
        assert told(it)[0] < 4, "nobody waits for the slow one"
    await drain([], 3600, all_told)
    assert len(told_at) == 2


async def test_the_time_told_goes_by_the_setting(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    class Patient(Idle):
        sse_retry = 100

    serve(Patient)
    clients = await several(connect, "/patient", 20)
    await drain(Capacity.of(app).streams, 0.2)
    for it in clients:
        await it.rest()
    times = [told(it)[-1] for it in clients]
    assert all(50 <= each <= 151 for each in times)
    assert max(times) - min(times) > 20


async def test_a_drain_of_nothing_and_one_of_a_few_do_not_take_their_time(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    await drain([], 3600)
    serve(Idle)
    clients = await several(connect, "/idle", 3)
    await drain(Capacity.of(app).streams, 3600)
    for it in clients:
        await it.rest()
        assert it.complete
        assert told(it)[0] < 4


async def test_without_a_deadline_all_end_now(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    serve(Idle)
    clients = await several(connect, "/idle", 5)
    slow, stream = await a_stalled_client(connect, app)
    await drain(Capacity.of(app).streams, 0)
    assert (stream.ended, stream.reason) == (True, Reason.DRAINED)
    for it in clients:
        await it.rest()
        assert it.complete
    slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await slow.rest()
    assert slow.complete is False, "it can tell that this was no orderly end"


async def test_what_waits_for_a_slow_reader_arrives_if_it_reads_in_time(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    serve(Idle)
    slow, stream = await a_stalled_client(connect, app)
    draining = asyncio.ensure_future(drain(Capacity.of(app).streams, 3600))
    await until(lambda: stream.closed)
    assert not draining.done()
    slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
    body = await slow.rest()
    assert slow.complete
    assert re.search(rb"\n\nretry: \d+\n$", body)
    await draining


async def test_one_that_goes_by_itself_meanwhile_is_no_trouble(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    serve(Idle)
    slow, stream = await a_stalled_client(connect, app)
    draining = asyncio.ensure_future(drain(Capacity.of(app).streams, 3600))
    await until(lambda: stream.closed)
    slow.reset()
    await draining
    assert stream.reason is Reason.DISCONNECTED


async def test_streams_that_have_ended_or_not_begun_are_left_alone(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    class Held(SSEHandler):
        streams: ClassVar[list[Stream]] = []
        go: ClassVar[asyncio.Event]

        async def open(self) -> None:
            self.streams.append(self.stream)
            await self.go.wait()
            await self.stream.write(1)

    Held.go = asyncio.Event()
    serve(Held, Idle)
    it = await connect()
    await it.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n")
    gone = await (await connect()).request("/idle")
    await until(lambda: Held.streams)
    ended = Capacity.of(app).streams[-1]
    ended.close()
    await gone.rest()
    await drain([*Held.streams, ended], 0.1)
    assert (ended.reason, Held.streams[0].started) == (Reason.CLOSED, False)
    Held.go.set()
    assert (await (await it.read_head()).event()).data == "1"


async def test_open_is_cancelled_and_on_close_called_once(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    class Loops(Recorder):
        async def body(self, *args: str) -> None:
            while True:
                await self.stream.write(1)
                await asyncio.sleep(0.01)

    serve(Loops)
    it = await (await connect()).request("/loops")
    await it.event()
    await drain(Capacity.of(app).streams, 0.1)
    await it.rest()
    assert it.complete
    await until(lambda: len(Loops.notes) >= 3)
    await until(lambda: len(asyncio.all_tasks()) == 1)
    # Its own write() may find the end before the cancellation comes.
    assert Loops.notes[1] in ("CancelledError", "StreamClosedError")
    assert (Loops.notes[0], Loops.notes[2:]) == ("open", ["on_close drained"])


# A broker's own


async def test_a_broker_that_drains_ends_its_subscribers_and_takes_no_more(
    serve: Serve, connect: Connect, logs: Logs, app: tornado.web.Application
) -> None:
    broker = Broker()
    serve(Follow, Idle, sse_broker=broker)
    clients = await several(connect, "/follow/news", 5)
    idle = await (await connect()).request("/idle")
    seen = await broker.publish("news", "seen")
    for it in clients:
        await it.event()
    await broker.drain(0.2)
    for it in clients:
        await it.rest()
        assert it.complete
        assert len(told(it)) == 2, "the primer's, and the last word"
    refused = await (await connect()).request("/follow/news", headers=[("Last-Event-ID", seen)])
    assert (refused.status, refused.headers["Retry-After"].isdecimal()) == (503, True)
    # Who does not follow anything is not the broker's to end, and publishing goes on.
    (stream,) = Capacity.of(app).streams
    assert stream.write_text("still here")
    assert (await idle.event()).data == "still here"
    await broker.publish("news", "for those who resume")
    logs.claim("503 GET /follow/news.*drains")
    logs.claim("503 GET /follow/news")


async def test_who_is_about_to_follow_when_the_drain_begins_is_refused(
    serve: Serve, connect: Connect, logs: Logs, app: tornado.web.Application
) -> None:
    class Slow(SSEHandler):
        asked: ClassVar[list[str]] = []
        go: ClassVar[asyncio.Event]

        async def open(self) -> None:
            await self.subscribe("news", start="state")

        async def snapshot(self, channel: str) -> None:
            self.asked.append(channel)
            await self.go.wait()

    Slow.go = asyncio.Event()
    broker = Broker()
    serve(Slow, sse_broker=broker)
    drained, closed = await connect(), await connect()
    await drained.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
    await until(lambda: len(Slow.asked) == 1)
    await broker.drain(0.1)
    Slow.go.set()
    assert (await drained.read_head()).status == 503
    assert (broker.stats.subscribers, broker.stats.channels, Capacity.of(app).used) == (0, 0, 0)
    logs.claim("503 GET /slow", count=2)

    Slow.go = asyncio.Event()
    broker = app.settings["sse_broker"] = Broker()
    await closed.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
    await until(lambda: len(Slow.asked) == 2)
    await broker.close()
    Slow.go.set()
    assert (await closed.read_head()).status == 503
    assert (broker.stats.subscribers, broker.stats.channels, Capacity.of(app).used) == (0, 0, 0)
    logs.claim("503 GET /slow", count=2)


# Time and again


async def test_the_reconnection_times_in_primers_are_spread_around_the_setting(
    serve: Serve, connect: Connect
) -> None:
    class Set(Follow):
        sse_retry = 10

    serve(Set, Follow, sse_broker=Broker())
    for path, base in (("/set/news", 10.0), ("/follow/news", 2.0)):
        times = []
        for it in await several(connect, path, 20):
            await it.read_some()
            times += told(it)
        assert len(times) == 20
        assert len(set(times)) > 15
        assert all(base / 2 <= each <= base * 1.5 for each in times)
        assert max(times) - min(times) > base / 5


async def test_subscribers_that_began_together_do_not_expire_together(serve: Serve, connect: Connect) -> None:
    class Aging(Follow):
        sse_max_age = 2

    ends = Ends()
    broker = Broker(observer=ends)
    serve(Aging, sse_broker=broker)
    clients = await several(connect, "/aging/news", 30)
    for it in clients:
        await it.rest()
        assert it.complete
    assert ends.reasons == {"expired"}
    assert ends.times[-1] - ends.times[0] > 0.05, "a tenth of the age, less what chance leaves"
    assert broker.stats.subscribers == 0
