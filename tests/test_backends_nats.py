from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from tornado.ioloop import IOLoop

from tests.nats_server import Server, admin, running
from tests.opened import UNLIMITED, Opened, held
from tests.support import DEADLINE, SECOND, Connect, until, within
from tornado_sse import Broker, SSEHandler
from tornado_sse.backends import nats_log, open_backend
from tornado_sse.backends.base import RetentionOf
from tornado_sse.backends.nats import NATSBackend, from_url
from tornado_sse.backends.nats_address import Address
from tornado_sse.backends.nats_names import Floors
from tornado_sse.errors import BackendError, SettingError
from tornado_sse.log import OVERHEAD, Retention
from tornado_sse.record import Draft
from tornado_sse.testing import check_backend

pytestmark = pytest.mark.gen_test

Open = Callable[..., Opened[NATSBackend]]

_streams = itertools.count(1)


@pytest.fixture
def stream() -> str:
    return f"test-{next(_streams)}"


@pytest.fixture
def address(nats_server: Server) -> Address:
    return Address([(nats_server.host, nats_server.port)])


@pytest.fixture
def opened(io_loop: IOLoop, address: Address, stream: str) -> Iterator[Open]:
    loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]
    made: list[NATSBackend] = []

    def open(retention: Retention | RetentionOf = UNLIMITED, **options: Any) -> Opened[NATSBackend]:
        same = (lambda channel: retention) if isinstance(retention, Retention) else retention
        backend = NATSBackend(address, same, **{"stream": stream, **options})
        made.append(backend)
        return Opened(backend)

    yield open
    for backend in made:
        loop.run_until_complete(backend.close())


async def eventually(ask: Callable[[], Awaitable[Any]], answer: object) -> None:
    """Ask until this is the answer."""
    async with asyncio.timeout(DEADLINE):
        while await ask() != answer:  # noqa: ASYNC110 - it is the server that has it
            await asyncio.sleep(0.01)


# The contract


@pytest.mark.gen_test(timeout=60)
async def test_it_keeps_the_contract(address: Address, stream: str) -> None:
    # The time is the server's: so many times faster than a check would have it.
    faster = 40 / SECOND

    def hurried(retention: RetentionOf) -> RetentionOf:
        def of(channel: str) -> Retention:
            limit = retention(channel)
            return limit if limit.age is None else replace(limit, age=limit.age / faster)

        return of

    await check_backend(
        lambda retention: NATSBackend(address, hurried(retention), stream=stream),
        durable=True,
        shared=True,
        advance=lambda seconds: time.sleep(seconds / faster),
    )


@pytest.mark.gen_test(timeout=60)
async def test_it_keeps_the_contract_with_hardly_any_cache_and_reading_in_many_parts(
    address: Address, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_log, "_BYTES", 1_000)
    cache = Retention(bytes=1, keys=None)
    await check_backend(
        lambda retention: NATSBackend(address, retention, stream=stream, cache=cache, storage="memory"),
        durable=True,
        shared=True,
    )


# URLs


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nats://", "does not name a server"),
        ("nats://host:0", "does not name a server"),
        ("nats://host/stream", "has a path; write the stream as ?stream=name"),
        ("nats://host?streem=x", "has the parameter 'streem'; there is stream, prefix, timeout, storage, "),
        ("nats://host?stream=a.b", "stream is 1 to 100 of letters, digits and _ -, not 'a.b'"),
        ("nats://host?replicas=2", "replicas is 1, 3 or 5, not '2'"),
        ("nats://host?ca=x", "the parameter 'ca'"),
        ("nats://me:secret@host?storage=tape", "'nats://***@host?storage=tape': storage is file or memory"),
    ],
)  # fmt: skip
def test_a_url_that_makes_no_sense_is_told_in_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(SettingError) as caught:
        open_backend(url, lambda channel: UNLIMITED)
    assert sentence in str(caught.value)


async def test_a_url_says_it_all(nats_server: Server, stream: str) -> None:
    url = f"{nats_server.url}?stream={stream}&prefix=p-{stream}&storage=memory&replicas=1&timeout=2.5"
    one = Opened(open_backend(url, lambda channel: UNLIMITED))
    assert await one.append() == 1
    config = (await admin(nats_server, f"STREAM.INFO.{stream}"))["config"]
    assert (config["subjects"], config["storage"]) == ([f"p-{stream}.>"], "memory")
    await one.backend.close()


# Appending


async def test_the_order_of_the_calls_is_the_order_in_the_log(opened: Open) -> None:
    one = opened()
    log = await one.backend.follow("a")
    futures = [one.backend.append(Draft("a", b"data: %d\n\n" % i)) for i in range(3_000)]
    positions = [await future for future in futures]
    assert positions == [*range(1, 3_001)]
    assert one.ear.positions == positions
    assert held(log) == positions[-1_000:]


async def test_keys_of_any_text(opened: Open) -> None:
    one = opened()
    keys = [
        "",
        " ",
        ".",
        "*",
        ">",
        "a.b",
        "a b",
        "\x00\r\n",
        "=",
        "#",
        "é\U0001f600",
        "k" * 5_000,
        "k" * 5_001,
        '"',
        "%2E",
    ]
    positions = [await one.append("a", key=key) for key in keys]
    state = await one.backend.state("a")
    assert [(record.position, record.key) for record in state] == list(zip(positions, keys, strict=True))
    for each in ("\ud800", "k" * 40_000):
        with pytest.raises(BackendError, match=r"no UTF-8|too long"):
            one.backend.append(Draft("a", b"data: x\n\n", each))
    with pytest.raises(BackendError, match="no UTF-8"):
        one.backend.append(Draft("a", b"data: x\n\n", None, "\ud800"))


async def test_message_ids_of_any_text(opened: Open) -> None:
    one = opened()
    ids = ["", " ", "a", "a ", "a/b", "é", ".", "a.b", "m" * 200]
    first = [await one.append("a", message_id=each) for each in ids]
    assert [await one.append("a", message_id=each) for each in ids] == first
    assert len({*first}) == len(ids)
    assert await one.append("a:b", message_id="c") != await one.append("a", message_id="b/c")


async def test_a_retention_that_raises_is_the_publishers_problem(opened: Open) -> None:
    def retention(channel: str) -> Retention:
        if channel == "bad":
            raise LookupError(channel)
        return UNLIMITED

    one = opened(retention)
    with pytest.raises(LookupError):
        one.backend.append(Draft("bad", b"data: x\n\n"))
    assert await one.append("good") == 1


async def test_asking_before_it_has_been_started(address: Address) -> None:
    backend = NATSBackend(address, lambda channel: Retention())
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


async def test_a_log_in_memory_has_the_recent_events_and_all_keys(opened: Open) -> None:
    one = opened(cache=Retention(events=10, bytes=None, age=None, keys=None))
    await one.append("a", key="k")
    await asyncio.gather(*(one.append() for _ in range(50)))
    log = await one.backend.follow("a")
    events = held(log)
    assert events[0] == 1
    assert 8 <= len(events) - 1 <= 10
    assert events[1:] == [*range(log.start + 1, 52)]
    assert (await one.backend.read("a", 0, 1)).floor == 0


async def test_a_log_in_memory_is_bounded_in_bytes(opened: Open) -> None:
    size = len(b"data: x\n\n") + 20 + OVERHEAD
    one = opened(cache=Retention(events=None, bytes=10 * size, age=None, keys=None))
    await asyncio.gather(*(one.append() for _ in range(50)))
    log = await one.backend.follow("a")
    assert 9 <= len(log) <= 12
    assert log.start == 50 - len(log)


async def test_a_state_that_is_read_in_parts_has_each_key_once(opened: Open, monkeypatch: Any) -> None:
    monkeypatch.setattr(nats_log, "_BYTES", 300)
    one = opened()
    await asyncio.gather(*(one.append("a", b"%d" % i, f"k{i}") for i in range(50)))
    batch = one.backend._log.batch
    parts = 0

    async def batch_and_replace(*args: Any, **options: Any) -> Any:
        nonlocal parts
        answer = await batch(*args, **options)
        parts += 1
        if parts < 10:
            await one.append("a", b"new", f"k{parts}")
        return answer

    monkeypatch.setattr(one.backend._log, "batch", batch_and_replace)
    state = await one.backend.state("a")
    assert parts > 10
    assert sorted(str(record.key) for record in state) == sorted(f"k{i}" for i in range(50))
    assert [record.position for record in state] == sorted(record.position for record in state)


# Following


async def test_what_comes_to_many_channels_is_told_in_order(opened: Open) -> None:
    one, other = opened(), opened()
    names = [f"channel.{i}" for i in range(20)]
    await asyncio.gather(*(each.backend.follow(name) for each in (one, other) for name in names))
    await asyncio.gather(*(each.append(name) for _ in range(20) for name in names for each in (one, other)))
    await until(lambda: len(one.ear.told) == len(other.ear.told) == 800)
    assert one.ear.positions == other.ear.positions == [*range(1, 801)]


async def test_a_thousand_channels_need_no_more_connections_than_one(
    opened: Open, nats_server: Server
) -> None:
    before = nats_server.connections
    one, other = opened(), opened()
    await other.append("channel.0")
    await one.backend.follow("channel.0")
    await asyncio.gather(*(one.backend.follow(f"channel.{i}") for i in range(1_000)))
    for i in range(0, 1_000, 100):
        await other.append(f"channel.{i}")
    await until(lambda: len(one.ear.told) == 10)
    assert nats_server.connections == before + 2


async def test_who_unfollows_is_not_sent_anything_any_more(opened: Open, nats_server: Server) -> None:
    one = opened()
    await one.append()

    def subscriptions() -> int:
        return int(nats_server.ask("subsz")["num_subscriptions"])

    before = subscriptions()
    await asyncio.gather(*(one.backend.follow(name) for name in "abc"))
    assert subscriptions() == before + 3
    for name in "ab":
        one.backend.unfollow(name)
    await until(lambda: subscriptions() == before + 1)
    await one.append("a")
    assert one.ear.told == []


async def test_to_unfollow_and_to_follow_again_at_once(opened: Open) -> None:
    one, other = opened(), opened()

    async def append_many() -> None:
        for _ in range(300):
            await other.append()

    appending = asyncio.ensure_future(append_many())
    for _ in range(30):
        log = await one.backend.follow("a")
        before, begin = held(log), len(one.ear.told)
        await one.append("b")
        upto, told = one.backend.position, one.ear.positions[begin:]
        assert held(log) == before + told
        assert before + told == [each for each in await one.positions() if each <= upto]
        one.backend.unfollow("a")
    await appending
    assert one.ear.gaps == []


class Follow(SSEHandler):
    async def open(self, channel: str) -> None:
        await self.subscribe(channel)


async def test_a_client_whose_events_are_in_memory_costs_the_server_nothing(
    serve: Callable[..., None], connect: Connect, nats_server: Server, monkeypatch: Any, stream: str
) -> None:
    broker = Broker(f"{nats_server.url}?stream={stream}")
    serve(Follow, sse_broker=broker)
    first = await (await connect()).request("/follow/a")
    ids = [await broker.publish("a", i) for i in range(5)]
    assert [event.id for event in await first.events(5)] == ids
    backend = broker._backend
    assert isinstance(backend, NATSBackend)
    link = backend._session.link
    assert link is not None
    ask, asked = link.ask, []

    async def noting(subject: str, *args: Any, **options: Any) -> Any:
        asked.append(subject)
        return await ask(subject, *args, **options)

    monkeypatch.setattr(link, "ask", noting)
    for _ in range(10):
        again = await (await connect()).request("/follow/a", headers=[("Last-Event-ID", ids[1])])
        assert [event.id for event in await again.events(3)] == ids[2:]
    # A look, and the first sweep of the channel.
    assert not [subject for subject in asked if "DIRECT" in subject and "floor" not in subject][3:]
    await broker.close()


# Retention


async def test_a_channel_is_kept_near_its_limits(opened: Open, nats_server: Server, stream: str) -> None:
    one = opened(Retention(events=80, bytes=None, age=None, keys=8))
    for _ in range(500):
        one.backend.append(Draft("a", b"data: x\n\n"))
    await asyncio.gather(*(one.append("a", key=f"k{i}") for i in range(100)))

    async def kept() -> dict[str, int]:
        answer = await admin(nats_server, f"STREAM.INFO.{stream}", {"subjects_filter": f"{stream}.>"})
        subjects = answer["state"]["subjects"]
        return {
            "events": subjects[f"{stream}.a.e"],
            "keys": len([subject for subject in subjects if ".k." in subject]),
        }

    async with asyncio.timeout(DEADLINE):
        while (found := await kept())["events"] > 90 or found["keys"] > 9:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert found["events"] >= 80
    assert found["keys"] >= 8


async def test_what_is_too_old_is_dropped_though_nobody_appends(
    opened: Open, nats_server: Server, stream: str
) -> None:
    one = opened()
    await asyncio.gather(*(one.append(f"channel.{i}", key=[None, "k"][i % 2]) for i in range(20)))
    await one.backend.close()
    two = opened(Retention(age=0.1))
    await two.backend.sync()

    async def left() -> int:
        answer = await admin(nats_server, f"STREAM.INFO.{stream}", {"subjects_filter": f"{stream}.>"})
        return len([each for each in answer["state"]["subjects"] if not each.endswith(".f")])

    await eventually(left, 0)
    assert [await _floor(two, f"channel.{i}") for i in range(20)] == [*range(1, 21)]


async def test_what_a_retention_raises_for_is_left_alone(opened: Open) -> None:
    first = opened()
    await asyncio.gather(*(first.append(name) for name in ("bad", *["good"] * 20)))
    await first.backend.close()

    def retention(channel: str) -> Retention:
        if channel == "bad":
            raise LookupError(channel)
        return Retention(events=10)

    one = opened(retention)
    await one.backend.sync()
    await eventually(lambda: _floor(one, "good"), 11)


async def test_bytes_are_counted_though_others_append_them(opened: Open) -> None:
    limit = Retention(events=None, bytes=20_000, age=None, keys=None)
    one, other = opened(limit), opened(limit)
    for _ in range(3):
        await asyncio.gather(*(each.append("a", b"x" * 400) for _ in range(40) for each in (one, other)))

    async with asyncio.timeout(DEADLINE):
        while len(positions := await one.positions()) > 45:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert len(positions) >= 20_000 // 540
    assert (await one.backend.read("a", 0, 1)).floor == positions[0] - 1


async def test_floors_never_go_down(opened: Open) -> None:
    one = opened()
    await one.append()
    sweeper, link = one.backend._sweeper, one.backend._session.link
    assert link is not None
    floors = [Floors(3, 0), Floors(9, 1), Floors(1, 4), Floors(5, 2)]
    await asyncio.gather(*(sweeper._raise_floors(link, "a", each) for each in floors))
    assert await one.backend._log.read_floors(link, "a") == (9, 4)
    assert (await one.backend.read("a", 0, 1)).floor == 9


async def test_what_is_too_old_leaves_the_logs_in_memory_too(opened: Open) -> None:
    one = opened(Retention(age=0.3))
    log = await one.backend.follow("a")
    await one.append()
    await one.append("a", key="k")
    await until(lambda: not len(log))
    # Whether it has been dropped yet or not.
    page = await one.backend.read("a", 0, 1)
    assert (page.records, page.floor) == ([], 2)
    assert await one.backend.state("a") == []


# Other logs, and other streams


async def test_logs_of_other_names_are_not_heard(opened: Open) -> None:
    one, other = opened(), opened(stream=f"test-{next(_streams)}")
    for each in (one, other):
        await each.backend.follow("a")
        assert await each.append() == 1
    assert [len(each.ear.told) for each in (one, other)] == [1, 1]
    assert one.backend.epoch != other.backend.epoch


async def test_what_others_publish_into_the_stream_is_no_event(
    opened: Open, nats_server: Server, stream: str
) -> None:
    one = opened()
    log = await one.backend.follow("a")
    await one.append()
    link = one.backend._session.link
    assert link is not None
    for subject in ("a", "a.x", "a.k.x", "a.k", "a.e.e", "b.f"):
        await link.ask(f"{stream}.{subject}", b"whatever")
    last = await one.append()
    assert held(log) == await one.positions() == [1, last]
    assert await one.backend.state("a") == []
    assert (await one.backend.read("b", 0, 1)).floor == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"max_msgs_per_subject": 10, "discard": "old"}, "max_msgs_per_subject is 10 and not -1"),
        ({"republish": None}, "republish is null and not"),
        ({"allow_direct": False}, "allow_direct is false and not true"),
        ({"duplicate_window": 10**9}, "duplicate_window is 1000000000 and not"),
    ],
)
async def test_a_stream_that_is_not_one_for_this_is_left_alone(
    opened: Open, nats_server: Server, stream: str, change: dict[str, Any], sentence: str
) -> None:
    one = opened()
    await one.append()
    config = (await admin(nats_server, f"STREAM.INFO.{stream}"))["config"] | change
    await one.backend.close()
    await admin(nats_server, f"STREAM.DELETE.{stream}")
    await admin(nats_server, f"STREAM.CREATE.{stream}", config)
    two = opened(timeout=0.5)
    with pytest.raises(BackendError, match=sentence):
        await two.append()
    assert await admin(nats_server, f"STREAM.INFO.{stream}") is not None


async def test_limits_of_the_streams_own_are_a_floor_for_all(
    opened: Open, nats_server: Server, stream: str
) -> None:
    one = opened()
    await one.append()
    config = (await admin(nats_server, f"STREAM.INFO.{stream}"))["config"]
    await admin(nats_server, f"STREAM.UPDATE.{stream}", config | {"max_msgs": 10, "discard": "old"})
    for _ in range(30):
        await one.append("b")
    await eventually(lambda: _floor(one, "a"), 21)
    assert await one.positions("b") == [*range(22, 32)]


async def _floor(one: Opened[NATSBackend], channel: str) -> int:
    return (await one.backend.read(channel, 0, 1)).floor


async def test_what_a_broken_route_has_lost_is_a_gap(opened: Open) -> None:
    one, other = opened(), opened()
    log = await one.backend.follow("a")
    await other.append()
    await until(lambda: one.ear.positions == [1])
    hearing = one.backend._hearing
    hear, hearing.hear = hearing.hear, lambda message: None  # type: ignore[method-assign]
    await other.append()
    await one.backend.sync()
    hearing.hear = hear  # type: ignore[method-assign]
    assert await other.append() == 3
    await until(lambda: one.ear.positions == [1, 3])
    assert (one.ear.gaps, log.start) == (["a"], 2)


# Other ways to a server


async def test_tls_is_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)
    certificate.cert_chain_pems[0].write_to_path(cert)
    certificate.private_key_pem.write_to_path(key)
    with running(tmp_path / "nats", f'tls {{ cert_file: "{cert}", key_file: "{key}" }}') as server:
        good = Opened(from_url(f"tls://127.0.0.1:{server.port}?ca={ca}", lambda channel: UNLIMITED))
        assert await good.append() == 1
        await good.backend.close()
        bad = Opened(from_url(f"tls://127.0.0.1:{server.port}?timeout=0.5", lambda channel: UNLIMITED))
        with pytest.raises(BackendError, match="certificate verify failed"):
            await within(bad.append())
        await bad.backend.close()


async def test_one_of_many_servers_is_enough(opened: Open, nats_server: Server, stream: str) -> None:
    address = Address([("127.0.0.1", 1), (nats_server.host, nats_server.port)])
    one = Opened(NATSBackend(address, lambda channel: UNLIMITED, stream=stream))
    assert await one.append() == 1
    await one.backend.close()
