from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from redis import exceptions
from tornado.ioloop import IOLoop

from tests.cutter import Cutter
from tests.support import until
from tests.valkey import Server
from tornado_sse.backends import redis_link
from tornado_sse.backends.redis_address import Address, Route
from tornado_sse.backends.redis_link import Anew, Link, explained
from tornado_sse.errors import BackendError

pytestmark = pytest.mark.gen_test


@pytest.fixture
def link(io_loop: IOLoop, redis_server: Server) -> Iterator[Link]:
    loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]
    link = Link(Route(Address(redis_server.host, redis_server.port)), "{link}", 1.0)
    yield link
    loop.run_until_complete(link.close())
    redis_server.ask("DEL", "{link}")


async def test_a_script_that_the_server_has_forgotten(link: Link, redis_server: Server) -> None:
    for _ in range(2):
        redis_server.ask("SCRIPT", "FLUSH")
        assert await link.ask("begin", "e", 0) == [b"e", 0]
        assert await link.ask("begin", "e", 0) == [b"e", 0]


async def test_what_the_server_says_of_itself_is_there(link: Link) -> None:
    await link.ask("begin", "e", 0)
    assert len(link.info["run_id"]) == 40
    assert link.info["maxmemory_policy"] == "noeviction"


async def test_a_server_that_is_too_old(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_link, "_OLDEST", 100)
    with pytest.raises(BackendError, match=r"is of version [0-9.]+: Redis 100 or Valkey is needed"):
        await link.ask("begin", "e", 0)


async def test_many_ask_at_once(link: Link) -> None:
    await link.ask("begin", "e", 0)
    answers = await asyncio.gather(*(link.ask("mark", f"{{link}}/{i}") for i in range(50)))
    assert answers == [[b"e", 0]] * 50


async def test_there_is_no_log(link: Link) -> None:
    with pytest.raises(Anew):
        await link.ask("mark", "{link}/a")


async def test_who_is_cancelled_leaves_no_answer_behind(redis_server: Server) -> None:
    async with Cutter(redis_server.host, redis_server.port) as network:
        link = Link(Route(Address(network.host, network.port)), "{link}", 5.0)
        await link.ask("begin", "e", 0)
        network.hold()
        asking = asyncio.ensure_future(link.ask("begin", "f", 0))
        await asyncio.sleep(0.05)
        asking.cancel()
        network.heal()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await link.ask("renew", "e", "g") == [b"g", 0]
        await link.close()
        await until(lambda: network.connections == 0)
    redis_server.ask("DEL", "{link}")


async def test_closing_while_somebody_asks_has_it_asked_again(redis_server: Server) -> None:
    async with Cutter(redis_server.host, redis_server.port) as network:
        link = Link(Route(Address(network.host, network.port)), "{link}", 5.0)
        await link.ask("begin", "e", 0)
        network.hold()
        asking = asyncio.ensure_future(link.ask("begin", "f", 0))
        await asyncio.sleep(0.05)
        await link.close()
        network.heal()
        assert await asking == [b"e", 0]
        await link.close()
    redis_server.ask("DEL", "{link}")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (TimeoutError(), "host:1 does not answer"),
        (exceptions.TimeoutError(), "host:1 does not answer"),
        (
            exceptions.ConnectionError("Connection closed by server."),
            "host:1 is away: Connection closed by server.",
        ),
        (ConnectionResetError(), "host:1 is away: ConnectionResetError"),
        (exceptions.BusyLoadingError("loading"), "host:1 is away: loading"),
        (exceptions.AuthenticationError("WRONGPASS"), "host:1 does not let us in: WRONGPASS"),
        (
            exceptions.OutOfMemoryError("no"),
            "host:1: its memory is full: raise its maxmemory, or keep less (Retention) (OOM no)",
        ),
        (exceptions.MovedError("1 other:2"), "host:1 sends us to other:2, and so on"),
        (exceptions.ResponseError("ERR what"), "host:1 answers: ERR what"),
    ],
)
def test_errors_are_sentences(error: Exception, sentence: str) -> None:
    assert str(explained(error, Route(Address("host", 1)))) == f"the redis log failed: {sentence}"


def test_an_error_that_has_been_explained_stays_as_it_is() -> None:
    error = BackendError("redis", "it is so")
    assert explained(error, Route(Address("host", 1))) is error
