from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator

import pytest
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

from tests.support import until
from tornado_sse.outbox import Outbox

pytestmark = pytest.mark.gen_test


class Box:
    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.iostream = IOStream(ours)
        self.told: list[object] = []
        self.outbox = Outbox(self.iostream, lambda: self.told.append("drained"), self.told.append)

    def read(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return self.peer.recv(1 << 20)
        return b""


@pytest.fixture
def box(io_loop: IOLoop) -> Iterator[Callable[[], Box]]:
    boxes: list[Box] = []

    def make() -> Box:
        boxes.append(Box())
        return boxes[-1]

    yield make
    for each in boxes:
        each.iostream.close()
        each.peer.close()


async def test_what_goes_through_at_once_is_told_at_once(box: Callable[[], Box]) -> None:
    it = box()
    it.outbox.push(b"abc")
    assert (it.told, it.outbox.pending, it.read()) == (["drained"], 0, b"abc")


async def test_what_waits_is_counted_to_the_piece_and_keeps_its_order(box: Callable[[], Box]) -> None:
    it = box()
    data = os.urandom(3_000_000)
    it.outbox.push(memoryview(data)[:2_000_000])
    it.outbox.push(data[2_000_000:])
    assert it.told == []
    seen = []
    received = b""
    while not it.told:
        received += it.read()
        seen.append(it.outbox.pending)
        await asyncio.sleep(0)
    received += it.read()
    assert received == data
    assert seen == sorted(seen, reverse=True)
    assert (it.told, it.outbox.pending) == (["drained"], 0)


async def test_it_may_begin_behind_a_write_of_somebody_else(box: Callable[[], Box]) -> None:
    it = box()
    it.outbox.follow(it.iostream.write(b"h" * 2_000_000), 2_000_000)
    it.outbox.push(b"body")
    assert it.outbox.pending == 2_000_004
    received = b""
    while not it.told:
        received += it.read()
        await asyncio.sleep(0)
    assert (received + it.read()).endswith(b"hbody")


async def test_a_lost_connection_is_told_once_however_it_shows(box: Callable[[], Box]) -> None:
    it = box()
    it.outbox.push(b"x" * 3_000_000)
    it.peer.close()
    await until(lambda: it.told)
    assert len(it.told) == 1
    assert isinstance(it.told[0], OSError)

    it = box()
    it.iostream.close()
    it.outbox.push(b"x")
    assert len(it.told) == 1
    assert isinstance(it.told[0], OSError)

    it = box()
    it.peer.close()
    it.outbox.push(b"x" * 3_000_000)
    assert len(it.told) == 1
    assert isinstance(it.told[0], OSError)


async def test_who_waits_is_woken_or_told(box: Callable[[], Box]) -> None:
    class Wait:
        def __init__(self, outbox: Outbox) -> None:
            self.__class__.__await__ = lambda self: outbox.wait(0)  # type: ignore[attr-defined]

    async def wait(outbox: Outbox) -> None:
        await Wait(outbox)  # type: ignore[misc]

    it = box()
    it.outbox.push(b"x" * 3_000_000)
    tasks = [asyncio.ensure_future(wait(it.outbox)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    it.outbox.abandon(ZeroDivisionError("gone"))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [
        asyncio.CancelledError,
        ZeroDivisionError,
        ZeroDivisionError,
    ]
    # What the IOStream says of it later is nobody's business any more.
    it.iostream.close()
    await asyncio.sleep(0)
    assert (it.told, it.outbox.pending) == ([], 0)


async def test_stillness_is_time_without_progress(box: Callable[[], Box]) -> None:
    it = box()
    it.outbox.push(b"x" * 3_000_000)
    assert it.outbox.still_for(100) == 0
    assert it.outbox.still_for(130) == 30
    while it.read():
        pass
    await asyncio.sleep(0)
    assert it.outbox.still_for(140) == 0
    assert it.outbox.still_for(150) == 10
    it.iostream.close()
    assert it.outbox.still_for(160) in (0, 20)
