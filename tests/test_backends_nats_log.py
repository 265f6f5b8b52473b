from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from tests.nats_server import Server
from tests.opened import UNLIMITED, Opened
from tornado_sse.backends import nats_log
from tornado_sse.backends.nats import NATSBackend
from tornado_sse.backends.nats_address import Address
from tornado_sse.backends.nats_link import Link
from tornado_sse.backends.nats_log import Log
from tornado_sse.backends.nats_names import Floors
from tornado_sse.errors import BackendError
from tornado_sse.log import Retention

pytestmark = pytest.mark.gen_test

_streams = itertools.count(1)


@pytest.fixture
def one(io_loop: IOLoop, nats_server: Server) -> Iterator[Opened[NATSBackend]]:
    loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]
    address = Address([(nats_server.host, nats_server.port)])

    async def open() -> Opened[NATSBackend]:
        return Opened(NATSBackend(address, lambda channel: UNLIMITED, stream=f"log-{next(_streams)}"))

    one = loop.run_until_complete(open())
    yield one
    loop.run_until_complete(one.backend.close())


async def reading(one: Opened[NATSBackend]) -> tuple[Log, Link]:
    return one.backend._log, await one.backend._session.linked()


async def test_a_position_with_so_many_after_it(one: Opened[NATSBackend]) -> None:
    await asyncio.gather(*(one.append("ab"[i % 3 == 0]) for i in range(300)))
    log, link = await reading(one)
    subject = one.backend._names.plain("a")
    first, total = await log.count(link, subject)
    assert first is not None
    assert (first.sequence, total) == (2, 200)
    assert await log.count(link, subject, 300) == (None, 0)
    for fewest, most in ((1, 1), (50, 50), (100, 120), (199, 199)):
        found = await log.find(link, subject, fewest, most, 0, 300)
        _, count = await log.count(link, subject, found)
        assert fewest <= count <= most
    assert await log.count(link, one.backend._names.plain("never")) == (None, 0)


@pytest.mark.parametrize("size", [500, 1_000_000])
async def test_what_was_missed_comes_in_order_however_it_is_read(
    one: Opened[NATSBackend], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(nats_log, "_BYTES", size)
    positions = await asyncio.gather(*(one.append("abc"[i % 3], b"x" * (i % 7 * 50)) for i in range(100)))
    await one.append("d")
    log, link = await reading(one)
    seen: list[int] = []
    after = 10
    async for floors, records, position in log.missed(link, "ab", 10, 101):
        assert floors == {}
        assert all(after < record.position <= position for record in records)
        seen += [record.position for record in records]
        after = position
    assert after == 101
    assert seen == [each for i, each in enumerate(positions) if i % 3 < 2 and each > 10]
    assert [each async for each in log.missed(link, "ab", 101, 101)] == []
    assert [each async for each in log.missed(link, "", 5, 101)] == [({}, [], 101)]


async def test_what_is_up_to_a_floor_is_left_out(one: Opened[NATSBackend]) -> None:
    for i in range(10):
        await one.append("a", key=[None, f"k{i}"][i % 2])
    log, link = await reading(one)
    await one.backend._sweeper._raise_floors(link, "a", Floors(5, 2))
    assert await one.positions() == [4, 6, 7, 8, 9, 10]
    assert [record.position for record in await log.state(link, "a")] == [4, 6, 8, 10]
    tail = await log.tail(link, "a", 10, Retention())
    assert ([record.position for record in tail.records], tail.start) == ([4, 6, 7, 8, 9, 10], 5)
    async for floors, _, _ in log.missed(link, "a", 4, 10):
        assert floors == {"a": 5}


async def test_an_empty_tail(one: Opened[NATSBackend]) -> None:
    log, link = await reading(one)
    assert await log.tail(link, "a", 7, Retention()) == ([], 0, 7)


async def test_a_tail_of_large_events_is_not_read_whole(
    one: Opened[NATSBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.gather(*(one.append("a", b"x" * 50_000) for i in range(100)))
    log, link = await reading(one)
    get, read = log._get, 0

    async def counting(link: Link, request: dict[str, object]) -> nats_log.Batch:
        nonlocal read
        batch = await get(link, request)
        read += sum(len(message.data) for message in batch.messages)
        return batch

    monkeypatch.setattr(log, "_get", counting)
    tail = await log.tail(link, "a", 100, Retention(bytes=200_000))
    assert [record.position for record in tail.records] == [*range(98, 101)]
    assert tail.start == 97
    assert read < 2_500_000


async def test_a_replica_that_stays_behind(one: Opened[NATSBackend], monkeypatch: pytest.MonkeyPatch) -> None:
    await one.append()
    log, _ = await reading(one)
    log.replicated = True
    get, behind = log._get, 3

    async def lagging(link: Link, request: dict[str, object]) -> nats_log.Batch:
        nonlocal behind
        behind -= 1
        return nats_log.Batch([], 0) if behind >= 0 else await get(link, request)

    monkeypatch.setattr(log, "_get", lagging)
    assert await one.positions() == [1]
    behind = 10**9
    monkeypatch.setattr(nats_log, "_PAUSE", 0)
    with pytest.raises(BackendError, match="stays behind its leader"):
        await one.positions()
