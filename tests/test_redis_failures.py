"""What a log in Redis or Valkey does while its server, or the network, does what it should not."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.cutter import Cutter
from tests.opened import UNLIMITED, Opened, held
from tests.support import DEADLINE, SECOND, Connect, Logs, until, within
from tests.valkey import PROGRAMS, Server, program
from tornado_sse import BackendError, Broker, SSEHandler
from tornado_sse.backends.redis import RedisBackend
from tornado_sse.backends.redis_address import Address
from tornado_sse.log import Retention
from tornado_sse.record import Draft

pytestmark = pytest.mark.gen_test(timeout=60)

#: For how many seconds a backend tries.
TIMEOUT = 1.0 * SECOND

Open = Callable[..., Opened[RedisBackend]]


@pytest.fixture(params=PROGRAMS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Return a server of the test's own, which has not been started."""
    with Server(program(request.param), tmp_path / "data") as server:
        yield server


@pytest.fixture
def opened(io_loop: IOLoop, server: Server) -> Iterator[Open]:
    loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]
    made: list[RedisBackend] = []

    def open(through: Any = server, retention: Retention = UNLIMITED, **options: Any) -> Opened[RedisBackend]:
        address = Address(through.host, through.port, timeout=TIMEOUT, **options)
        backend = RedisBackend(address, lambda channel: retention, timeout=TIMEOUT)
        made.append(backend)
        return Opened(backend)

    yield open
    for backend in made:
        loop.run_until_complete(backend.close())


@contextlib.asynccontextmanager
async def failing(*sentences: str, bound: float = TIMEOUT) -> AsyncIterator[None]:
    """Expect an error that says one of these, in time."""
    began = time.monotonic()
    with pytest.raises(BackendError) as caught:
        yield
    assert any(sentence in str(caught.value) for sentence in sentences), str(caught.value)
    assert time.monotonic() - began < bound + 0.5 * SECOND


# The server is killed


async def test_what_is_appended_while_the_server_is_restarted_waits_for_it(
    opened: Open, server: Server
) -> None:
    server.start()
    one, other = opened(), opened()
    log = await one.backend.follow("a")
    assert [await one.append() for _ in range(3)] == [1, 2, 3]
    epoch = one.backend.epoch
    server.kill()
    appending = [asyncio.ensure_future(each.append()) for each in (one, other)]
    await asyncio.sleep(0.1)
    server.start()
    positions = sorted([await within(each) for each in appending])
    # What the server had is there, and what it may have lost leaves a hole.
    assert positions == [2**32 + 4, 2**32 + 5]
    assert one.backend.epoch == epoch
    await until(lambda: one.ear.positions == [1, 2, 3, *positions])
    assert held(log) == one.ear.positions == await one.positions()
    assert (one.ear.epochs, one.ear.gaps) == (0, [])


async def test_publishers_are_told_in_time_that_the_server_is_away(opened: Open, server: Server) -> None:
    server.start()
    one = opened()
    await one.append()
    server.kill()

    async def ask(question: Awaitable[object]) -> None:
        async with failing("is away", "does not answer"):
            await question

    backend = one.backend
    questions = (
        one.append(),
        backend.sync(),
        backend.follow("b"),
        backend.read("a", 0, 1),
        backend.state("a"),
    )
    await asyncio.gather(*map(ask, questions))
    server.start()
    await until(lambda: one.backend._subscription.generation == 2)
    assert await one.append() > 2**32
    assert len(await one.backend.follow("b")) == 0


async def test_a_server_that_comes_later(opened: Open, server: Server) -> None:
    one = opened()
    async with failing("is away"):
        await one.append()
    appending = asyncio.ensure_future(one.append())
    await asyncio.sleep(0.05)
    server.start()
    assert await within(appending) == 1
    assert await one.positions() == [1]


async def test_a_server_that_comes_back_empty_begins_anew(opened: Open, server: Server) -> None:
    server.start()
    one, other = opened(), opened()
    logs = [await each.backend.follow("a") for each in (one, other)]
    await asyncio.gather(*(one.append() for _ in range(5)))
    epoch = one.backend.epoch
    server.kill()
    server.start(empty=True)
    await until(lambda: {one.backend.epoch, other.backend.epoch}.isdisjoint({epoch}))
    assert one.backend.epoch == other.backend.epoch
    assert [log.start for log in logs] == [0, 0]
    position = await one.append()
    await until(lambda: other.backend.position == position)
    assert held(logs[0]) == held(logs[1]) == await one.positions() == [position]
    assert (one.ear.epochs, other.ear.epochs) == (1, 1)


async def test_who_has_told_of_what_a_server_has_lost_renews_the_epoch(
    opened: Open, server: Server, tmp_path: Path
) -> None:
    server.options["appendonly"] = "no"
    server.start()
    one, other = opened(), opened()
    await one.backend.follow("a")
    await other.backend.follow("a")
    await one.append()
    server.ask("SAVE")
    lost = await one.append()
    await until(lambda: other.ear.position == lost)
    epoch = one.backend.epoch
    server.kill()
    server.start()
    await until(lambda: one.backend.epoch != epoch and other.backend.epoch == one.backend.epoch)
    assert await one.append() == 2**32 + 2
    await until(lambda: other.ear.positions[-1] == 2**32 + 2)
    assert await one.positions() == [1, 2**32 + 2]
    assert (one.ear.epochs, other.ear.epochs) == (1, 1)


async def test_who_has_not_told_of_what_a_server_has_lost_keeps_the_epoch(
    opened: Open, server: Server
) -> None:
    server.options["appendonly"] = "no"
    server.start()
    one = opened()
    await one.append()
    server.ask("SAVE")
    lost = await one.append()
    epoch = one.backend.epoch
    # Those who knew are gone.
    await one.backend.close()
    server.kill()
    server.start()
    two = opened()
    assert await two.append() == 2**32 + 2
    assert two.backend.epoch == epoch
    # Clients that have seen it come back with an id that nobody knows.
    assert not two.backend.reaches(lost)
    assert two.backend.reaches(1)


# The server is slow


async def test_a_server_that_is_stopped_and_continued(opened: Open, server: Server) -> None:
    server.start()
    one, other = opened(), opened()
    log = await one.backend.follow("a")
    await one.append("a", b"first")
    server.stop()
    waiting = [one.backend.append(Draft("a", b"data: waiting %d\n\n" % i)) for i in range(3)]
    async with failing("does not answer"):
        await waiting[0]
    for each in waiting[1:]:
        with pytest.raises(BackendError, match="does not answer"):
            await within(each)
    server.go_on()
    last = await other.append("a", b"last")
    await until(lambda: one.ear.position >= last)
    again = await one.append("a", b"again")
    # What was given up may have happened, but as a whole and once, and before what came after it.
    texts = [record.frame.split(b"data: ")[1].strip() for record in one.ear.told]
    assert texts in (
        [b"first", b"last", b"again"],
        [b"first", b"waiting 0", b"waiting 1", b"waiting 2", b"last", b"again"],
        [b"first", b"last", b"waiting 0", b"waiting 1", b"waiting 2", b"again"],
    )
    assert held(log) == one.ear.positions == await one.positions()
    assert one.ear.positions[-1] == again
    assert (one.ear.epochs, one.ear.gaps) == (0, [])


async def test_a_short_stop_is_waited_for(opened: Open, server: Server) -> None:
    server.start()
    one = opened()
    await one.append()
    server.stop()
    appending = asyncio.ensure_future(one.append())
    await asyncio.sleep(TIMEOUT / 4)
    server.go_on()
    assert await appending == 2


# The server refuses


async def test_a_server_that_is_full_says_what_to_do(opened: Open, server: Server) -> None:
    server.start()
    one, other = opened(), opened()
    log = await one.backend.follow("a")
    await one.append()
    server.ask("CONFIG", "SET", "maxmemory", "1mb")
    batch = [one.backend.append(Draft("a", b"data: x\n\n", None, f"m{i}")) for i in range(10)]
    for each in batch:
        async with failing("its memory is full: raise its maxmemory, or keep less (Retention)"):
            await each
    # All the rest goes on.
    assert await one.backend.sync() == await other.backend.sync() == 1
    assert await other.positions() == [1]
    assert held(await other.backend.follow("a")) == [1]
    # All of a batch was refused, so all of it may be tried again.
    server.ask("CONFIG", "SET", "maxmemory", "0")
    again = [await one.append("a", message_id=f"m{i}") for i in range(10)]
    assert again == [*range(2, 12)]
    assert held(log) == await one.positions() == [*range(1, 12)]
    await until(lambda: other.ear.positions == [*range(2, 12)])


async def test_a_full_server_takes_a_new_process_and_forgets_what_is_too_old(
    opened: Open, server: Server
) -> None:
    server.start()
    one = opened(retention=Retention(age=0.3 * SECOND))
    await one.append()
    server.ask("CONFIG", "SET", "maxmemory", "1mb")
    two = opened()
    await two.backend.follow("a")
    async with asyncio.timeout(DEADLINE):
        while await two.positions():  # noqa: ASYNC110 - it is another process that does it
            await asyncio.sleep(0.02)
    assert (await two.backend.read("a", 0, 1)).floor == 1


@pytest.mark.parametrize("password", [None, "wrong"])
async def test_a_wrong_password(opened: Open, server: Server, password: str | None) -> None:
    server.options["requirepass"] = "right"
    server.start()
    one = opened(password=password)
    async with failing("does not let us in"):
        await one.append()
    with pytest.raises(BackendError, match="does not let us in"):
        await one.backend.follow("a")
    assert await opened(password="right").append() == 1


async def test_a_user_who_may_not_do_what_a_log_needs(opened: Open, server: Server) -> None:
    server.start()
    await opened().append()
    server.ask("ACL", "SETUSER", "reader", "on", ">secret", "~*", "&*", "+@all", "-xadd")
    one = opened(user="reader", password="secret")
    async with failing("answers", "the user may not do what a log needs"):
        await one.append()


async def test_a_server_that_can_not_save_refuses(opened: Open, server: Server) -> None:
    server.start()
    one = opened()
    await one.append()
    server.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    async with failing("NOREPLICAS"):
        await one.append()
    server.ask("CONFIG", "SET", "min-replicas-to-write", "0")
    assert await one.append() == 2


# The network


async def test_a_network_that_is_cut_and_heals(opened: Open, server: Server) -> None:
    server.start()
    async with Cutter(server.host, server.port) as network:
        one, other = opened(network), opened()
        log = await one.backend.follow("a")
        for number in range(5):
            network.cut()
            missed = [await other.append("a", b"%d" % number) for _ in range(20)]
            appending = asyncio.ensure_future(one.append())
            await asyncio.sleep(0.05)
            network.heal()
            mine = await within(appending)
            await until(lambda: one.ear.position >= mine)  # noqa: B023
            assert one.ear.positions[-21:] == [*missed, mine]
        assert held(log) == one.ear.positions == await one.positions()
        assert (one.ear.epochs, one.ear.gaps) == (0, [])
        await one.backend.close()


async def test_what_was_missed_beyond_the_cache_is_a_gap_in_the_log_in_memory_only(
    opened: Open, server: Server
) -> None:
    server.start()
    async with Cutter(server.host, server.port) as network:
        one, other = opened(network), opened()
        one.backend._cache = Retention(events=10, bytes=None, age=None, keys=None)
        log = await one.backend.follow("a")
        quiet = await one.backend.follow("b")
        await one.append("b")
        network.cut()
        missed = await asyncio.gather(*(other.append() for _ in range(50)))
        network.heal()
        await until(lambda: one.ear.position == missed[-1])
        assert one.ear.gaps == ["a"]
        assert log.start == missed[-11]
        assert held(log) == missed[-10:]
        assert (held(quiet), quiet.start) == ([1], 0)
        assert await one.positions() == missed
        await one.backend.close()


async def test_a_connection_that_is_half_open_is_found_by_who_listens(opened: Open, server: Server) -> None:
    server.start()
    async with Cutter(server.host, server.port) as network:
        one, other = opened(network), opened()
        log = await one.backend.follow("a")
        await one.append()
        network.freeze()
        position = await other.append()
        began = time.monotonic()
        await until(lambda: one.ear.position == position)
        # A second until the next mark, and the time that one may take.
        assert time.monotonic() - began < 2 * TIMEOUT + 1.5
        assert held(log) == one.ear.positions == [1, 2]
        await one.backend.close()


async def test_a_connection_that_is_half_open_is_found_by_who_appends(opened: Open, server: Server) -> None:
    server.start()
    async with Cutter(server.host, server.port) as network:
        one = opened(network)
        await one.backend.follow("a")
        await one.append()
        network.freeze()
        began = time.monotonic()
        assert await one.append() == 2
        assert time.monotonic() - began < 2 * TIMEOUT
        assert one.ear.positions == [1, 2]
        await one.backend.close()


async def test_a_batch_whose_answer_was_lost_is_not_appended_twice(opened: Open, server: Server) -> None:
    server.start()
    async with Cutter(server.host, server.port) as network:
        one, other = opened(network), opened()
        await other.backend.follow("a")
        await one.append()
        await one.backend.sync()  # so that nothing is on its way
        network.mute()
        batch = [one.backend.append(Draft("a", b"data: x\n\n")) for _ in range(5)]
        assert [await within(each) for each in batch] == [2, 3, 4, 5, 6]
        assert other.ear.positions == [1, 2, 3, 4, 5, 6] == await other.positions()
        await one.backend.close()


async def test_what_its_publisher_tries_again_is_not_appended_twice(opened: Open, server: Server) -> None:
    server.start()
    async with Cutter(server.host, server.port) as network:
        one, other = opened(network), opened()
        await one.append()
        await one.backend.sync()  # so that nothing is on its way
        network.mute()
        network.refusing = True
        with pytest.raises(BackendError):
            await one.append("a", message_id="m")
        await until(lambda: other.backend.position == 2)
        assert await other.append("a", message_id="m") == 2
        network.heal()
        assert await one.append("a", message_id="m") == 2
        assert await one.positions() == [1, 2]
        await one.backend.close()


async def test_who_is_too_slow_for_the_server_is_cut_and_catches_up(opened: Open, server: Server) -> None:
    server.start()
    server.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
    async with Cutter(server.host, server.port) as network:
        one, other = opened(network), opened()
        log = await one.backend.follow("a")
        network.hold()
        appended = await asyncio.gather(*(other.append("a", b"x" * 5_000) for _ in range(5_000)))
        network.heal()
        await until(lambda: one.ear.position == appended[-1])
        assert one.backend._subscription.generation > 1
        # What did not come by itself is behind the log's start, and there to be read.
        missed = [each for each in appended if each not in one.ear.positions]
        assert missed
        assert one.ear.gaps == ["a"]
        assert log.start >= missed[-1]
        assert await one.positions() == appended
        await one.backend.close()


async def test_an_event_too_large_to_be_published_reaches_all_the_same(opened: Open, server: Server) -> None:
    server.start()
    server.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
    one, other = opened(), opened()
    await asyncio.gather(one.backend.follow("a"), other.backend.follow("a"))
    await one.append()
    large = await one.append("a", b"x" * 3_000_000)
    await until(lambda: other.ear.position == large)
    last = await one.append()
    await until(lambda: other.ear.position == last)
    assert one.ear.positions == other.ear.positions == [1, large, last]
    assert (one.ear.gaps, other.ear.gaps) == ([], [])


async def test_a_slow_network(opened: Open, server: Server) -> None:
    server.start()
    async with Cutter(server.host, server.port) as network:
        one, other = opened(network), opened()
        log = await one.backend.follow("a")
        for _ in range(5):
            network.hold()
            appending = [asyncio.ensure_future(each.append()) for each in (one, other)]
            await asyncio.sleep(TIMEOUT / 5)
            network.heal()
            await within(asyncio.gather(*appending))
        await until(lambda: one.ear.position == 10)
        assert held(log) == one.ear.positions == [*range(1, 11)]
        await one.backend.close()


async def test_to_close_while_the_server_is_stopped_takes_no_longer_than_to_append(
    opened: Open, server: Server
) -> None:
    server.start()
    one = opened()
    await one.append()
    server.stop()
    appending = asyncio.ensure_future(one.append())
    await asyncio.sleep(0)
    began = time.monotonic()
    await within(one.backend.close())
    assert time.monotonic() - began < 2 * TIMEOUT
    with pytest.raises(BackendError):
        await appending
    server.go_on()


# With a stream at the end of it


class Follow(SSEHandler):
    async def open(self, channel: str) -> None:
        await self.subscribe(channel)


async def test_a_stream_stays_up_while_the_server_is_away(
    server: Server, serve: Callable[..., None], connect: Connect, logs: Logs
) -> None:
    server.start()
    broker = Broker(f"{server.url}?timeout={TIMEOUT}")
    serve(Follow, sse_broker=broker)
    client = await (await connect()).request("/follow/a")
    ids = [await broker.publish("a", 1)]
    server.kill()
    with pytest.raises(BackendError):
        await broker.publish("a", 2)
    refused = await (await connect()).request("/follow/b")
    assert refused.status == 503
    logs.claim("503 GET /follow/b", count=2)
    server.start()
    async with asyncio.timeout(DEADLINE):
        while len(ids) < 2:
            with contextlib.suppress(BackendError):
                ids.append(await broker.publish("a", 3, message_id="three"))
    assert [event.id for event in await client.events(2)] == ids
    assert client.complete is None
    await broker.close()


async def test_a_stream_is_told_once_that_history_is_gone(
    server: Server, serve: Callable[..., None], connect: Connect
) -> None:
    server.start()
    broker = Broker(f"{server.url}?timeout={TIMEOUT}")
    serve(Follow, sse_broker=broker)
    client = await (await connect()).request("/follow/a")
    epoch, _, _ = (await broker.publish("a", 1)).partition("-")
    assert (await client.event()).data == "1"
    server.kill()
    server.start(empty=True)
    await client.rest()
    assert client.complete, "so that it comes back"
    last = ("Last-Event-ID", f"{epoch}-1")
    client = await (await connect()).request("/follow/a", headers=[last])
    gap = await client.event()
    assert (gap.type, '"reason":"epoch"' in gap.data) == ("gap", True)
    await broker.publish("a", 2)
    assert (await client.event()).data == "2"
    await broker.close()


# Everything at once


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_event_is_told_once_and_in_order_in_all_processes_whatever_happens(
    server: Server, seed: int
) -> None:
    server.start()
    rng = random.Random(seed)
    running = True
    acknowledged: dict[str, int] = {}
    cache = Retention(events=None, bytes=None, age=None, keys=None)
    async with contextlib.AsyncExitStack() as stack:
        networks = [await stack.enter_async_context(Cutter(server.host, server.port)) for _ in range(3)]
        processes = []
        for network in networks:
            address = Address(network.host, network.port, timeout=TIMEOUT / 2)
            backend = RedisBackend(address, lambda channel: UNLIMITED, timeout=TIMEOUT / 2, cache=cache)
            stack.push_async_callback(backend.close)
            processes.append(Opened(backend))
        logs = [await each.backend.follow("a") for each in processes]

        async def publish(name: str) -> None:
            for number in itertools.count():
                text = f"{name}.{number}"
                while text not in acknowledged:
                    if not running:
                        return
                    with contextlib.suppress(BackendError):
                        # Wherever it is tried again, it is the same event.
                        one = rng.choice(processes)
                        acknowledged[text] = await one.append("a", text.encode(), message_id=text)

        async def follow_others(one: Opened[RedisBackend]) -> None:
            while running:
                channel = f"other.{rng.randrange(5)}"
                with contextlib.suppress(BackendError):
                    await one.backend.follow(channel)
                one.backend.unfollow(channel)
                await asyncio.sleep(0.01)

        tasks = [asyncio.ensure_future(publish(f"p{i}")) for i in range(6)]
        tasks += [asyncio.ensure_future(follow_others(one)) for one in processes]
        for _ in range(8):
            network = rng.choice(networks)
            match rng.choice(["kill", "stop", "cut", "hold", "freeze", "mute"]):
                case "kill":
                    server.kill()
                    await asyncio.sleep(rng.random() * TIMEOUT / 2)
                    server.start()
                case "stop":
                    server.stop()
                    await asyncio.sleep(rng.random() * TIMEOUT)
                    server.go_on()
                case failure:
                    getattr(network, failure)()
                    await asyncio.sleep(rng.random() * TIMEOUT / 2)
                    network.heal()
            before = len(acknowledged)
            await until(lambda: len(acknowledged) > before + 50)  # noqa: B023
        running = False
        await within(asyncio.gather(*tasks))
        last = max(acknowledged.values())
        await until(lambda: all(one.ear.position >= last for one in processes))
        records = await processes[0].all()
        texts = [record.frame.split(b"data: ")[1].decode().strip() for record in records]
        positions = [record.position for record in records]
        assert len({*texts}) == len(texts), "doubled"
        found = dict(zip(texts, positions, strict=True))
        assert {text: found.get(text) for text in acknowledged} == acknowledged, "lost, or moved"
        for one, log in zip(processes, logs, strict=True):
            assert one.ear.positions == held(log) == positions
            assert (one.ear.epochs, one.ear.gaps) == (0, [])
