from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tornado_sse.backends.nats_hearing import Hearing
from tornado_sse.backends.nats_names import KEY, Names
from tornado_sse.errors import BackendError
from tornado_sse.record import Record

pytestmark = pytest.mark.gen_test


class Teller:
    def __init__(self) -> None:
        self.position = 0
        self.told: list[Any] = []

    def on_news(self, records: Sequence[Record], position: int) -> None:
        self.position = position
        self.told.append([record.position for record in records])

    def on_lost(self, floors: Mapping[str, int]) -> None:
        self.told.append(dict(floors))


def message(position: int, before: int = 0, channel: str = "a", key: str | None = None) -> Any:
    headers = {
        "Nats-Sequence": str(position),
        "Nats-Subject": f"log.{channel}.e" if key is None else f"log.{channel}.k.{key}",
        "Nats-Last-Sequence": str(before),
        "Nats-Time-Stamp": "2026-11-25T13:37:16Z",
    }
    return SimpleNamespace(
        data=b"data: x\n\n", headers=headers if key is None else headers | {KEY: f'"{key}"'}
    )


def begun() -> tuple[Hearing, Teller]:
    teller = Teller()
    hearing = Hearing(teller, Names("log"))
    hearing.begin("e")
    hearing.catch_up(["a"], 0)
    return hearing, teller


async def test_what_is_heard_in_one_turn_is_told_at_its_end_and_answered_then() -> None:
    hearing, teller = begun()
    answer = asyncio.get_running_loop().create_future()
    hearing.hear(message(1))
    hearing.hear(message(2, 1))
    hearing.answer(answer, 3, told=False)
    assert teller.told == []
    await asyncio.sleep(0)
    assert (teller.told, teller.position, answer.result()) == ([[1, 2]], 3, 3)


async def test_what_is_heard_twice_is_told_once() -> None:
    hearing, teller = begun()
    for position in (1, 2, 1, 2):
        hearing.hear(message(position, position - 1))
    hearing.reach(5)
    hearing.hear(message(4, 2))
    hearing.tell()
    assert (teller.told, teller.position) == ([[1, 2]], 5)


async def test_what_is_heard_while_behind_is_told_after_what_was_missed() -> None:
    hearing, teller = begun()
    hearing.lose()
    hearing.begin("e")
    for position in (4, 5, 6, 7):
        hearing.hear(message(position, position - 1))
    with pytest.raises(BackendError, match="has ended"):
        hearing.reach(9)
    assert teller.told == []
    hearing.catch_up(["a"], 5)
    assert teller.told == [[6, 7]]
    hearing.hear(message(8, 7))
    hearing.tell()
    assert teller.told == [[6, 7], [8]]


async def test_an_answer_does_not_outlive_its_epoch() -> None:
    hearing, _ = begun()
    one, other = (asyncio.get_running_loop().create_future() for _ in range(2))
    hearing.answer(one, 1, told=False)
    hearing.lose()
    # All that was heard up to the end is told, and answered.
    assert one.result() == 1
    hearing.answer(other, 2, told=False)
    await asyncio.sleep(0)
    assert not other.done()
    hearing.begin("f")
    with pytest.raises(BackendError, match="begun anew"):
        await other


async def test_what_was_lost_on_the_way_is_found_out() -> None:
    hearing, teller = begun()
    hearing.hear(message(1))
    hearing.hear(message(4, 3))
    hearing.hear(message(5, 4))
    hearing.tell()
    assert teller.told == [[1], {"a": 3}, [4, 5]]


@pytest.mark.parametrize("known", [False, True])
async def test_nothing_is_lost_of_what_is_not_known_yet(known: bool) -> None:
    hearing, teller = begun()
    hearing.expect("b")
    hearing.hear(message(4, 3, "b"))
    hearing.trust("b", 2)
    hearing.hear(message(5, 4, "b"))
    if not known:
        hearing.forget("b")
    hearing.hear(message(8, 7, "b"))
    hearing.tell()
    assert teller.told == ([[4, 5], {"b": 7}, [8]] if known else [[4, 5, 8]])


async def test_keys_have_no_predecessors() -> None:
    hearing, teller = begun()
    hearing.hear(message(5, 3, key="k"))
    hearing.tell()
    assert teller.told == [[5]]
