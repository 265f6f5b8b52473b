from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import tornado.web

from tests.serving import serving
from tests.support import reserved_address
from tornado_sse import BackendError, Broker
from tornado_sse.backends import MemoryBackend
from tornado_sse.cli import sender
from tornado_sse.cli.sender import BrokerSender, HTTPSender, RefusedError, UnreachableError
from tornado_sse.record import Draft
from tornado_sse.server import Grant, ServerOptions
from tornado_sse.server.submission import Submission

pytestmark = pytest.mark.gen_test

ONE = [Submission("a", "x", "e", "k", "text", "1")]
OPEN = ServerOptions(grants=(Grant("t", publish=("*",)),))


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr(sender, "_FIRST", 0.01)


class Flaky(tornado.web.RequestHandler):
    """Answers what it is told, one after the other, and keeps what it was sent."""

    answers: list[tuple[int, Any]]
    bodies: list[bytes]

    def post(self) -> None:
        self.bodies.append(self.request.body)
        status, answer = self.answers.pop(0)
        self.set_status(status)
        if status != 0:
            self.finish(answer if isinstance(answer, str) else json.dumps(answer))


@pytest.fixture
def flaky(serve: Callable[..., None], http_server: object) -> type[Flaky]:
    serve(Flaky, log_function=lambda handler: None)
    Flaky.bodies = []
    return Flaky


async def test_events_are_sent_with_all_they_have(io_loop: object) -> None:
    async with serving(OPEN) as client:
        it = await client.follow("/channels/a?channel=b")
        for path in ("channels/a", "publish"):
            to = HTTPSender(f"http://127.0.0.1:{client.port}/{path}", "t", 10)
            batch = [*ONE, Submission("a" if path != "publish" else "b", None, id="2")]
            ids = await to.send(batch)
            assert ids == await to.send(batch)
            await to.close()
        events = await it.events(3)
        assert [(each.type, each.data, each.codec) for each in events] == [
            ("e", "x", None),
            ("message", "null", "json"),
            ("message", "null", "json"),
        ]
        assert ids == [events[0].id, events[2].id]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
async def test_what_may_pass_is_tried_again_with_the_same_ids(
    io_loop: object, flaky: type[Flaky], http_port: int, status: int
) -> None:
    flaky.answers = [(status, "<html>"), (status, {"error": "busy"}), (200, {"ids": ["x-1"]})]
    to = HTTPSender(f"http://127.0.0.1:{http_port}/flaky", None, 30)
    assert await to.send(ONE) == ["x-1"]
    await to.close()
    assert len({*flaky.bodies}) == 1
    assert json.loads(flaky.bodies[0])["id"] == "1"


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (401, {"error": "a token is needed"}, "401: a token is needed"),
        (404, "<html>", "404: Not Found"),
        (302, "", "302: Found"),
        (200, "<html>hello", "does not answer as tornado-sse does"),
        (200, {"ids": []}, "does not answer as tornado-sse does"),
        (200, [], "does not answer as tornado-sse does"),
        (413, {"error": "too large"}, "413: too large"),
    ],
)
async def test_what_will_not_pass_is_not_tried_again(
    io_loop: object, flaky: type[Flaky], http_port: int, status: int, answer: Any, reason: str
) -> None:
    flaky.answers = [(status, answer)]
    to = HTTPSender(f"http://127.0.0.1:{http_port}/flaky?secret=s", None, 30)
    with pytest.raises(RefusedError, match=reason) as caught:
        await to.send(ONE)
    await to.close()
    assert "secret" not in str(caught.value)


async def test_what_is_too_much_at_once_is_sent_in_parts(io_loop: object) -> None:
    async with serving(ServerOptions(grants=OPEN.grants, max_body=1000)) as client:
        it = await client.follow("/channels/a")
        to = HTTPSender(f"http://127.0.0.1:{client.port}/channels/a", "t", 10)
        batch = [Submission("a", str(n) * 100, serializer="text", id=str(n)) for n in range(9)]
        ids = await to.send(batch)
        assert ids == [each.id for each in await it.events(9)]
        with pytest.raises(RefusedError, match="413"):
            await to.send([Submission("a", "x" * 2000, id="large")])
        await to.close()


async def test_a_server_that_comes_back_gets_it(io_loop: object) -> None:
    with reserved_address() as (host, port):
        to = HTTPSender(f"http://{host}:{port}/channels/a", None, 0.2)
        with pytest.raises(UnreachableError, match=r"can't be reached: .*refused"):
            await to.send(ONE)
        await to.close()


async def test_a_log_is_appended_to(io_loop: object) -> None:
    broker = Broker()
    to = BrokerSender(broker, 10)
    first = await to.send([*ONE, Submission("b", [1], id="2")])
    assert first == await to.send([*ONE, Submission("b", [1], id="2")])
    assert broker.stats.position == 2
    await to.close()


async def test_a_log_that_is_away_is_tried_again(io_loop: object, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker()
    failures = [BackendError("test", "away")] * 2
    start = broker.start

    async def away() -> Broker:
        if failures:
            raise failures.pop()
        return await start()

    monkeypatch.setattr(broker, "start", away)
    assert len(await BrokerSender(broker, 10).send(ONE)) == 1
    failures += [BackendError("test", "gone")] * 1000
    to = BrokerSender(broker, 0.1)
    with pytest.raises(UnreachableError, match="gone"):
        await to.send(ONE)
    await to.close()


async def test_an_append_that_fails_is_tried_again(io_loop: object, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker()
    append = MemoryBackend.append
    fails = [True, True, False]

    def failing(self: MemoryBackend, draft: Draft) -> int | asyncio.Future[int]:
        if fails.pop():
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            future.set_exception(BackendError("test", "away"))
            return future
        fails.append(False)
        return append(self, draft)

    monkeypatch.setattr(MemoryBackend, "append", failing)
    to = BrokerSender(broker, 10)
    assert len(await to.send([*ONE, Submission("a", 1, id="2")])) == 2
    assert broker.stats.position == 2
    await to.close()
