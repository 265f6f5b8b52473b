"""What a log in NATS does while its server, or the network, does what it should not."""

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
from tests.nats_server import Server, admin
from tests.opened import UNLIMITED, Opened, held
from tests.support import DEADLINE, SECOND, Connect, Logs, until, within
from tornado_sse import BackendError, Broker, SSEHandler
from tornado_sse.backends.nats import NATSBackend
from tornado_sse.backends.nats_address import Address
from tornado_sse.log import Retention
from tornado_sse.record import Draft

pytestmark = pytest.mark.gen_test(timeout=60)

#: For how many seconds a backend tries.
TIMEOUT = 1.0 * SECOND

Open = Callable[..., Opened[NATSBackend]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Return a server of the test's own, which has not been started."""
    with Server(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def opened(io_loop: IOLoop, server: Server) -> Iterator[Open]:
    loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]
    made: list[NATSBackend] = []

    def open(
        through: Any = server, retention: Retention = UNLIMITED, storage: str | None = None, **options: Any
    ) -> Opened[NATSBackend]:
        address = Address([(through.host, through.port)], **options)
        backend = NATSBackend(address, lambda channel: retention, timeout=TIMEOUT, storage=storage)
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
    server.start()
    assert sorted([await within(each) for each in appending]) == [4, 5]
    assert one.backend.epoch == epoch
    await until(lambda: one.ear.positions == [1, 2, 3, 4, 5])
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
    await until(lambda: backend._session.link is not None)
    assert await one.append() == 2
    assert len(await backend.follow("b")) == 0


async def test_a_server_that_comes_later(opened: Open, server: Server) -> None:
    one = opened()
    async with failing("is away"):
        await one.append()
    appending = asyncio.ensure_future(one.append())
    await asyncio.sleep(0)
    server.start()
    assert await within(appending) == 1
    assert await one.positions() == [1]


@pytest.mark.parametrize("storage", ["file", "memory"])
async def test_a_server_that_comes_back_empty_begins_anew(opened: Open, server: Server, storage: str) -> None:
    server.start()
    one, other = opened(storage=storage), opened(storage=storage)
    logs = [await each.backend.follow("a") for each in (one, other)]
    await asyncio.gather(*(one.append() for _ in range(5)))
    epoch = one.backend.epoch
    server.kill()
    server.start(empty=storage == "file")
    await until(lambda: {one.backend.epoch, other.backend.epoch}.isdisjoint({epoch}))
    await until(lambda: one.backend.epoch == other.backend.epoch)
    assert [log.start for log in logs] == [0, 0]
    position = await one.append()
    await until(lambda: other.backend.position == position)
    assert held(logs[0]) == held(logs[1]) == await one.positions() == [position]
    assert (one.ear.epochs, other.ear.epochs) == (1, 1)


async def test_a_stream_that_is_deleted_is_made_anew(opened: Open, server: Server) -> None:
    server.start()
    one = opened()
    await one.append()
    epoch = one.backend.epoch
    await admin(server, "STREAM.DELETE.tornado-sse")
    # The first append after that finds out.
    assert await within(one.append()) == 1
    assert one.backend.epoch != epoch
    assert (one.ear.epochs, await one.positions()) == (1, [1])


async def test_who_has_told_of_what_a_server_has_lost_renews_the_epoch(
    opened: Open, server: Server, tmp_path: Path
) -> None:
    server.start()
    one, other = opened(), opened()
    await one.backend.follow("a")
    await one.append()
    epoch = one.backend.epoch
    server.terminate()
    server.save()
    server.start()
    await until(lambda: one.backend._session.link is not None)
    assert await one.append() == 2
    await one.backend.sync()
    await other.backend.sync()
    server.kill()
    server.restore()
    server.start()
    await until(lambda: one.backend.epoch != epoch and other.backend.epoch == one.backend.epoch)
    assert await one.append() == 2
    assert await one.positions() == [1, 2]
    assert (one.ear.epochs, other.ear.epochs) == (1, 1)


async def test_another_event_in_a_place_that_is_remembered_renews_the_epoch(
    opened: Open, server: Server
) -> None:
    server.start()
    async with Cutter(server.host, server.port) as network:
        one = opened(network)
        assert [await one.append() for _ in range(2)] == [1, 2]
        epoch = one.backend.epoch
        network.cut()
        one.backend._witness = (2, "n/of another")
        network.heal()
        await until(lambda: one.backend.epoch not in ("", epoch))
        assert one.ear.epochs == 1
        await one.backend.close()


# The server is slow


async def test_a_server_that_is_stopped_and_continued(opened: Open, server: Server) -> None:
    server.start()
    one, other = opened(), opened()
    log = await one.backend.follow("a")
    await other.backend.sync()
    await one.append("a", b"first")
    server.stop()
    waiting = [one.backend.append(Draft("a", b"data: waiting %d\n\n" % i)) for i in range(3)]
    async with failing("does not answer", "is away"):
        await waiting[0]
    for each in waiting[1:]:
        with pytest.raises(BackendError, match=r"does not answer|is away"):
            await within(each)
    server.go_on()
    await until(lambda: one.backend._session.link is not None and other.backend._session.link is not None)
    last = await within(other.append("a", b"last"))
    await until(lambda: one.ear.position >= last)
    again = await one.append("a", b"again")
    # What was given up may be there, but in order and once.
    texts = [record.frame.split(b"data: ")[1].strip() for record in one.ear.told]
    waited = [text for text in texts if text.startswith(b"waiting")]
    assert [text for text in texts if text not in waited] == [b"first", b"last", b"again"]
    assert waited in ([], [b"waiting 0", b"waiting 1", b"waiting 2"])
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


async def test_a_stream_that_is_full_says_what_to_do(opened: Open, server: Server) -> None:
    server.start()
    one, other = opened(), opened()
    log = await one.backend.follow("a")
    await one.append()
    info = await admin(server, "STREAM.INFO.tornado-sse")
    await admin(server, "STREAM.UPDATE.tornado-sse", {**info["config"], "max_bytes": 500})
    refused = [one.backend.append(Draft("a", b"data: x" * 100 + b"\n\n", None, f"m{i}")) for i in range(10)]
    for each in refused:
        async with failing("the stream has no room for more: raise its limits, or keep less (Retention)"):
            await each
    # All the rest goes on.
    assert await one.backend.sync() == await other.backend.sync() == 1
    assert await other.positions() == [1]
    assert held(await other.backend.follow("a")) == [1]
    await admin(server, "STREAM.UPDATE.tornado-sse", {**info["config"], "max_bytes": -1})
    again = [await one.append("a", message_id=f"m{i}") for i in range(10)]
    assert held(log) == await one.positions() == [1, *again]
    await until(lambda: other.ear.positions == again)


async def test_an_event_too_large_for_the_server(opened: Open, server: Server) -> None:
    server.start(config="max_payload: 100KB")
    one = opened()
    await one.append()
    async with failing("an event of 200008 bytes is beyond the server's max_payload, 102400"):
        await one.append("a", b"x" * 200_000)
    assert await one.append() == 2


@pytest.mark.parametrize("password", [None, "wrong"])
async def test_a_wrong_password(opened: Open, server: Server, password: str | None) -> None:
    server.start(config='authorization { user: "me", password: "right" }')
    one = opened(user="me", password=password)
    async with failing("does not let us in"):
        await one.append()
    with pytest.raises(BackendError, match="does not let us in"):
        await one.backend.follow("a")
    assert await opened(user="me", password="right").append() == 1


async def test_a_token(opened: Open, server: Server) -> None:
    server.start(config='authorization { token: "secret" }')
    assert await opened(user="secret").append() == 1


async def test_a_user_who_may_not_do_what_a_log_needs(opened: Open, server: Server) -> None:
    server.start(
        config="""authorization { users: [
            { user: me, password: right }
            { user: reader, password: right, permissions: { publish: { deny: "tornado-sse.>" } } }
        ] }"""
    )
    assert await opened(user="me", password="right").append() == 1
    async with failing("ermissions"):
        await opened(user="reader", password="right").append()


async def test_a_server_without_jetstream(opened: Open, server: Server) -> None:
    server.start(jetstream=False)
    async with failing("no JetStream (its option is -js)"):
        await opened().append()


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


async def test_much_is_caught_up_with_in_order(opened: Open, server: Server) -> None:
    server.start()
    async with Cutter(server.host, server.port) as network:
        one, other = opened(network), opened()
        for name in "abc":
            await one.backend.follow(name)
        network.cut()
        missed = await asyncio.gather(
            *(other.append("abcd"[i % 4], b"x" * (100 + i % 3 * 1_000)) for i in range(1_000))
        )
        network.heal()
        await until(lambda: one.ear.position == missed[-1])
        assert one.ear.positions == [position for i, position in enumerate(missed) if i % 4 < 3]
        assert one.ear.gaps == []
        await one.backend.close()


async def test_what_was_dropped_meanwhile_is_a_gap_and_no_more_than_that(
    opened: Open, server: Server
) -> None:
    server.start()
    limit = Retention(events=20, bytes=None, age=None, keys=None)
    async with Cutter(server.host, server.port) as network:
        one, other = opened(network, limit), opened(retention=limit)
        log = await one.backend.follow("a")
        quiet = await one.backend.follow("b")
        await one.append("b")
        network.cut()
        missed = await asyncio.gather(*(other.append() for _ in range(100)))
        async with asyncio.timeout(DEADLINE):
            while len(await other.positions()) > 25:  # noqa: ASYNC110 - it is the server that has it
                await asyncio.sleep(0.02)
        network.heal()
        # The floor that was written has a position too.
        await until(lambda: one.ear.position > missed[-1])
        assert one.ear.gaps == ["a"]
        assert held(log) == (await one.positions())[-20:] == missed[-20:]
        assert log.start == missed[-21]
        assert (held(quiet), quiet.start) == ([1], 0)
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
        # A second until the next look, and the time that one may take.
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


async def test_a_connection_that_takes_no_bytes_any_more_is_given_up(opened: Open, server: Server) -> None:
    server.start()
    async with Cutter(server.host, server.port) as network:
        one = opened(network)
        await one.append()
        network.freeze()
        # More than the kernel holds for a peer that reads nothing.
        appending = [asyncio.ensure_future(one.append("a", b"x" * 500_000)) for _ in range(40)]
        await within(asyncio.gather(*appending, return_exceptions=True))
        async with asyncio.timeout(DEADLINE):
            while True:
                with contextlib.suppress(BackendError):
                    await one.append("a", message_id="m")
                    break
        positions = await one.positions()
        assert positions == [*range(1, len(positions) + 1)]
        await one.backend.close()


async def test_what_lost_its_answer_is_not_appended_twice(opened: Open, server: Server) -> None:
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
    server.start(config="max_pending: 1MB")
    async with Cutter(server.host, server.port) as network:
        one, other = opened(network), opened()
        log = await one.backend.follow("a")
        network.hold()
        appended = await asyncio.gather(*(other.append("a", b"x" * 5_000) for _ in range(5_000)))
        network.heal()
        await until(lambda: one.ear.position == appended[-1])
        assert one.ear.positions == await one.positions() == appended
        assert (one.ear.epochs, one.ear.gaps) == (0, [])
        assert log.end == appended[-1]
        await one.backend.close()


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
            address = Address([(network.host, network.port)])
            backend = NATSBackend(address, lambda channel: UNLIMITED, timeout=TIMEOUT / 2, cache=cache)
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

        async def follow_others(one: Opened[NATSBackend]) -> None:
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
