from __future__ import annotations

import asyncio

import pytest

from tornado_sse.flow import READY, TURN

pytestmark = pytest.mark.gen_test


async def test_what_is_ready_lets_nobody_else_run_and_a_turn_everybody_once() -> None:
    ran: list[int] = []

    def again() -> None:
        ran.append(1)
        asyncio.get_running_loop().call_soon(again)

    asyncio.get_running_loop().call_soon(again)
    for _ in range(3):
        await READY
    assert ran == []
    for turn in range(1, 4):
        await TURN
        assert len(ran) == turn
