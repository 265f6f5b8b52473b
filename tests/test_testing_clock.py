from __future__ import annotations

import asyncio

import pytest
from tornado.web import Application

from tornado_sse import SSEHandler
from tornado_sse.testing import Clock, listen

# The runner's own timeout falls due as well.
gen_test = pytest.mark.gen_test(timeout=10_000)


class Idle(SSEHandler):
    def open(self) -> None:
        self.stream.comment("hello")


@gen_test
async def test_an_hour_of_keep_alives_in_a_moment(io_loop: object) -> None:
    app = Application([("/", Idle)], sse_keepalive=60)
    with Clock() as clock:
        async with listen(app, "/") as it:
            await clock.advance(3600)
            await it.received(b":\n", 55)
            assert clock.advanced == 3600


@gen_test
async def test_the_age_of_a_stream(io_loop: object) -> None:
    app = Application([("/", Idle)], sse_max_age=3600)
    with Clock() as clock:
        async with listen(app, "/") as it:
            await clock.advance(1800)
            await it.silence()
            await clock.advance(1800)
            assert await it.rest() == []
            assert it.complete


@gen_test
async def test_timers_fall_due_in_their_order(io_loop: object) -> None:
    loop = asyncio.get_running_loop()
    real = loop.time
    order: list[int] = []
    with Clock() as clock:
        for seconds in (3, 1, 2):
            loop.call_later(seconds, order.append, seconds)
        await clock.advance(2.5)
        assert order == [1, 2]
        await clock.advance(1)
        assert order == [1, 2, 3]
    assert loop.time == real
    clock.restore()


@gen_test
async def test_a_clock_that_can_not_be_set(io_loop: object, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed:
        __slots__ = ()

        def time(self) -> float:
            return 0.0

    monkeypatch.setattr("tornado_sse.testing.clock.asyncio.get_running_loop", Fixed)
    with pytest.raises(RuntimeError, match="Fixed can't be set"):
        await Clock().advance(1)


def test_a_clock_serves_one_loop() -> None:
    clock = Clock()

    async def advance() -> None:
        await clock.advance(0.1)

    asyncio.run(advance())
    with pytest.raises(RuntimeError, match="one event loop"):
        asyncio.run(advance())
