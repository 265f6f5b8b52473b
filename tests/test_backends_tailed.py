"""The logs in memory of a log that is elsewhere: whole, whatever is told while they are loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from tornado_sse.backends.base import Page
from tornado_sse.backends.tailed import Tail, TailedBackend
from tornado_sse.errors import BackendError
from tornado_sse.log import Retention
from tornado_sse.record import Draft, Record, with_id

pytestmark = pytest.mark.gen_test


def record(position: int, channel: str = "a") -> Record:
    return Record(position, channel, with_id(b"data: x\n\n", "e", position), None, float(position))


class Ear:
    def __init__(self) -> None:
        self.told: list[int] = []
        self.position = 0
        self.gaps: list[str] = []
        self.epochs = 0

    def on_records(self, records: Sequence[Record], position: int) -> None:
        self.told += [record.position for record in records]
        self.position = position

    def on_gap(self, channel: str) -> None:
        self.gaps.append(channel)

    def on_epoch(self) -> None:
        self.epochs += 1


class Elsewhere(TailedBackend):
    """A log of which a test decides what is read, and what happens meanwhile."""

    name = "elsewhere"

    def __init__(
        self, *found: Record, start: int = 0, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__(lambda channel: Retention(events=5))
        self.found = found
        self.first = start
        self.meanwhile = meanwhile
        self.reads = 0

    def append(self, draft: Draft) -> int:
        raise NotImplementedError

    async def sync(self) -> int:
        if not self.epoch:
            self.on_begun("e", 0)
        self.on_news((), max(self.position, *(record.position for record in self.found), 0))
        return self.position

    async def read_tail(self, channel: str, limit: Retention) -> Tail:
        self.reads += 1
        await asyncio.sleep(0)
        self.meanwhile()
        return Tail(self.found, self.first, self.found[-1].position if self.found else self.position)

    async def read(self, channel: str, after: int, size: int) -> Page:
        raise NotImplementedError

    async def state(self, channel: str) -> Sequence[Record]:
        raise NotImplementedError

    async def close(self) -> None:
        self._closed = True


def held(log: object) -> list[int]:
    return [record.position for record in log.read(0, 10**9, 10**9)[0]]  # type: ignore[attr-defined]


async def test_what_is_told_while_a_log_is_read_is_in_it_once() -> None:
    def meanwhile() -> None:
        it.on_news([record(2), record(3)], 3)  # of which the read has the first already

    it = Elsewhere(record(1), record(2), meanwhile=meanwhile)
    ear = Ear()
    it.start(ear)
    log = await it.follow("a")
    assert held(log) == [1, 2, 3]
    assert ear.told == [], "what happened before follow() returned is in the log"
    it.on_news([record(4), record(5, "b")], 5)
    assert (held(log), ear.told, ear.position) == ([1, 2, 3, 4], [4], 5)


async def test_a_log_has_what_there_is_room_for() -> None:
    it = Elsewhere(*(record(n) for n in range(1, 9)), start=2)
    it.start(Ear())
    log = await it.follow("a")
    assert (held(log), log.start) == ([4, 5, 6, 7, 8], 3)


async def test_all_who_follow_at_once_have_one_log() -> None:
    it = Elsewhere(record(1))
    it.start(Ear())
    one, two = await asyncio.gather(it.follow("a"), it.follow("a"))
    assert one is two
    assert it.reads == 1


async def test_what_was_lost_moves_the_start_though_the_log_is_not_there_yet() -> None:
    it = Elsewhere(record(1), meanwhile=lambda: it.on_lost({"a": 7, "b": 7}))
    ear = Ear()
    it.start(ear)
    log = await it.follow("a")
    assert log.start == 7
    assert ear.gaps == [], "who is about to follow has not been told anything yet"
    it.on_lost({"a": 9})
    assert (log.start, ear.gaps) == (9, ["a"])


async def test_a_new_epoch_clears_the_logs_and_one_that_comes_while_a_log_is_read_has_it_read_again() -> None:
    def meanwhile() -> None:
        if it.reads == 1:
            it.on_begun("f", 0)

    it = Elsewhere(record(1), meanwhile=meanwhile)
    ear = Ear()
    it.start(ear)
    log = await it.follow("a")
    assert (it.reads, ear.epochs, it.epoch) == (2, 1, "f")
    it.on_begun("g", 20)
    assert (held(log), log.start, ear.epochs, ear.position) == ([], 20, 2, 20)


async def test_a_log_that_can_not_be_read_is_not_followed() -> None:
    def meanwhile() -> None:
        raise BackendError("elsewhere", "is away")

    it = Elsewhere(record(1), meanwhile=meanwhile)
    it.start(Ear())
    with pytest.raises(BackendError, match="is away"):
        await it.follow("a")
    assert not it.followed


async def test_before_the_start_and_after_the_end() -> None:
    it = Elsewhere()
    with pytest.raises(BackendError, match="has not been started"):
        await it.follow("a")
    it.start(Ear())
    await it.close()
    with pytest.raises(BackendError, match="has been closed"):
        await it.follow("a")


async def test_what_is_too_old_goes_from_memory_too() -> None:
    it = Elsewhere(record(1), record(2))
    it._retention = lambda channel: Retention(age=10)  # type: ignore[assignment]
    it.start(Ear())
    log = await it.follow("a")
    it.on_time(11.5)
    assert held(log) == [2]
