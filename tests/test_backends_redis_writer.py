from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support import until
from tornado_sse.backends.redis_link import Anew
from tornado_sse.backends.redis_writer import Writer
from tornado_sse.errors import BackendError
from tornado_sse.log import Retention
from tornado_sse.record import Draft

pytestmark = pytest.mark.gen_test

DRAFT = Draft("a", b"data: x\n\n")


class Log:
    """A log that a writer takes for its link and its owner."""

    def __init__(self, *problems: Exception) -> None:
        self.epoch = "e"
        self.position = 0
        self.problems = [*problems]
        self.asked: list[tuple[str, int]] = []
        self.renewals = 0
        self.telling: asyncio.Event | None = None

    async def ask(self, name: str, *args: Any, deadline: float) -> Any:
        await asyncio.sleep(0)
        self.asked.append((name, args[3] if name == "append" else 0))
        if self.problems:
            raise self.problems.pop(0)
        if name == "mark":
            return [self.epoch.encode(), self.position]
        count = (len(args) - 7 - 5) // 4
        first = self.position + 1
        self.position += count
        return " ".join(map(str, [self.position, *range(first, first + count)])).encode()

    async def close(self) -> None: ...

    async def told(self, epoch: str, position: int) -> None:
        if self.telling is not None:
            await self.telling.wait()

    async def renewed(self, epoch: str, deadline: float) -> None:
        self.renewals += 1
        self.epoch += "x"


def writer(log: Log) -> Writer:
    return Writer(log, log, lambda channel: Retention(), "t/", 1.0, lambda: 0)  # type: ignore[arg-type]


async def finish(it: Writer) -> None:
    it.end()
    await it.run()


async def test_what_has_gathered_is_one_batch_and_tells_who_asks_to_be_told() -> None:
    log = Log()
    it = writer(log)
    futures = [it.append(DRAFT), it.sync(), it.append(DRAFT), it.sync()]
    await finish(it)
    assert [future.result() for future in futures] == [1, 0, 2, 0]
    assert log.asked == [("append", 1)]


async def test_to_be_told_alone_costs_a_mark() -> None:
    log = Log()
    it = writer(log)
    futures = [it.sync() for _ in range(10)]
    await finish(it)
    assert {future.result() for future in futures} == {0}
    assert log.asked == [("mark", 0)]


async def test_a_batch_has_the_same_number_when_the_log_has_begun_anew() -> None:
    log = Log(Anew(), Anew())
    it = writer(log)
    future = it.append(DRAFT)
    await finish(it)
    assert future.result() == 1
    assert log.asked == [("append", 1)] * 3
    assert (log.renewals, log.epoch) == (2, "exx")


async def test_the_next_batch_does_not_wait_until_one_is_told() -> None:
    log = Log()
    log.telling = asyncio.Event()
    it = writer(log)
    running = asyncio.ensure_future(it.run())
    first = it.append(DRAFT)
    await until(lambda: len(log.asked) == 1)
    second = it.append(DRAFT)
    await until(lambda: len(log.asked) == 2)
    assert not first.done()
    assert not second.done()
    log.telling.set()
    assert (await first, await second) == (1, 2)
    it.end()
    await running


async def test_whoever_waits_is_told_each_by_an_error_of_their_own() -> None:
    log = Log(BackendError("redis", "no"), BackendError("redis", "no"))
    it = writer(log)
    futures = [it.append(DRAFT), it.append(DRAFT), it.sync()]
    await finish(it)
    errors = [future.exception() for future in futures]
    assert [str(error) for error in errors] == ["the redis log failed: no"] * 3
    assert len({*map(id, errors)}) == 3


async def test_what_can_not_be_appended_can_be_told_of() -> None:
    log = Log(BackendError("redis", "its memory is full"))
    it = writer(log)
    appending, telling = it.append(DRAFT), it.sync()
    await finish(it)
    assert isinstance(appending.exception(), BackendError)
    assert telling.result() == 0
    assert log.asked == [("append", 1), ("mark", 0)]


async def test_a_bug_leaves_nobody_without_an_answer() -> None:
    log = Log(LookupError("a bug"))
    it = writer(log)
    failing, good = it.append(DRAFT), it.append(DRAFT._replace(frame=b"x" * 5_000_000))
    last = it.append(DRAFT)
    await finish(it)
    for each in (failing, good):
        with pytest.raises(BackendError, match="an unexpected LookupError: a bug"):
            await each
    assert last.result() == 1


async def test_who_ends_it_at_once_leaves_nobody_without_an_answer() -> None:
    log = Log()
    log.telling = asyncio.Event()
    it = writer(log)
    running = asyncio.ensure_future(it.run())
    future = it.append(DRAFT)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(BackendError, match="has been closed"):
        await future
