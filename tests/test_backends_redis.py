from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from tornado.ioloop import IOLoop

from tests.opened import UNLIMITED, Opened, held
from tests.support import DEADLINE, Connect, Logs, until, within
from tests.valkey import Server, program, running
from tornado_sse import Broker, SSEHandler
from tornado_sse.backends import open_backend, redis_log
from tornado_sse.backends.base import RetentionOf
from tornado_sse.backends.redis import RedisBackend, from_url
from tornado_sse.backends.redis_address import Address
from tornado_sse.errors import BackendError
from tornado_sse.log import OVERHEAD, Retention
from tornado_sse.record import Draft, format_id
from tornado_sse.testing import check_backend

pytestmark = pytest.mark.gen_test

Open = Callable[..., Opened[RedisBackend]]

_prefixes = itertools.count(1)


class Clock:
    """How far the log's clock is ahead of the server's."""

    ahead = 0.0

    def __call__(self) -> float:
        return self.ahead

    def advance(self, seconds: float) -> None:
        self.ahead += seconds


@pytest.fixture
def prefix() -> str:
    return f"test-{next(_prefixes)}"


@pytest.fixture
def opened(io_loop: IOLoop, redis_server: Server, prefix: str) -> Iterator[Open]:
    loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]
    made: list[RedisBackend] = []

    def open(retention: Retention | RetentionOf = UNLIMITED, **options: Any) -> Opened[RedisBackend]:
        same = (lambda channel: retention) if isinstance(retention, Retention) else retention
        address = options.pop("address", Address(redis_server.host, redis_server.port))
        backend = RedisBackend(address, same, **{"prefix": prefix, **options})
        made.append(backend)
        return Opened(backend)

    yield open
    for backend in made:
        loop.run_until_complete(backend.close())


@pytest.fixture
def keys(redis_server: Server, prefix: str) -> Callable[[], set[str]]:
    """Return a function that returns the names of the log's keys, without its root."""
    root = f"{{{prefix}}}"
    return lambda: {
        key.decode().removeprefix(f"{root}/")
        for key in redis_server.ask("KEYS", f"{root}*")
        if b"/w/" not in key
    }


async def eventually(ask: Callable[[], Awaitable[Any]], answer: object) -> None:
    """Ask until this is the answer."""
    async with asyncio.timeout(DEADLINE):
        while True:
            if await ask() == answer:
                return
            await asyncio.sleep(0.01)


# The contract


@pytest.mark.gen_test(timeout=60)
async def test_it_keeps_the_contract(redis_server: Server, prefix: str) -> None:
    clock = Clock()
    address = Address(redis_server.host, redis_server.port)
    await check_backend(
        lambda retention: RedisBackend(address, retention, prefix=prefix, ahead=clock),
        durable=True,
        shared=True,
        advance=clock.advance,
    )


@pytest.mark.gen_test(timeout=60)
async def test_it_keeps_the_contract_with_hardly_any_cache_and_reading_in_many_parts(
    redis_server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_log, "_AT_ONCE", 1)
    cache = Retention(bytes=1, keys=None)
    address = Address(redis_server.host, redis_server.port)
    await check_backend(
        lambda retention: RedisBackend(address, retention, prefix=prefix, cache=cache),
        durable=True,
        shared=True,
    )


# Appending


async def test_what_is_appended_meanwhile_shares_a_round_trip(opened: Open, monkeypatch: Any) -> None:
    one = opened()
    await one.append()
    numbers = one.backend._writer._number
    positions = await asyncio.gather(*(one.append() for _ in range(100)))
    assert positions == [*range(2, 102)]
    assert one.backend._writer._number - numbers == 1


async def test_a_batch_is_bounded_and_the_next_one_follows(opened: Open) -> None:
    one = opened()
    await one.backend.follow("a")
    positions = await asyncio.gather(*(one.append() for _ in range(1_200)))
    assert positions == one.ear.positions == [*range(1, 1_201)]
    assert one.backend._writer._number == 3


async def test_the_listener_has_been_told_when_an_append_is_done(opened: Open) -> None:
    one = opened()
    await one.backend.follow("a")
    for _ in range(20):
        position = await one.append()
        assert (one.ear.position, one.ear.positions[-1]) == (position, position)


async def test_what_can_not_be_written_fails_alone(opened: Open) -> None:
    one = opened()
    good = one.backend.append(Draft("a", b"data: x\n\n"))
    for draft in (Draft("a", b"data: x\n\n", "\ud800"), Draft("a", b"data: x\n\n", None, "\ud800")):
        with pytest.raises(BackendError, match="has no UTF-8"):
            one.backend.append(draft)
    assert await good == 1


async def test_a_retention_that_raises_is_the_publishers_problem(opened: Open) -> None:
    def retention(channel: str) -> Retention:
        if channel == "bad":
            raise LookupError(channel)
        return UNLIMITED

    one = opened(retention)
    with pytest.raises(LookupError):
        one.backend.append(Draft("bad", b"data: x\n\n"))
    assert await one.append("good") == 1


async def test_asking_before_it_has_been_started(redis_server: Server) -> None:
    backend = from_url(redis_server.url, lambda channel: Retention())
    with pytest.raises(BackendError, match="has not been started"):
        backend.append(Draft("a", b"data: x\n\n"))
    with pytest.raises(BackendError, match="has not been started"):
        await backend.sync()
    await backend.close()


async def test_many_close_at_once(opened: Open) -> None:
    one = opened()
    appending = asyncio.ensure_future(one.append())
    await asyncio.sleep(0)
    await asyncio.gather(*(one.backend.close() for _ in range(3)))
    assert await appending == 1


# Reading


async def test_a_log_in_memory_has_the_recent_events_only(opened: Open) -> None:
    one = opened(cache=Retention(events=10, bytes=None, age=None, keys=None))
    await one.append("a", key="k")
    await asyncio.gather(*(one.append() for _ in range(50)))
    log = await one.backend.follow("a")
    assert held(log) == [1, *range(42, 52)]
    assert log.start == 41
    assert (await one.backend.read("a", 0, 1)).floor == 0


async def test_a_log_in_memory_is_bounded_in_bytes(opened: Open) -> None:
    size = len(b"data: x\n\n") + 30 + OVERHEAD
    one = opened(cache=Retention(events=None, bytes=10 * size, age=None, keys=None))
    await asyncio.gather(*(one.append() for _ in range(50)))
    log = await one.backend.follow("a")
    assert 9 <= len(log) <= 12
    assert log.start == 50 - len(log)


async def test_a_state_that_is_read_in_parts_has_each_key_once(opened: Open, monkeypatch: Any) -> None:
    monkeypatch.setattr(redis_log, "_AT_ONCE", 300)
    one = opened()
    await asyncio.gather(*(one.append("a", b"%d" % i, f"k{i}") for i in range(50)))
    ask = one.backend._reading.ask
    parts = 0

    async def ask_and_replace(name: str, *args: Any, **options: Any) -> Any:
        nonlocal parts
        answer = await ask(name, *args, **options)
        if name == "tail":
            parts += 1
            if parts < 10:
                await one.append("a", b"new", f"k{parts}")
        return answer

    monkeypatch.setattr(one.backend._reading, "ask", ask_and_replace)
    state = await one.backend.state("a")
    assert parts > 10
    assert {record.key for record in state} == {f"k{i}" for i in range(50)}
    assert len(state) == 50
    assert [record.position for record in state] == sorted(record.position for record in state)


async def test_an_event_larger_than_a_page_costs_one_page(opened: Open) -> None:
    one = opened()
    for _ in range(3):
        await one.append("a", b"x" * 100_000)
    page = await one.backend.read("a", 0, 1)
    assert (len(page.records), page.more) == (1, True)


# Following


async def test_a_thousand_channels_need_no_more_connections_than_one(
    opened: Open, redis_server: Server
) -> None:
    def connections() -> int:
        return len(redis_server.ask("CLIENT", "LIST").splitlines())

    before = connections()
    one, other = opened(), opened()
    await other.append("channel.0")
    await one.backend.follow("channel.0")
    await asyncio.gather(*(one.backend.follow(f"channel.{i}") for i in range(1_000)))
    for i in range(0, 1_000, 100):
        await other.append(f"channel.{i}")
    await until(lambda: len(one.ear.told) == 10)
    assert connections() <= before + 2 * 3


async def test_who_unfollows_is_not_sent_anything_any_more(
    opened: Open, redis_server: Server, prefix: str
) -> None:
    def topics() -> list[bytes]:
        return [
            topic
            for topic in redis_server.ask("PUBSUB", "SHARDCHANNELS", f"{{{prefix}}}*")
            if b"/c/" in topic
        ]

    one = opened()
    await asyncio.gather(*(one.backend.follow(name) for name in "abc"))
    assert len(topics()) == 3
    for name in "ab":
        one.backend.unfollow(name)
    await until(lambda: len(topics()) == 1)
    await one.append("a")
    assert one.ear.told == []


async def test_to_unfollow_and_to_follow_again_at_once(opened: Open) -> None:
    one, other = opened(), opened()
    appending = asyncio.ensure_future(_append_many(other, 300))
    for _ in range(30):
        log = await one.backend.follow("a")
        before, begin = held(log), len(one.ear.told)
        await one.append("b")
        upto, told = one.backend.position, one.ear.positions[begin:]
        assert held(log) == before + told
        assert before + told == [each for each in await one.positions() if each <= upto]
        one.backend.unfollow("a")
    await appending


async def _append_many(one: Opened[RedisBackend], count: int) -> None:
    for _ in range(count):
        await one.append()


async def test_what_another_process_appends_is_told_in_order(opened: Open) -> None:
    one, other = opened(), opened()
    await asyncio.gather(one.backend.follow("a"), other.backend.follow("a"))
    await asyncio.gather(*(each.append() for _ in range(200) for each in (one, other)))
    await until(lambda: len(one.ear.told) == len(other.ear.told) == 400)
    assert one.ear.positions == other.ear.positions == [*range(1, 401)]


class Follow(SSEHandler):
    async def open(self, channel: str) -> None:
        await self.subscribe(channel)


async def test_a_client_whose_events_are_in_memory_costs_the_server_nothing(
    opened: Open,
    serve: Callable[..., None],
    connect: Connect,
    redis_server: Server,
    monkeypatch: Any,
    prefix: str,
) -> None:
    broker = Broker(f"{redis_server.url}?prefix={prefix}")
    serve(Follow, sse_broker=broker)
    first = await (await connect()).request("/follow/a")
    ids = [await broker.publish("a", i) for i in range(5)]
    assert [event.id for event in await first.events(5)] == ids
    asked: list[str] = []
    backend = broker._backend
    assert isinstance(backend, RedisBackend)
    for link in (backend._reading, backend._writing):
        ask = link.ask

        async def noting(name: str, *args: Any, ask: Any = ask, **options: Any) -> Any:
            asked.append(name)
            return await ask(name, *args, **options)

        monkeypatch.setattr(link, "ask", noting)
    for _ in range(10):
        again = await (await connect()).request("/follow/a", headers=[("Last-Event-ID", ids[1])])
        assert [event.id for event in await again.events(3)] == ids[2:]
    assert {*asked} <= {"mark", "sweep"}, "those of the pulse"
    assert len(asked) <= 4
    await broker.close()


# Retention


async def test_a_channel_is_kept_near_its_limits_and_costs_what_is_in_it(
    opened: Open, redis_server: Server, prefix: str
) -> None:
    one = opened(Retention(events=80, bytes=None, age=None, keys=8))
    for _ in range(500):
        one.backend.append(Draft("a", b"data: x\n\n"))
    await asyncio.gather(*(one.append("a", key=f"k{i}") for i in range(100)))
    assert 80 <= redis_server.ask("XLEN", f"{{{prefix}}}/e/a") <= 90
    assert 8 <= redis_server.ask("ZCARD", f"{{{prefix}}}/k/a") <= 9
    assert redis_server.ask("ZCARD", f"{{{prefix}}}/k/a") == redis_server.ask("HLEN", f"{{{prefix}}}/v/a")


async def test_names_come_and_go_without_a_trace_but_the_floor(
    opened: Open, keys: Callable[[], set[str]]
) -> None:
    clock = Clock()
    one = opened(Retention(age=60), ahead=clock)
    await asyncio.gather(*(one.append(f"name.{i}", key=["k", None][i % 2]) for i in range(250)))
    assert {"i/name.0", "k/name.0", "v/name.0", "e/name.1"} <= keys()
    clock.advance(61)
    await until(lambda: not [key for key in keys() if key[1] == "/"])
    page = await one.backend.read("name.7", 0, 1)
    assert (page.records, page.floor) == ([], 250)
    # One that comes back is whole from there on.
    assert await one.append("name.7") == 251
    page = await one.backend.read("name.7", 0, 1)
    assert (len(page.records), page.floor) == (1, 250)


async def test_many_events_that_are_too_old_are_dropped_some_at_a_time(opened: Open) -> None:
    clock = Clock()
    one = opened(Retention(events=None, bytes=None, keys=None, age=60), ahead=clock)
    await asyncio.gather(*(one.append("a", key=[None, f"k{i}"][i % 2]) for i in range(5_000)))
    clock.advance(61)
    last = await one.append("a")
    await eventually(one.positions, [last])
    assert (await one.backend.read("a", 0, 1)).floor == 5_000


async def test_an_age_that_is_changed_counts_for_what_is_there(opened: Open) -> None:
    clock = Clock()
    one = opened(Retention(age=1_000), ahead=clock)
    await one.append("a")
    two = opened(Retention(age=10), ahead=clock)
    clock.advance(11)
    last = await two.append("a")
    await eventually(two.positions, [last])


async def test_what_is_too_old_leaves_the_logs_in_memory_too(opened: Open) -> None:
    clock = Clock()
    one = opened(Retention(age=60), ahead=clock)
    log = await one.backend.follow("a")
    await one.append()
    clock.advance(61)
    await until(lambda: not len(log))


async def test_a_message_id_is_remembered_for_two_minutes(
    opened: Open, redis_server: Server, prefix: str
) -> None:
    one = opened()
    await one.append("a:b", message_id="c/d")
    assert 119_000 < redis_server.ask("PTTL", f"{{{prefix}}}/m/a:b/c/d") <= 120_000
    assert await one.append("a", message_id="b/c/d") == 2
    assert await one.append("a:b", message_id="c/d") == 1


# Other logs, and none


async def test_logs_of_other_names_and_databases_are_not_heard(opened: Open, redis_server: Server) -> None:
    one = opened()
    others = [
        opened(prefix="another"),
        opened(address=Address(redis_server.host, redis_server.port, 1)),
    ]
    for each in (one, *others):
        await each.backend.follow("a")
        assert await each.append() == 1
    assert [len(each.ear.told) for each in (one, *others)] == [1, 1, 1]
    assert len({each.backend.epoch for each in (one, *others)}) == 3
    assert one.backend._subscription.generation == 1
    redis_server.ask("DEL", "{another}")


async def test_a_log_that_is_deleted_is_made_anew(
    opened: Open, redis_server: Server, keys: Callable[[], set[str]], prefix: str
) -> None:
    one, other = opened(), opened()
    logs = [await each.backend.follow("a") for each in (one, other)]
    await one.append()
    await one.append("a", key="k")
    epoch = one.backend.epoch
    for key in keys():
        redis_server.ask("DEL", f"{{{prefix}}}/{key}" if not key.startswith("{") else key)
    # The first append after that finds out, and is of the new epoch.
    assert await one.append() == 1
    assert one.backend.epoch != epoch
    await until(lambda: other.backend.epoch == one.backend.epoch and other.backend.position == 1)
    assert (one.ear.epochs, other.ear.epochs) == (1, 1)
    assert await other.append() == 2
    await until(lambda: one.backend.position == 2)
    assert held(logs[0])[-1] == held(logs[1])[-1] == 2
    assert await one.positions() == [1, 2]


async def test_an_epoch_that_is_renewed_by_another_process_is_heard_of(
    opened: Open, redis_server: Server, prefix: str
) -> None:
    one, other = opened(), opened()
    log = await one.backend.follow("a")
    await one.append()
    redis_server.ask("HSET", f"{{{prefix}}}", "epoch", "renewed")
    assert await other.append() == 2
    assert other.backend.epoch == "renewed"
    await until(lambda: one.backend.epoch == "renewed" and one.backend.position == 2)
    assert (one.ear.epochs, other.ear.epochs) == (1, 1)
    assert await one.append() == 3
    assert held(log)[-1] == 3
    assert [record.frame.split()[1] for record in await one.all()] == [b"renewed-%d" % i for i in (1, 2, 3)]


async def test_a_log_that_is_deleted_is_found_missing_though_nobody_appends(
    opened: Open, redis_server: Server, prefix: str
) -> None:
    one = opened()
    await one.append()
    redis_server.ask("DEL", f"{{{prefix}}}")
    await until(lambda: one.ear.epochs == 1)
    assert one.backend.position == 0


async def test_reading_from_a_log_that_has_been_deleted_says_so_once(
    opened: Open, redis_server: Server, prefix: str
) -> None:
    one = opened()
    await one.append()
    redis_server.ask("DEL", f"{{{prefix}}}")
    with pytest.raises(BackendError, match="it has begun anew meanwhile; ask again"):
        await one.positions()
    assert await one.positions() == []


async def test_who_hears_nothing_of_what_is_in_the_log_is_told_so(opened: Open, monkeypatch: Any) -> None:
    one = opened(timeout=0.4)
    await one.append()

    async def catch_up() -> None:
        raise BackendError("redis", "no")

    monkeypatch.setattr(one.backend, "hear", lambda channel, data: None)
    monkeypatch.setattr(one.backend, "catch_up", catch_up)
    with pytest.raises(BackendError, match="an answer has come, but not what was published with it"):
        await one.append()
    monkeypatch.undo()
    await one.backend.sync()
    assert await one.positions() == [1, 2]


async def test_remnants_of_another_log_count_as_nothing(
    opened: Open, redis_server: Server, prefix: str
) -> None:
    one = opened()
    await one.append()
    await one.append("a", key="k")
    await one.append("b", key="k")
    redis_server.ask("DEL", f"{{{prefix}}}")
    assert await one.append() == 1
    assert await one.positions() == [1]
    assert await one.backend.state("a") == await one.backend.state("b") == []
    log = await one.backend.follow("b")
    assert (held(log), log.start) == ([], 0)


async def test_a_policy_that_drops_events_is_warned_of(
    opened: Open, redis_server: Server, logs: Logs
) -> None:
    redis_server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        await opened().append()
        redis_server.ask("CONFIG", "SET", "maxmemory", "1gb")
        one = opened()
        await one.append()
        await one.append()
        logs.claim(
            r"drops what it likes when it is full \(maxmemory-policy allkeys-lru\).*set it to noeviction"
        )
    finally:
        redis_server.ask("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")


# Other ways to a server


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with running("valkey", tmp_path / "data", unixsocket=path):
        backend = open_backend(f"redis+unix://{path}?db=1", lambda channel: UNLIMITED)
        one = Opened(backend)
        assert await one.append() == 1
        await backend.close()


async def test_tls_is_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)
    certificate.cert_chain_pems[0].write_to_path(cert)
    certificate.private_key_pem.write_to_path(key)
    options = {"tls_ca_cert_file": ca, "tls_cert_file": cert, "tls_key_file": key, "tls_auth_clients": "no"}
    with running("redis", tmp_path / "data", tls=True, **options) as server:
        good = Opened(from_url(f"rediss://127.0.0.1:{server.port}?ca={ca}", lambda channel: UNLIMITED))
        assert await good.append() == 1
        await good.backend.close()
        bad = Opened(from_url(f"rediss://127.0.0.1:{server.port}?timeout=1", lambda channel: UNLIMITED))
        with pytest.raises(BackendError, match="certificate verify failed"):
            await within(bad.append())
        await bad.backend.close()


async def test_any_node_of_a_cluster_leads_to_the_one_that_has_the_log(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        # By default the port of the nodes' own connections is so much higher, and may be too high.
        one, two = (
            stack.enter_context(Server(program("redis"), tmp_path / name, cluster_enabled="yes"))
            for name in "12"
        )
        for each in (one, two):
            each.options["cluster_port"] = each.port - 10_000
            each.start()
        slot = one.ask("CLUSTER", "KEYSLOT", "{tornado-sse}")
        one.ask("CLUSTER", "ADDSLOTSRANGE", 0, slot - 1, slot + 1, 16383)
        two.ask("CLUSTER", "ADDSLOTS", slot)
        one.ask("CLUSTER", "MEET", two.host, two.port, two.port - 10_000)
        await until(lambda: all(b"cluster_state:ok" in each.ask("CLUSTER", "INFO") for each in (one, two)))
        await check_backend(
            lambda retention: RedisBackend(Address(one.host, one.port), retention), durable=True, shared=True
        )
        assert two.ask("DBSIZE") > 0


def test_ids_in_a_hole_are_not_reached() -> None:
    backend = RedisBackend(Address("nowhere", 1), lambda channel: UNLIMITED)
    backend.on_begun("e", 2**33 + 500)
    backend._holes = [100, 2**32 + 300]
    for position, is_there in (
        (0, True), (100, True), (101, False), (2**32 + 99, False), (2**32 + 100, True), (2**32 + 300, True),
        (2**32 + 301, False), (2**33 + 299, False), (2**33 + 300, True), (2**33 + 501, False),
    ):  # fmt: skip
        assert backend.reaches(position) is is_there, format_id("e", position)
