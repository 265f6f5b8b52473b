from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any, cast

import pytest

from tests.support import Logs, VirtualLoop
from tornado_sse.ticker import Ticker


class Member:
    def __init__(self, loop: VirtualLoop, delays: list[float | None]) -> None:
        self.loop = loop
        self.delays = delays
        self.ticks: list[float] = []
        self.tick_slot: int | None = None

    def on_tick(self, now: float) -> float | None:
        assert now == self.loop.now
        self.ticks.append(now - 1000)
        return self.delays.pop(0) if self.delays else None


@pytest.fixture
def loop() -> VirtualLoop:
    return VirtualLoop()


@pytest.fixture
def ticker(loop: VirtualLoop) -> Ticker:
    return Ticker(cast(Any, loop))


def test_a_member_is_asked_when_it_wants_and_never_early(loop: VirtualLoop, ticker: Ticker) -> None:
    member = Member(loop, [2.0, 0.01, None])
    ticker.schedule(member, 1.0)
    loop.advance(0.999)
    assert member.ticks == []
    loop.advance(10)
    assert member.ticks == pytest.approx([1.05, 3.1, 3.15], abs=0.0501)
    assert member.ticks[0] >= 1.0
    assert not loop.timers


def test_any_number_of_members_have_one_timer(loop: VirtualLoop, ticker: Ticker) -> None:
    members = [Member(loop, [1.0] * 50) for _ in range(1000)]
    for i, member in enumerate(members):
        ticker.schedule(member, 1 + i / 1000)
    assert (len(loop.timers), len(ticker)) == (1, 1000)
    loop.advance(30)
    assert (len(loop.timers), len(ticker)) == (1, 1000)
    assert all(27 <= len(member.ticks) <= 30 for member in members)


def test_members_due_together_are_asked_in_one_wake_up(loop: VirtualLoop, ticker: Ticker) -> None:
    members = [Member(loop, []) for _ in range(100)]
    for member in members:
        ticker.schedule(member, 1.0)
    loop.advance(2)
    assert len({tick for member in members for tick in member.ticks}) == 1


def test_an_earlier_wish_takes_the_place_of_a_later_one(loop: VirtualLoop, ticker: Ticker) -> None:
    member = Member(loop, [])
    ticker.schedule(member, 10)
    ticker.schedule(member, 1)
    assert len(ticker) == 1
    loop.advance(20)
    assert len(member.ticks) == 1
    assert member.ticks[0] < 2


def test_who_is_discarded_is_not_asked_and_the_last_one_takes_the_timer(
    loop: VirtualLoop, ticker: Ticker
) -> None:
    one, two = Member(loop, []), Member(loop, [])
    ticker.schedule(one, 1)
    ticker.schedule(two, 1)
    ticker.discard(one)
    ticker.discard(one)
    loop.advance(0.5)
    assert loop.timers
    ticker.discard(two)
    assert not loop.timers
    assert len(ticker) == 0
    loop.advance(5)
    assert (one.ticks, two.ticks) == ([], [])


def test_a_slot_that_emptied_and_filled_again_is_asked_once(loop: VirtualLoop, ticker: Ticker) -> None:
    one, two = Member(loop, []), Member(loop, [])
    ticker.schedule(two, 5)
    ticker.schedule(one, 1)
    ticker.discard(one)
    ticker.schedule(one, 1)
    loop.advance(2)
    assert len(one.ticks) == 1
    loop.advance(5)
    assert (len(one.ticks), len(two.ticks)) == (1, 1)


def test_one_member_may_end_another_of_the_same_slot(loop: VirtualLoop, ticker: Ticker) -> None:
    one, two = Member(loop, [1.0]), Member(loop, [1.0])

    def end_both(now: float) -> None:
        ticker.discard(one)
        ticker.discard(two)

    one.on_tick = two.on_tick = end_both  # type: ignore[assignment]
    ticker.schedule(one, 1)
    ticker.schedule(two, 1)
    loop.advance(5)
    assert (len(ticker), loop.timers) == (0, [])


def test_a_defect_of_one_member_does_not_stop_the_others(
    loop: VirtualLoop, ticker: Ticker, logs: Logs
) -> None:
    bad, good = Member(loop, []), Member(loop, [1.0, 1.0, 1.0])
    bad.on_tick = lambda now: 1 / 0  # type: ignore[method-assign]
    ticker.schedule(bad, 1)
    ticker.schedule(good, 1)
    loop.advance(3.5)
    assert len(good.ticks) == 3
    logs.claim("A tick failed")


def test_a_loop_has_one_ticker_which_does_not_keep_it_alive() -> None:
    loop = asyncio.new_event_loop()
    other = asyncio.new_event_loop()
    assert Ticker.of(loop) is Ticker.of(loop)
    assert Ticker.of(loop) is not Ticker.of(other)
    loop.close()
    other.close()
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None


def test_a_loop_closed_with_members_left_is_forgotten_when_there_is_another() -> None:
    loop = asyncio.new_event_loop()
    member = Member(cast(Any, loop), [])
    Ticker.of(loop).schedule(member, 1000)
    loop.close()
    gone = weakref.ref(loop)
    other = asyncio.new_event_loop()
    Ticker.of(other)
    other.close()
    del loop, member
    gc.collect()
    assert gone() is None


def test_slots_that_have_emptied_do_not_pile_up(loop: VirtualLoop, ticker: Ticker) -> None:
    stays, others = Member(loop, []), Member(loop, [])
    ticker.schedule(stays, 10_000)
    for i in range(5000):
        ticker.schedule(others, 1000 + i)
    assert len(ticker._order) < 200
    loop.advance(20_000)
    assert (len(stays.ticks), len(others.ticks)) == (1, 1)
