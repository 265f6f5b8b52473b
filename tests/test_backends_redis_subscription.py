from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from tests.support import Logs, until, within
from tests.valkey import Server
from tornado_sse.backends.redis_address import Address, Route
from tornado_sse.backends.redis_link import Anew
from tornado_sse.backends.redis_subscription import Subscription
from tornado_sse.errors import BackendError

pytestmark = pytest.mark.gen_test


class Subscriber:
    def __init__(self, *followed: str) -> None:
        self.followed = dict.fromkeys(followed)
        self.heard: list[tuple[str | None, bytes]] = []
        self.problems: list[Exception] = []
        self.deaf: set[bytes] = set()

    async def catch_up(self) -> None:
        if self.problems:
            raise self.problems.pop(0)

    def hear(self, channel: str | None, data: bytes) -> None:
        if data in self.deaf:
            self.deaf.discard(data)
            raise Anew
        self.heard.append((channel, data))


class Listening:
    def __init__(self, subscriber: Subscriber, server: Server) -> None:
        self.subscriber = subscriber
        self.server = server
        self.subscription = Subscription(
            subscriber, Route(Address(server.host, server.port)), "{s}/", "me", 1.0
        )
        self.task = asyncio.ensure_future(self.subscription.run())

    def publish(self, topic: str, data: str) -> None:
        self.server.ask("SPUBLISH", topic, data)


@pytest.fixture
def listening(io_loop: IOLoop, redis_server: Server) -> Iterator[type[Listening]]:
    loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]
    made: list[Listening] = []

    class Made(Listening):
        def __init__(self, *followed: str) -> None:
            super().__init__(Subscriber(*followed), redis_server)
            made.append(self)

    yield Made  # type: ignore[misc]
    for each in made:
        each.task.cancel()
    loop.run_until_complete(asyncio.gather(*(each.task for each in made), return_exceptions=True))


async def test_what_is_published_on_both_kinds_of_topics_is_heard_in_order(listening: type) -> None:
    it = listening("a", "b.c")
    await it.subscription.ready()
    for topic in ("c/a", "p/me", "c/b.c", "c/other", "p/another", "c/a"):
        it.publish(f"{{s}}/{topic}", topic)
    await until(lambda: len(it.subscriber.heard) == 4)
    assert it.subscriber.heard == [("a", b"c/a"), (None, b"p/me"), ("b.c", b"c/b.c"), ("a", b"c/a")]


async def test_channels_come_and_go(listening: type) -> None:
    it = listening()
    await asyncio.gather(*(it.subscription.add(f"{i}") for i in range(1_200)))
    it.publish("{s}/c/1199", "x")
    it.subscription.remove("1199")
    await it.subscription.add("1198")  # confirmed after that
    it.publish("{s}/c/1199", "y")
    it.publish("{s}/c/1198", "z")
    await until(lambda: len(it.subscriber.heard) == 2)
    assert it.subscriber.heard == [("1199", b"x"), ("1198", b"z")]


async def test_a_connection_that_is_dropped_is_followed_by_another(listening: type) -> None:
    it = listening("a")
    await it.subscription.ready()
    for generation in range(1, 4):
        assert it.subscription.generation == generation
        it.subscription.drop(generation)
        it.subscription.drop(generation)
        await it.subscription.ready(generation)
    it.subscription.drop(1)  # which is not the one there is
    await it.subscription.add("b")
    assert it.subscription.generation == 4
    it.publish("{s}/c/a", "x")
    await until(lambda: it.subscriber.heard == [("a", b"x")])


async def test_who_adds_while_a_connection_is_dropped_waits_for_the_next(listening: type) -> None:
    it = listening()
    await it.subscription.ready()
    adding = asyncio.ensure_future(it.subscription.add("a"))
    await asyncio.sleep(0)
    it.subscription.drop(1)
    await within(adding)
    assert it.subscription.generation == 2


async def test_something_missed_begins_anew(listening: type) -> None:
    it = listening("a")
    await it.subscription.ready()
    it.subscriber.deaf.add(b"x")
    it.publish("{s}/c/a", "x")
    await it.subscription.ready(1)
    it.publish("{s}/c/a", "x")
    await until(lambda: it.subscriber.heard == [("a", b"x")])


async def test_what_is_published_while_it_catches_up_is_heard_then(listening: type) -> None:
    it = listening("a")

    async def catch_up() -> None:
        it.publish("{s}/c/a", "x")
        await asyncio.sleep(0.02)
        assert it.subscriber.heard == []

    it.subscriber.catch_up = catch_up
    await it.subscription.ready()
    await until(lambda: it.subscriber.heard == [("a", b"x")])


async def test_what_can_not_be_caught_up_with_is_tried_again(listening: type, logs: Logs) -> None:
    it = listening()
    it.subscriber.problems = [BackendError("redis", "no"), Anew(), LookupError("a bug")]
    await it.subscription.ready()
    assert it.subscription.generation == 1
    messages = [message for message in logs.messages() if message.startswith("the redis log")]
    assert messages[0] == "the redis log can't be followed: no"
    assert messages[-1].endswith("is back")
    (record,) = logs.claim("the redis log's subscription failed")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


async def test_whoever_waits_is_told_why(listening: type) -> None:
    it = listening()
    it.subscriber.problems = [BackendError("redis", "no")] * 1_000
    with pytest.raises(BackendError, match="no"):
        await it.subscription.ready()
