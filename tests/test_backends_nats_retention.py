from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from tornado_sse.backends import nats_retention
from tornado_sse.backends.nats_names import Message, Names
from tornado_sse.backends.nats_retention import Sweeper
from tornado_sse.errors import BackendError
from tornado_sse.log import OVERHEAD, Retention

pytestmark = pytest.mark.gen_test


class Store:
    """A stream of one channel's plain events, and what is asked of it."""

    epoch = "0123456789"

    def __init__(self, *sizes: int) -> None:
        self.messages = dict(enumerate(sizes, 1))
        self.asked: list[str] = []
        self.problem: Exception | None = None

    def append(self, size: int) -> None:
        self.messages[max(self.messages, default=0) + 1] = size

    def after(self, subject: str, position: int) -> list[Message]:
        if not subject.endswith(".e"):
            return []
        headers = {"Nats-Time-Stamp": "2026-11-25T13:37:16Z"}
        found = [(each, size) for each, size in self.messages.items() if each > position]
        return [Message(each, subject, b"x" * size, headers) for each, size in found]

    async def count(self, link: Any, subject: str, after: int = 0) -> tuple[Message | None, int]:
        self.asked.append("count")
        if self.problem is not None:
            raise self.problem
        found = self.after(subject, after)
        return (found[0], len(found)) if found else (None, 0)

    async def find(self, link: Any, subject: str, fewest: int, most: int, low: int, high: int) -> int:
        self.asked.append("find")
        return self.after(subject, 0)[-fewest].sequence - 1

    async def batch(self, link: Any, subject: str, after: int) -> tuple[list[Message], int]:
        self.asked.append("batch")
        return self.after(subject, after), 0

    async def subjects(self, link: Any) -> AsyncIterator[str]:
        yield "log.a.e"

    async def last(self, link: Any, subject: str) -> Message | None:
        return (self.after(subject, 0) or [None])[-1]

    async def replace(self, link: Any, subject: str, data: bytes, expected: int) -> bool:
        self.asked.append(f"floor {data.decode()}")
        return True

    async def purge(self, link: Any, subject: str, upto: int) -> None:
        self.asked.append(f"purge {upto}")
        self.messages = {each: size for each, size in self.messages.items() if each > upto}


def sweeper(store: Store, **limit: Any) -> Sweeper:
    retention = Retention(**{"events": None, "bytes": None, "age": None, "keys": None, **limit})
    both: Any = store
    return Sweeper(both, both, Names("log"), lambda channel: retention, lambda: 0.0)


LINK: Any = SimpleNamespace()


async def test_a_channel_is_looked_at_once_and_then_when_it_has_grown_by_an_eighth() -> None:
    store = Store(*[10] * 80)
    sweeping = sweeper(store, events=80)
    for expected in (2, 0):
        store.asked.clear()
        sweeping.note("a", 10, keyed=False)
        await sweeping.sweep(LINK)
        assert store.asked == ["count"] * expected
    for _ in range(11):
        store.append(10)
        sweeping.note("a", 10, keyed=False)
    await sweeping.sweep(LINK)
    # The floor is written before anything is dropped.
    assert store.asked[-2:] == ["floor 11 0", "purge 11"]
    assert len(store.messages) == 80


async def test_sizes_are_read_only_if_need_be() -> None:
    size = 10 + OVERHEAD + 20
    store = Store(*[10] * 40)
    sweeping = sweeper(store, bytes=100 * size)

    async def append(count: int, *, by_others: bool = False) -> list[str]:
        store.asked.clear()
        for _ in range(count):
            store.append(10)
            if not by_others:
                sweeping.note("a", 10, keyed=False)
        if by_others:
            sweeping._beyond["a"] = None
        await sweeping.sweep(LINK)
        return [each for each in store.asked if each != "count"]

    assert await append(1) == ["batch"]
    assert await append(20) == []
    assert await append(20) == []
    assert await append(1, by_others=True) == ["batch"]
    assert (await append(40))[0] == "batch"
    assert len(store.messages) <= 113
    before = len(store.messages)
    await append(40)
    assert 99 <= len(store.messages) < before + 40


async def test_the_newest_event_is_kept_however_large() -> None:
    store = Store(10, 10, 100_000)
    sweeping = sweeper(store, bytes=1_000)
    sweeping.note("a", 100_000, keyed=False)
    await sweeping.sweep(LINK)
    assert [*store.messages] == [3]


async def test_channels_that_are_there_already_are_looked_at() -> None:
    store = Store(*[10] * 20)
    sweeping = sweeper(store, events=10)
    await sweeping.discover(LINK)
    await sweeping.sweep(LINK)
    assert len(store.messages) == 10


async def test_what_fails_is_tried_again() -> None:
    store = Store(*[10] * 20)
    sweeping = sweeper(store, events=10)
    for name in "abc":
        sweeping.note(name, 10, keyed=False)
    store.problem = BackendError("nats", "a test")
    with pytest.raises(BackendError, match="a test"):
        await sweeping.sweep(LINK)
    store.problem = None
    assert {*sweeping._beyond} == {*"abc"}
    await sweeping.sweep(LINK)
    assert len(store.messages) == 10
    assert sweeping._beyond == {}


async def test_so_many_channels_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_retention, "_CHANNELS", 10)
    sweeping = sweeper(Store(10), events=100, age=60)
    for i in range(100):
        sweeping.note(f"{i}", 10, keyed=bool(i % 2))
    assert [*sweeping._tallies] == [f"{i}" for i in range(90, 100)]
    assert {*sweeping._unknown} == {*sweeping._tallies}
    await sweeping.sweep(LINK)
