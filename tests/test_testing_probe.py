from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tornado_sse.backends import MemoryBackend
from tornado_sse.errors import BackendError
from tornado_sse.log import Retention
from tornado_sse.record import Record
from tornado_sse.testing.probe import Probe, show

pytestmark = pytest.mark.gen_test


def probed(backend: Any = None) -> Probe:
    return Probe(backend or MemoryBackend(lambda channel: Retention()), 0.5)


async def test_it_knows_what_has_been_appended() -> None:
    probe = probed()
    log = await probe.follow("a")
    assert [await probe.append(name) for name in ("a", "b", "a")] == [1, 2, 3]
    assert probe.appended("a") == [1, 3]
    probe.whole(log, [1, 3])
    probe.same(await probe.all("a"), [1, 3], "read()")
    probe.same(probe.told, [1, 3], "the listener")
    probe.look()
    await probe.close()


async def test_what_is_missing_and_what_should_not_be_there_are_named() -> None:
    probe = probed()
    for name in "aab":
        await probe.append(name)
    with pytest.raises(
        AssertionError, match=r"backend 'memory' here: \[3\] is missing, and \[1\] should not be"
    ):
        probe.same(await probe.all("a"), [2, 3], "here")


async def test_each_byte_counts() -> None:
    probe = probed()
    await probe.append("a", b"data: x\n\n")
    (record,) = await probe.all("a")
    with pytest.raises(AssertionError, match=r"here: .* has come back as Record"):
        probe.same([record._replace(frame=record.frame[:-1])], [1], "here")


async def test_the_first_thing_told_wrong_is_what_is_said() -> None:
    probe = probed()
    probe.on_records([Record(5, "nobody", b"", None, 0.0)], 5)
    probe.on_records([], 3)
    with pytest.raises(AssertionError, match="tells position 5 of 'nobody', which nobody follows"):
        probe.look()
    with pytest.raises(AssertionError, match="which nobody follows"):
        probe.fail("something else")


async def test_waiting_has_an_end() -> None:
    async def never() -> str:
        return "is not there yet"

    answers = iter(["no", "no", ""])

    async def soon() -> str:
        return next(answers)

    probe = probed()
    await probe.until(soon)
    with pytest.raises(AssertionError, match="backend 'memory' is not there yet"):
        await probe.until(never)


async def test_an_append_that_fails_later_is_told() -> None:
    class Failing(MemoryBackend):
        def append(self, draft: object) -> Any:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(BackendError("memory", "full"))
            return future

    probe = probed(Failing(lambda channel: Retention()))
    with pytest.raises(AssertionError, match=r"fails in append\(\): the memory log failed: full"):
        await probe.append("a")


def test_what_is_shown_is_bounded() -> None:
    assert show("a") == "'a'"
    assert len(show("x" * 10_000)) == 120
