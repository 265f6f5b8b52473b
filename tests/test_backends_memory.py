from __future__ import annotations

from collections.abc import Sequence

import pytest

from tornado_sse.backends.base import WINDOW
from tornado_sse.backends.memory import MemoryBackend
from tornado_sse.errors import BackendError
from tornado_sse.log import Retention
from tornado_sse.record import Draft, Record, parse_id
from tornado_sse.testing import check_backend

pytestmark = pytest.mark.gen_test

FRAME = b"data: x\n\n"


class Ear:
    def __init__(self) -> None:
        self.told: list[Record] = []
        self.position = 0

    def on_records(self, records: Sequence[Record], position: int) -> None:
        self.told += records
        self.position = position

    def on_gap(self, channel: str) -> None:
        raise AssertionError("nothing is lost")

    def on_epoch(self) -> None:
        raise AssertionError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def opened(retention: Retention | None = None, clock: Clock | None = None) -> tuple[MemoryBackend, Ear]:
    kept = retention or Retention()
    backend = MemoryBackend(lambda channel: kept, clock or Clock())
    ear = Ear()
    backend.start(ear)
    return backend, ear


async def test_it_keeps_the_contract() -> None:
    clock = Clock()
    await check_backend(lambda retention: MemoryBackend(retention, clock), advance=clock.advance)


async def test_it_acknowledges_at_once_and_has_told_by_then() -> None:
    backend, ear = opened()
    await backend.follow("a")
    assert backend.append(Draft("a", FRAME)) == 1
    assert backend.append(Draft("b", FRAME)) == 2
    assert [record.position for record in ear.told] == [1]
    assert ear.position == backend.position == await backend.sync() == 2


async def test_message_ids_are_forgotten_when_nobody_will_send_them_again() -> None:
    clock = Clock()
    backend, ear = opened(clock=clock)
    draft = Draft("a", FRAME, None, "m")
    assert backend.append(draft) == 1
    clock.advance(WINDOW)
    assert backend.append(draft) == 1
    clock.advance(0.1)
    assert backend.append(draft) == 2
    assert len(backend._ids) == 1
    assert ear.position == 2


async def test_each_one_is_another_epoch() -> None:
    one, two = opened()[0], opened()[0]
    assert one.epoch != two.epoch
    assert parse_id(f"{one.epoch}-1") == (one.epoch, 1)


async def test_names_come_and_go_without_a_trace_but_the_floor() -> None:
    clock = Clock()
    backend, _ = opened(Retention(age=10.0), clock)
    for i in range(5_000):
        backend.append(Draft(f"once.{i}", FRAME))
        clock.advance(0.1)
    assert len(backend._logs) < 250
    page = await backend.read("once.0", 0, 1000)
    assert (list(page.records), page.more) == ([], False)
    assert page.floor >= 1


async def test_a_followed_channel_is_not_forgotten_when_it_is_empty() -> None:
    clock = Clock()
    backend, ear = opened(Retention(age=10.0), clock)
    log = await backend.follow("quiet")
    backend.append(Draft("quiet", FRAME))
    clock.advance(11)
    for _ in range(10):
        backend.append(Draft("other", FRAME))
    assert len(log) == 0
    backend.append(Draft("quiet", FRAME))
    assert len(log) == 1
    assert [record.channel for record in ear.told] == ["quiet", "quiet"]


async def test_what_is_too_old_is_gone_when_it_is_read() -> None:
    clock = Clock()
    backend, _ = opened(Retention(age=10.0), clock)
    backend.append(Draft("a", FRAME))
    backend.append(Draft("a", FRAME, "k"))
    clock.advance(11)
    assert list((await backend.read("a", 0, 1000)).records) == []
    assert list(await backend.state("a")) == []
    assert (await backend.read("a", 0, 1000)).floor == 2


async def test_following_a_channel_that_nobody_has_written_to() -> None:
    backend, ear = opened()
    log = await backend.follow("new")
    assert await backend.follow("new") is log
    backend.append(Draft("new", FRAME))
    assert log.read(0, 1, 1000)[0] == ear.told
    backend.unfollow("new")
    backend.append(Draft("new", FRAME))
    assert len(ear.told) == 1


async def test_when_it_has_been_closed_it_says_so() -> None:
    backend, _ = opened()
    backend.append(Draft("a", FRAME))
    await backend.close()
    await backend.close()
    with pytest.raises(BackendError, match="the memory log failed: it has been closed"):
        backend.append(Draft("a", FRAME))
    with pytest.raises(BackendError, match="closed"):
        await backend.read("a", 0, 1)


async def test_before_it_has_been_started_it_says_so() -> None:
    backend = MemoryBackend(lambda channel: Retention())
    with pytest.raises(BackendError):
        backend.append(Draft("a", FRAME))


async def test_names_that_were_only_followed_are_forgotten() -> None:
    backend, _ = opened()
    for n in range(1_000):
        await backend.follow(f"c{n}")
        backend.unfollow(f"c{n}")
    assert not backend._logs
