from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tornado_sse import BackendError
from tornado_sse.backends import MemoryBackend
from tornado_sse.fanout import FanOut
from tornado_sse.log import ChannelLog, Retention
from tornado_sse.observer import Observer
from tornado_sse.piece import Piece
from tornado_sse.record import Draft

pytestmark = pytest.mark.gen_test

EVERYTHING = Retention(events=None, bytes=None, age=None)


class Counting(Observer):
    def __init__(self) -> None:
        self.turns: list[tuple[int, int]] = []

    def on_fan_out(self, deliveries: int, size: int, seconds: float) -> None:
        self.turns.append((deliveries, size))


class Steps:
    """Somebody behind who needs so many pages."""

    def __init__(self, count: int, log: list[Steps]) -> None:
        self.count = count
        self.log = log

    def step(self) -> bool:
        self.log.append(self)
        self.count -= 1
        return self.count > 0


class FakeMember:
    slot = -1

    def __init__(self) -> None:
        self.transport: Any = self
        self.socket = self
        self.got: list[bytes] = []

    def send(self, data: bytes) -> int:
        self.got.append(data)
        return len(data)

    def on_refused(self, piece: Piece, sent: int) -> None:
        raise AssertionError("nothing is refused here")


def make() -> tuple[FanOut, MemoryBackend, Counting]:
    observer = Counting()
    backend = MemoryBackend(lambda channel: EVERYTHING)
    fanout = FanOut(backend, observer)

    class Listener:
        on_records = staticmethod(fanout.on_records)

        def on_gap(self, channel: str) -> None:
            raise AssertionError("nothing is lost")

        def on_epoch(self) -> None:
            raise AssertionError("the epoch stays")

    backend.start(Listener())
    return fanout, backend, observer


async def follow(fanout: FanOut, *names: str, chunked: bool = False) -> FakeMember:
    for name in names:
        await fanout.join(name)
    member = FakeMember()
    fanout.enter(names, chunked=chunked, direct=True).add(member)  # type: ignore[arg-type]
    return member


def draft(channel: str, text: str) -> Draft:
    return Draft(channel, f"data: {text}\n\n".encode())


async def test_a_turn_is_one_send_for_each_and_only_of_its_channels() -> None:
    fanout, backend, observer = make()
    ab = await follow(fanout, "a", "b")
    a = await follow(fanout, "a")
    chunky = await follow(fanout, "a", chunked=True)
    c = await follow(fanout, "c")
    for channel in "abxa":
        backend.append(draft(channel, channel))
    assert not ab.got
    await asyncio.sleep(0)
    epoch = backend.epoch.encode()
    frames = [b"id: %b-%d\ndata: %b\n\n" % (epoch, n, c) for n, c in ((1, b"a"), (2, b"b"), (4, b"a"))]
    assert ab.got == [b"".join(frames)]
    assert a.got == [frames[0] + frames[2]]
    body = frames[0] + frames[2]
    assert chunky.got == [b"%x\r\n%b\r\n" % (len(body), body)]
    assert c.got == []
    assert observer.turns == [(3, len(ab.got[0] + a.got[0] + chunky.got[0]))]
    assert fanout.sent == 4


async def test_groups_that_get_the_same_share_the_bytes() -> None:
    fanout, backend, _ = make()
    members = [await follow(fanout, "all", f"user.{n}") for n in range(3)]
    backend.append(draft("all", "x"))
    await asyncio.sleep(0)
    assert members[0].got[0] is members[1].got[0] is members[2].got[0]


async def test_events_that_nobody_follows_move_the_position_alone() -> None:
    fanout, backend, observer = make()
    for _ in range(3):
        backend.append(draft("a", "x"))
    assert fanout.sent == 3
    await follow(fanout, "b")
    backend.append(draft("b", "x"))
    backend.append(draft("a", "x"))
    assert fanout.sent == 3, "what is gathered comes first"
    await asyncio.sleep(0)
    assert fanout.sent == 5
    assert len(observer.turns) == 1


async def test_a_turn_that_is_too_large_is_sent_before_its_end() -> None:
    fanout, backend, _ = make()
    a = await follow(fanout, "a")
    for _ in range(11):
        backend.append(draft("a", "x" * 100_000))
    assert len(a.got) == 11


async def test_those_behind_take_turns() -> None:
    fanout, _, _ = make()
    log: list[Steps] = []
    some = [Steps(3, log) for _ in range(4)]
    for each in some:
        fanout.feed(each)
    assert not log
    await asyncio.sleep(0)
    assert log == some, "one page each"
    for _ in range(9):
        await asyncio.sleep(0)
    assert log == some * 3


async def test_many_behind_leave_others_their_turns() -> None:
    fanout, _, _ = make()
    log: list[Steps] = []
    for _ in range(1_000):
        fanout.feed(Steps(1, log))
    turns = 0
    while len(log) < 1_000:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


async def test_a_page_is_made_once_for_all_who_are_at_the_same_place() -> None:
    fanout, backend, _ = make()
    logs = (await fanout.join("a"),)

    def page(after: int, told: dict[str, int] | None = None) -> Piece:
        found = fanout.page(("a",), logs, after, chunked=False, skipped={}, told=told or {})
        assert found is not None
        return found

    backend.append(draft("a", "1"))
    await asyncio.sleep(0)
    assert page(0) is page(0)
    assert page(0, {"a": 0}) is not page(0)
    backend.append(draft("a", "2"))
    assert page(0).events == 1, "what has not been sent yet comes with the turn"
    await asyncio.sleep(0)
    assert page(0).events == 2
    for after in range(100):
        page(-after)
    assert len(fanout._pages) <= 16


async def test_channels_and_groups_last_as_long_as_somebody_follows() -> None:
    fanout, backend, _ = make()
    for _ in range(2):
        await fanout.join("a")
    await fanout.join("b")
    one = fanout.enter(("a", "b"), chunked=True, direct=True)
    two = fanout.enter(("a",), chunked=True, direct=True)
    assert one is not two
    assert fanout.channels["a"].groups == {one, two}
    fanout.exit(one)
    assert {*fanout.channels} == {"a"}
    assert fanout.channels["a"].groups == {two}
    assert backend._followed == {"a"}
    fanout.exit(two)
    assert not fanout.channels
    assert not backend._followed
    assert not fanout._groups


class SlowBackend(MemoryBackend):
    """Hands over a channel's log when told to."""

    def __init__(self) -> None:
        super().__init__(lambda channel: EVERYTHING)
        self.go = asyncio.Event()
        self.asked = 0
        self.fails = False

    async def follow(self, channel: str) -> ChannelLog:
        self.asked += 1
        await self.go.wait()
        if self.fails:
            raise BackendError(self.name, "it is away")
        return await super().follow(channel)


async def test_a_log_is_asked_for_once_however_many_wait_for_it() -> None:
    backend = SlowBackend()
    fanout = FanOut(backend, Observer())
    backend.start(object())  # type: ignore[arg-type]
    joining = [asyncio.create_task(fanout.join("a")) for _ in range(5)]
    await asyncio.sleep(0)
    joining[0].cancel()
    await asyncio.sleep(0)
    backend.go.set()
    logs = await asyncio.gather(*joining[1:])
    assert backend.asked == 1
    assert all(log is logs[0] for log in logs)
    assert fanout.channels["a"].followers == 4


async def test_a_log_that_can_not_be_had_leaves_nothing_behind() -> None:
    backend = SlowBackend()
    fanout = FanOut(backend, Observer())
    backend.start(object())  # type: ignore[arg-type]
    joining = [asyncio.create_task(fanout.join("a")) for _ in range(3)]
    await asyncio.sleep(0)
    backend.fails = True
    backend.go.set()
    results = await asyncio.gather(*joining, return_exceptions=True)
    assert [type(result) for result in results] == [BackendError] * 3
    assert not fanout.channels
    # The next one asks again.
    backend.fails = False
    await fanout.join("a")
    assert backend.asked == 2


async def test_when_all_who_waited_for_a_log_have_gone_it_is_not_followed() -> None:
    backend = SlowBackend()
    fanout = FanOut(backend, Observer())
    backend.start(object())  # type: ignore[arg-type]
    joining = [asyncio.create_task(fanout.join("a")) for _ in range(3)]
    await asyncio.sleep(0)
    for each in joining:
        each.cancel()
    await asyncio.gather(*joining, return_exceptions=True)
    backend.go.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not fanout.channels
    assert not backend._followed
