from __future__ import annotations

import asyncio

import pytest

from tornado_sse.backends import MemoryBackend
from tornado_sse.log import Retention
from tornado_sse.publishing import Published, Publishing

pytestmark = pytest.mark.gen_test


async def test_an_acknowledged_event_has_its_id_at_once_or_after_a_turn() -> None:
    order: list[str] = []
    asyncio.get_running_loop().call_soon(order.append, "another's turn")
    order.append(await Published("e-1", wait=False))
    order.append(await Published("e-2", wait=True))
    assert order == ["e-1", "another's turn", "e-2"]


async def test_whoever_is_cancelled_while_waiting_has_published_all_the_same() -> None:
    backend = MemoryBackend(lambda channel: Retention())
    position: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait() -> str:
        return await Publishing(backend, position)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not position.cancelled()
    position.set_result(7)
    assert await Publishing(backend, position) == f"{backend.epoch}-7"
