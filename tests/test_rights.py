from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest
import tornado.web

from tests.support import Connect, Connection, Logs, until
from tornado_sse import Broker, Event, Reason, SSEHandler
from tornado_sse.capacity import Capacity
from tornado_sse.rights import Rights, allowed
from tornado_sse.ticker import Ticker

pytestmark = pytest.mark.gen_test

Serve = Callable[..., None]


class Guarded(SSEHandler):
    """Asks every tenth of a second; what it is told is what the test says."""

    sse_reauthorize = 0.1
    sse_stall_timeout = None

    asked: ClassVar[list[str]] = []
    answer: ClassVar[Callable[[str], Any]]

    def get_current_user(self) -> Any:
        return self.get_query_argument("user", None)

    def authorize(self, channel: str) -> bool | Awaitable[bool]:
        self.asked.append(channel)
        return type(self).answer(channel)  # type: ignore[no-any-return]

    async def open(self, *channels: str) -> None:
        await self.subscribe(*(channels[0].split("+")))


@pytest.fixture(autouse=True)
def _permitted() -> None:
    Guarded.asked.clear()
    Guarded.answer = lambda channel: True


async def no(channel: str) -> bool:
    await asyncio.sleep(0)
    return False


async def forever(channel: str) -> bool:
    await asyncio.Event().wait()
    return True


def none(channel: str) -> Any:
    return None


def fails(channel: str) -> bool:
    raise ZeroDivisionError


def refuses(channel: str) -> bool:
    raise tornado.web.HTTPError(403)


async def is_cancelled(channel: str) -> bool:
    asking = asyncio.ensure_future(forever(channel))
    asyncio.get_running_loop().call_soon(asking.cancel)
    return await asking


# Asking


@pytest.mark.parametrize("answer", [True, False])
async def test_a_bool_is_an_answer_now_or_later(answer: bool) -> None:
    async def later(channel: str) -> bool:
        return answer

    future = asyncio.get_running_loop().create_future()
    future.set_result(answer)
    for authorize in (lambda channel: answer, later, lambda channel: future):
        assert await allowed(authorize, "news") is answer


@pytest.mark.parametrize("answer", [None, 1, "yes", [], object])
async def test_nothing_else_is_an_answer(answer: Any) -> None:
    async def later(channel: str) -> Any:
        return answer

    for authorize in (lambda channel: answer, later):
        with pytest.raises(TypeError, match=r"authorize\('news'\) must return True or False, not"):
            await allowed(authorize, "news")


async def test_each_channel_is_asked_about_once_before_anything_is_sent(
    serve: Serve, connect: Connect
) -> None:
    class Once(Guarded):
        sse_reauthorize = None

    serve(Once, sse_broker=Broker())
    assert (await (await connect()).request("/once/b+a+b+c")).status == 200
    assert Guarded.asked == ["b", "a", "c"]


async def test_one_no_among_several_channels_is_a_no(serve: Serve, connect: Connect, logs: Logs) -> None:
    Guarded.answer = lambda channel: channel != "secret"
    broker = Broker()
    serve(Guarded, sse_broker=broker)
    it = await (await connect()).request("/guarded/news+secret+weather")
    assert (it.status, it.chunked) == (403, False)
    assert Guarded.asked == ["news", "secret"]
    assert broker.stats.channels == 0
    logs.claim("403 GET")


@pytest.mark.parametrize(
    ("answer", "status"),
    [(no, 403), (refuses, 403), (none, 500), (fails, 500), (is_cancelled, 500)],
)
async def test_a_question_that_is_not_answered_yes_opens_nothing(
    serve: Serve,
    connect: Connect,
    logs: Logs,
    app: tornado.web.Application,
    answer: Callable[[str], Any],
    status: int,
) -> None:
    Guarded.answer = answer
    broker = Broker()
    await broker.publish("news", "for some")
    serve(Guarded, sse_broker=broker)
    it = await (await connect()).request("/guarded/news", headers=[("Last-Event-ID", "x-0")])
    assert (it.status, it.chunked) == (status, False)
    assert (Capacity.of(app).used, broker.stats.subscribers, len(Ticker.of(asyncio.get_running_loop()))) == (
        0,
        0,
        0,
    )
    logs.claim(f"{status} GET")
    if status == 500:
        logs.claim("Uncaught exception")


async def test_a_question_that_is_never_answered_sends_nothing(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    Guarded.answer = forever
    broker = Broker()
    serve(Guarded, sse_broker=broker)
    it = await connect()
    await it.send("GET /guarded/news HTTP/1.1\r\nHost: test\r\n\r\n")
    await until(lambda: Guarded.asked)
    await broker.publish("news", "for some")
    assert broker.stats.subscribers == 0
    it.close()
    await until(lambda: Capacity.of(app).used == 0)
    assert await it.reader.read() == b""


# Asking again


async def test_it_is_asked_again_and_again_about_every_channel(serve: Serve, connect: Connect) -> None:
    broker = Broker()
    serve(Guarded, sse_broker=broker)
    it = await (await connect()).request("/guarded/a+b")
    await until(lambda: len(Guarded.asked) >= 8)
    assert Guarded.asked[:8] == ["a", "b"] * 4
    await broker.publish("b", "still here")
    assert (await it.event()).data == '"still here"'
    it.close()
    await until(lambda: len(Ticker.of(asyncio.get_running_loop())) == 0)


@pytest.mark.parametrize("answer", [lambda channel: channel != "b", no, refuses])
async def test_who_may_no_longer_see_a_channel_sees_no_more_of_it(
    serve: Serve, connect: Connect, answer: Callable[[str], Any], logs: Logs
) -> None:
    broker = Broker()
    serve(Guarded, sse_broker=broker)
    it = await (await connect()).request("/guarded/a+b")
    await broker.publish("b", "before")
    assert (await it.event()).data == '"before"'
    Guarded.answer = answer
    await until(lambda: broker.stats.subscribers == 0)
    await broker.publish("b", "after")
    assert b"after" not in await it.rest()
    assert it.complete
    await until(lambda: len(logs.messages()) == 2)
    assert "stream revoked after" in logs.messages()[-1]


@pytest.mark.parametrize("answer", [none, fails])
async def test_a_question_that_fails_later_ends_the_stream_and_is_logged(
    serve: Serve, connect: Connect, logs: Logs, answer: Callable[[str], Any]
) -> None:
    serve(Guarded, sse_broker=Broker())
    it = await (await connect()).request("/guarded/news")
    Guarded.answer = answer
    await it.rest()
    assert it.complete
    logs.claim(r"GET /guarded/news from 127.0.0.1: authorize\(\) failed")


async def test_a_question_that_is_cancelled_is_no_yes(serve: Serve, connect: Connect) -> None:
    serve(Guarded, sse_broker=Broker())
    it = await (await connect()).request("/guarded/news")
    Guarded.answer = is_cancelled
    await it.rest()
    assert it.complete
    # The first question that was not answered has ended it.
    assert len(Guarded.asked) <= 3


async def test_an_answer_that_takes_longer_than_the_period_is_too_late(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    serve(Guarded, sse_broker=Broker())
    it = await (await connect()).request("/guarded/news")
    Guarded.answer = forever
    await it.rest()
    assert it.complete
    logs.claim(r"GET /guarded/news from 127.0.0.1: authorize\(\) took more than 0.1 s")
    await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_the_questions_of_streams_that_opened_together_do_not_come_together(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hourly(Guarded):
        sse_reauthorize = 3600

    delays = []
    schedule = Ticker.schedule

    def noted(self: Ticker, member: Any, delay: float) -> None:
        if isinstance(member, Rights):
            delays.append(delay)
        schedule(self, member, delay)

    monkeypatch.setattr(Ticker, "schedule", noted)
    serve(Hourly, sse_broker=Broker())
    for _ in range(20):
        await (await connect()).request("/hourly/news")
    assert len(set(delays)) == 20
    assert all(3240 <= delay <= 3600 for delay in delays), "and never later than the period"


async def test_what_waits_for_a_slow_client_does_not_arrive_after_the_no(
    serve: Serve, http_server: object, http_port: int, app: tornado.web.Application
) -> None:
    broker = Broker()
    serve(Guarded, sse_broker=broker)
    it = await a_slow_client(http_port, "/guarded/news")
    published = await publish_until_it_waits(broker, app)
    Guarded.answer = no
    await until(lambda: Capacity.of(app).used == 0)
    it.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert len(await it.rest()) < published / 2
    assert it.complete is False
    it.close()


async def test_asking_ends_with_the_stream_wherever_it_subscribed(serve: Serve, connect: Connect) -> None:
    class Late(Guarded):
        """Does not subscribe in open(), as it should, but afterwards."""

        tasks: ClassVar[list[asyncio.Task[None]]] = []

        async def open(self, *channels: str) -> None:
            self.tasks.append(asyncio.ensure_future(self.later()))

        async def later(self) -> None:
            await until(lambda: self.stream.started)
            await self.subscribe("news")

    serve(Late, sse_broker=Broker())
    it = await (await connect()).request("/late")
    await until(lambda: len(Guarded.asked) > 1)
    it.close()
    await until(lambda: len(Ticker.of(asyncio.get_running_loop())) == 0)


async def test_a_token_in_the_query_is_in_no_line_that_is_logged_about_a_subscriber(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    async def asked_twice(channel: str) -> bool:
        return len(Guarded.asked) < 3 or await forever(channel)

    broker = Broker()
    serve(Guarded, sse_broker=broker)
    clients = []
    for answer in (no, fails, asked_twice):
        Guarded.answer = lambda channel: True
        path = "/guarded/news?token=s3cret&s3cret&last_event_id=s3cret"
        clients.append(await (await connect()).request(path))
        Guarded.asked.clear()
        Guarded.answer = answer
        await clients[-1].rest()
    await until(lambda: len(logs.messages()) == 6)
    claimed = logs.claim(r"authorize\(\) failed") + logs.claim(r"authorize\(\) took more than")
    subject = "GET /guarded/news?token,last_event_id from 127.0.0.1: "
    lines = logs.messages() + [record.getMessage() for record in claimed]
    assert len(lines) == 8
    assert all(line.startswith(subject) for line in lines)
    assert "s3cret" not in "".join(lines)


# Coming back


async def test_what_happened_before_the_no_is_not_replayed_after_it(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    broker = Broker()
    serve(Guarded, sse_broker=broker)
    it = await (await connect()).request("/guarded/news")
    seen = await broker.publish("news", "seen")
    assert (await it.event()).id == seen
    it.reset()
    await until(lambda: broker.stats.subscribers == 0)
    await broker.publish("news", "missed")
    Guarded.answer = no
    it = await (await connect()).request("/guarded/news", headers=[("Last-Event-ID", seen)])
    assert it.status == 403
    assert b"missed" not in await it.reader.readexactly(int(it.headers["Content-Length"]))
    logs.claim("403 GET")


# Revoking


async def test_revoking_a_user_ends_exactly_the_streams_of_that_user(serve: Serve, connect: Connect) -> None:
    broker = Broker()
    serve(Guarded, sse_broker=broker)
    clients = {
        name: await (await connect()).request(f"/guarded/{path}")
        for name, path in {
            "ann": "news?user=ann",
            "ann again": "weather?user=ann",
            "bob": "news?user=bob",
            "annie": "news?user=annie",
            "nobody": "news",
        }.items()
    }
    assert broker.revoke("zoe") == 0
    assert broker.revoke(None) == 0, "None is nobody, not everybody"
    assert broker.revoke("ann") == 2
    await broker.publish("news", "after")
    await broker.publish("weather", "after")
    for name in ("ann", "ann again"):
        assert b"after" not in await clients[name].rest()
        assert clients[name].complete
    for name in ("bob", "annie", "nobody"):
        assert (await clients[name].event()).data == '"after"'
    assert broker.revoke("ann") == 0


async def test_users_need_not_be_hashable_to_be_revoked(serve: Serve, connect: Connect) -> None:
    class Dicts(Guarded):
        def get_current_user(self) -> dict[str, str | None]:
            return {"name": self.get_query_argument("user", None)}

    broker = Broker()
    serve(Dicts, sse_broker=broker)
    ann = await (await connect()).request("/dicts/news?user=ann")
    bob = await (await connect()).request("/dicts/news?user=bob")
    assert broker.revoke({"name": "ann"}) == 1
    await ann.rest()
    await broker.publish("news", 1)
    assert (await bob.event()).data == "1"


async def test_what_waits_for_a_slow_client_does_not_arrive_after_it_is_revoked(
    serve: Serve, http_server: object, http_port: int, app: tornado.web.Application
) -> None:
    broker = Broker()
    serve(Guarded, sse_broker=broker)
    it = await a_slow_client(http_port, "/guarded/news?user=ann")
    published = await publish_until_it_waits(broker, app)
    (stream,) = Capacity.of(app).streams
    assert broker.revoke("ann") == 1
    assert (stream.ended, stream.reason) == (True, Reason.REVOKED)
    it.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert len(await it.rest()) < published / 2
    assert it.complete is False
    it.close()


async def test_a_stream_that_has_closed_but_whose_last_bytes_wait_is_revoked_too(
    serve: Serve, http_server: object, http_port: int, app: tornado.web.Application
) -> None:
    broker = Broker()
    serve(Guarded, sse_broker=broker)
    it = await a_slow_client(http_port, "/guarded/news?user=ann")
    await publish_until_it_waits(broker, app)
    (stream,) = Capacity.of(app).streams
    stream.close()
    assert not stream.ended
    assert broker.revoke("ann") == 1
    assert (stream.ended, stream.reason) == (True, Reason.REVOKED)
    it.close()


async def test_a_stream_that_is_about_to_follow_is_revoked_too(
    serve: Serve, connect: Connect, logs: Logs, app: tornado.web.Application
) -> None:
    released = asyncio.Event()

    class Slow(Guarded):
        started: ClassVar[list[str]] = []

        async def open(self, *channels: str) -> None:
            if self.get_query_argument("early", None):
                self.stream.flush()
            await self.subscribe("news", start="state")

        async def snapshot(self, channel: str) -> Event:
            self.started.append(channel)
            await released.wait()
            return Event("a secret")

    broker = Broker()
    serve(Slow, sse_broker=broker)
    late, early, other = await connect(), await connect(), await connect()
    await late.send("GET /slow?user=ann HTTP/1.1\r\nHost: test\r\n\r\n")
    await other.send("GET /slow?user=bob HTTP/1.1\r\nHost: test\r\n\r\n")
    await early.request("/slow?user=ann&early=1")
    await until(lambda: len(Slow.started) == 3)
    assert broker.revoke("ann") == 2
    released.set()
    assert (await late.read_head()).status == 403
    assert b"secret" not in await early.rest()
    assert early.complete
    assert (await (await other.read_head()).event()).data == "a secret"
    assert broker.stats.subscribers == Capacity.of(app).used == 1
    logs.claim("403 GET /slow")


# What a handler costs meanwhile


async def test_a_handler_is_kept_only_where_it_is_asked(serve: Serve, connect: Connect) -> None:
    class Kept(Guarded):
        sse_reauthorize = 3600
        seen: ClassVar[list[weakref.ref[SSEHandler]]] = []

        def initialize(self) -> None:
            self.seen.append(weakref.ref(self))

    class Never(Kept):
        sse_reauthorize = None

    class Plain(Kept):
        authorize = SSEHandler.authorize

    broker = Broker()
    serve(Kept, Never, Plain, sse_broker=broker)
    clients = [await (await connect()).request(f"/{path}/news") for path in ("kept", "never", "plain")]
    await broker.publish("news", 1)
    for it in clients:
        await it.event()
    gc.collect()
    assert [handler() is None for handler in Kept.seen] == [False, True, True]
    clients[0].close()
    await until(lambda: broker.stats.subscribers == 2)
    gc.collect()
    assert Kept.seen[0]() is None


async def a_slow_client(port: int, path: str) -> Connection:
    """Return a client that has read the head and reads no more, and whose kernel takes little."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    it = Connection(*await asyncio.open_connection(sock=sock))
    await it.request(path)
    it.writer.transport.pause_reading()  # type: ignore[attr-defined]
    return it


async def publish_until_it_waits(broker: Broker, app: tornado.web.Application) -> int:
    """Publish until there is something that the one stream's socket has not taken; return how many bytes."""
    (stream,) = Capacity.of(app).streams
    published = 0
    while not stream.pending:
        await broker.publish("news", "x" * 50_000)
        published += 50_000
    return published
