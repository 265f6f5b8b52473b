from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import tornado.web

from tests.support import Connect, Logs, until
from tornado_sse import Broker, Observer, Settings, SSEHandler
from tornado_sse.observer import guarded
from tornado_sse.stream import Stream

Serve = Callable[..., None]

CALLS = [name for name in vars(Observer) if name.startswith("on_")]


class Notes(Observer):
    """Notes every call with its arguments."""

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []

    def __getattribute__(self, name: str) -> Any:
        if name in CALLS:
            return lambda *arguments: self.notes.append((name, *arguments))
        return super().__getattribute__(name)

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for called, *arguments in self.notes if called == name]  # type: ignore[misc]


class Broken(Observer):
    """Fails at everything."""

    def __getattribute__(self, name: str) -> Any:
        if name in CALLS:
            raise ZeroDivisionError(name)
        return super().__getattribute__(name)


class Follow(SSEHandler):
    async def open(self, channel: str) -> None:
        await self.subscribe(channel)


class Idle(SSEHandler):
    """Sends its head and nothing else."""


def arguments_of(name: str) -> list[None]:
    return [None] * (len(inspect.signature(getattr(Observer, name)).parameters) - 1)


# Guarding


@pytest.mark.parametrize("name", CALLS)
def test_each_call_arrives_and_none_that_fails_does_harm(name: str, logs: Logs) -> None:
    notes = Notes()
    getattr(guarded(notes), name)(*arguments_of(name))
    assert notes.notes == [(name, *arguments_of(name))]
    getattr(guarded(Broken()), name)(*arguments_of(name))
    logs.claim(rf"Uncaught exception in {name}\(\) of <.*Broken")
    assert getattr(guarded(None), name)(*arguments_of(name)) is None


def test_one_that_lacks_a_call_does_no_harm_either(logs: Logs) -> None:
    class Incomplete:
        """Written for a version with fewer calls, and not derived from Observer."""

    observer: Any = Incomplete()
    guarded(observer).on_refuse(503)
    logs.claim(r"Uncaught exception in on_refuse\(\)")


def test_what_is_guarded_is_not_guarded_again() -> None:
    once = guarded(Notes())
    assert guarded(once) is once


# What is told, and when


@pytest.mark.gen_test
async def test_the_life_of_a_subscriber_is_told(serve: Serve, connect: Connect) -> None:
    notes = Notes()
    broker = Broker(observer=notes)
    serve(Follow, sse_broker=broker)
    assert notes.of("on_broker") == [[broker]]
    it = await (await connect()).request("/follow/news?token=s3cret")
    await broker.publish("news", {"n": 1})
    first = await it.event()
    it.close()
    await until(lambda: notes.of("on_close"))
    assert notes.of("on_subscribe") == notes.of("on_unsubscribe") == [[("news",)]]
    ((channel, size),) = notes.of("on_publish")
    assert (channel, size) == ("news", len(b'codec: json\ndata: {"n":1}\n\n'))
    ((deliveries, sent, seconds),) = notes.of("on_fan_out")
    assert (deliveries, seconds > 0) == (1, True)
    assert sent == len(b"xx\r\nid: %b\n\r\n" % (first.id or "").encode()) + size
    ((description,),) = notes.of("on_open")
    assert description == "GET /follow/news?token from 127.0.0.1"
    ((closed, reason, seconds, events, total),) = notes.of("on_close")
    assert (closed, reason, events, seconds >= 0) == (description, "disconnected", 1, True)
    assert total > sent, "the primer counts too"
    order = [name for name, *_ in notes.notes]
    assert order.index("on_open") < order.index("on_subscribe") < order.index("on_fan_out")
    assert order[-2:] == ["on_unsubscribe", "on_close"]


@pytest.mark.gen_test
async def test_a_gap_is_told_with_its_reason(serve: Serve, connect: Connect) -> None:
    notes = Notes()
    serve(Follow, sse_broker=Broker(observer=notes))
    it = await (await connect()).request("/follow/news", headers=[("Last-Event-ID", "abc-5")])
    assert (await it.event()).type == "gap"
    it = await (await connect()).request("/follow/news", headers=[("Last-Event-ID", "nonsense!")])
    assert (await it.event()).type == "gap"
    assert notes.of("on_gap") == [["news", "epoch"], ["news", "malformed"]]


@pytest.mark.gen_test
async def test_a_reader_that_can_not_keep_up_is_told_of(serve: Serve, connect: Connect) -> None:
    notes = Notes()
    broker = Broker(observer=notes)
    serve(Follow, sse_broker=broker)
    it = await (await connect()).request("/follow/news")
    it.writer.transport.pause_reading()  # type: ignore[attr-defined]
    count = 0
    while not notes.of("on_behind"):
        await broker.publish("news", "x" * 100_000)
        count += 1
    assert notes.of("on_behind") == [[("news",)]]
    it.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert len(await it.events(count)) == count, "it has missed nothing"


@pytest.mark.gen_test
async def test_a_stream_that_never_starts_is_not_told_of(serve: Serve, connect: Connect, logs: Logs) -> None:
    class Refused(SSEHandler):
        async def open(self) -> None:
            raise tornado.web.HTTPError(403)

    notes = Notes()
    serve(Refused, sse_observer=notes)
    assert (await (await connect()).request("/refused")).status == 403
    assert notes.notes == []
    logs.claim("403")


@pytest.mark.gen_test
async def test_refusals_are_told(serve: Serve, connect: Connect, logs: Logs) -> None:
    notes = Notes()
    serve(Idle, sse_observer=notes, sse_max_streams=1)
    for _ in range(3):
        await (await connect()).request("/idle")
    assert notes.of("on_refuse") == [[503], [503]]
    assert len(notes.of("on_open")) == 1
    logs.claim("503", count=2)


@pytest.mark.gen_test
async def test_streams_report_to_the_applications_observer_before_the_brokers(
    serve: Serve, connect: Connect
) -> None:
    ours, brokers = Notes(), Notes()
    broker = Broker(observer=brokers)

    class Own(Follow):
        sse_observer = ours

    serve(Own, Follow, Idle, sse_broker=broker)
    for path in ("/own/news", "/follow/news", "/idle"):
        assert (await (await connect()).request(path)).status == 200
    await broker.publish("news", 1)
    await until(lambda: brokers.of("on_fan_out"))
    assert (len(ours.of("on_open")), len(brokers.of("on_open"))) == (1, 2)
    assert (len(ours.of("on_publish")), len(brokers.of("on_publish"))) == (0, 1)
    assert (len(ours.of("on_subscribe")), len(brokers.of("on_subscribe"))) == (0, 2)


@pytest.mark.gen_test
async def test_an_observer_that_fails_leaves_streams_unharmed(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    broker = Broker(observer=Broken())
    serve(Follow, sse_broker=broker)
    it = await (await connect()).request("/follow/news")
    await broker.publish("news", 1)
    assert (await it.event()).data == "1"
    await broker.close()
    await it.rest()
    assert it.complete
    await until(lambda: any("on_close" in record.getMessage() for record in logs.records))
    for name in ("broker", "open", "close", "publish", "fan_out", "subscribe", "unsubscribe"):
        logs.claim(rf"Uncaught exception in on_{name}\(\) of ")


def test_a_guard_costs_a_stream_little() -> None:
    def connect(first: bytes) -> Any: ...

    notes = Notes()
    stream = Stream(connect, settings=Settings(), observer=notes)
    assert vars(stream.observer) == {"_observer": notes}
    for name in CALLS:
        getattr(stream.observer, name)(*arguments_of(name))
    assert vars(stream.observer) == {"_observer": notes}, "nothing is kept for each call"
