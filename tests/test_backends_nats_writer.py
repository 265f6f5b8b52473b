from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import until, within
from tornado_sse.backends.nats_names import Names
from tornado_sse.backends.nats_writer import Appended, Writer
from tornado_sse.errors import BackendError
from tornado_sse.record import Draft

pytestmark = pytest.mark.gen_test

TIMEOUT = 0.4


class Log:
    """A connection and an owner, as a writer takes them."""

    max_payload = 10_000

    def __init__(self) -> None:
        self.published: list[tuple[int, bytes, str]] = []
        self.appended: list[int] = []
        self.problem: BackendError | None = None

    async def publish(self, subject: str, data: bytes, number: int, headers: dict[str, str]) -> None:
        if self.problem is not None:
            raise self.problem
        self.published.append((number, data, headers["Nats-Msg-Id"]))

    def end(self, problem: BackendError) -> None:
        self.problem = problem

    def on_appended(self, appended: Appended, position: int, again: bool) -> None:
        self.appended.append(position)
        if not appended.future.done():
            appended.future.set_result(position)


def draft(text: bytes, message_id: str | None = None) -> Draft:
    return Draft("a", text, None, message_id)


def answer(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


class Working(SimpleNamespace):
    """A writer that works, while it is entered."""

    async def __aenter__(self) -> Writer:
        self.writer = Writer(self.log, Names("log"), TIMEOUT)
        self.task = asyncio.ensure_future(self.writer.run())
        return self.writer

    async def __aexit__(self, *args: object) -> None:
        self.writer.end()
        await within(self.task)


async def test_what_was_on_its_way_is_published_again_in_order() -> None:
    one, two = Log(), Log()
    async with Working(log=one) as writer:
        writer.attach(one)  # type: ignore[arg-type]
        futures = [writer.append(draft(b"%d" % i)) for i in range(4)]
        await until(lambda: len(one.published) == 4)
        writer.on_answer(1, answer(seq=10))
        writer.detach(None)
        futures.append(writer.append(draft(b"4")))
        writer.attach(two)  # type: ignore[arg-type]
        await until(lambda: len(two.published) == 4)
        assert [data for _, data, _ in two.published] == [b"1", b"2", b"3", b"4"]
        # The ids are the same, though the numbers are not.
        assert [own for _, _, own in two.published[:3]] == [own for _, _, own in one.published[1:]]
        writer.on_answer(2, answer(seq=99))  # of the connection that has ended
        for position, (number, _, _) in enumerate(two.published, 11):
            writer.on_answer(number, answer(seq=position, duplicate=position < 13))
        assert [await future for future in futures] == [10, 11, 12, 13, 14]


async def test_what_was_overtaken_is_not_published_again() -> None:
    one, two = Log(), Log()
    async with Working(log=one) as writer:
        writer.attach(one)  # type: ignore[arg-type]
        futures = [writer.append(draft(b"%d" % i)) for i in range(3)]
        await until(lambda: len(one.published) == 3)
        writer.on_answer(2, answer(seq=10))
        writer.detach(None)
        writer.attach(two)  # type: ignore[arg-type]
        with pytest.raises(BackendError, match="a later event is in the log already"):
            await futures[0]
        await until(lambda: len(two.published) == 1)
        writer.on_answer(two.published[0][0], answer(seq=11))
        assert [await future for future in futures[1:]] == [10, 11]


async def test_what_gets_no_answer_ends_the_connection_in_time_for_another() -> None:
    one, two = Log(), Log()
    async with Working(log=one) as writer:
        writer.attach(one)  # type: ignore[arg-type]
        future = writer.append(draft(b"0"))
        await until(lambda: one.problem is not None)
        assert not future.done()
        writer.attach(two)  # type: ignore[arg-type]
        await until(lambda: len(two.published) == 1)
        writer.on_answer(two.published[0][0], answer(seq=1))
        assert await future == 1


async def test_what_takes_too_long_fails_with_the_problem() -> None:
    log = Log()
    async with Working(log=log) as writer:
        writer.detach(BackendError("nats", "nowhere to be seen"))
        for future in [writer.append(draft(b"x")) for _ in range(2)]:
            with pytest.raises(BackendError, match="nowhere to be seen"):
                await within(future)


async def test_what_waits_for_what_is_slow_fails_in_time() -> None:
    log = Log()
    async with Working(log=log) as writer:
        writer.attach(log)  # type: ignore[arg-type]
        futures = [writer.append(draft(b"%d" % i)) for i in range(600)]
        answered = 0
        while not futures[-1].done():
            if answered < len(log.published):
                answered += 1
                writer.on_answer(answered, answer(seq=answered))
            await asyncio.sleep(0.01)
        await asyncio.wait(futures)
    taken = [future.result() for future in futures if future.exception() is None]
    assert taken == log.appended
    assert len(taken) < 100


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ({"err_code": 10077, "description": "maximum bytes exceeded"}, "no room for more: raise its limits"),
        ({"err_code": 1, "description": "something else"}, "the server answers: something else"),
    ],
)
async def test_what_is_refused_fails_alone(error: dict[str, Any], sentence: str) -> None:
    log = Log()
    async with Working(log=log) as writer:
        writer.attach(log)  # type: ignore[arg-type]
        refused, taken = writer.append(draft(b"0")), writer.append(draft(b"1"))
        await until(lambda: len(log.published) == 2)
        writer.on_answer(1, answer(error=error))
        writer.on_answer(2, answer(seq=1))
        with pytest.raises(BackendError, match=sentence):
            await refused
        assert await taken == 1


async def test_what_is_in_process_is_asked_for_again() -> None:
    log = Log()
    async with Working(log=log) as writer:
        writer.attach(log)  # type: ignore[arg-type]
        future = writer.append(draft(b"0", "m"))
        await until(lambda: len(log.published) == 1)
        writer.on_answer(1, answer(error={"err_code": 10158}))
        await until(lambda: len(log.published) == 2)
        assert [own for _, _, own in log.published] == ["m/a/m", "m/a/m"]
        writer.on_answer(2, answer(seq=5, duplicate=True))
        assert await future == 5


async def test_what_is_too_large_is_not_published() -> None:
    log = Log()
    async with Working(log=log) as writer:
        writer.attach(log)  # type: ignore[arg-type]
        with pytest.raises(BackendError, match="an event of 10000 bytes is beyond"):
            await writer.append(draft(b"x" * 10_000))
    assert log.published == []


async def test_so_much_and_no_more_is_on_its_way() -> None:
    log = Log()
    async with Working(log=log) as writer:
        writer.attach(log)  # type: ignore[arg-type]
        futures = [writer.append(draft(b"x" * 9_000)) for _ in range(1_000)]
        done = 0
        while done < 1_000:
            await until(lambda: len(log.published) > done)  # noqa: B023
            assert len(log.published) - done <= 512
            done += 1
            writer.on_answer(done, answer(seq=done))
        assert [await future for future in futures] == [*range(1, 1_001)]


async def test_who_is_cancelled_leaves_nobody_waiting() -> None:
    log = Log()
    writer = Writer(log, Names("log"), TIMEOUT)
    task = asyncio.ensure_future(writer.run())
    writer.attach(log)  # type: ignore[arg-type]
    flying = writer.append(draft(b"0"))
    await until(lambda: len(log.published) == 1)
    writer.detach(None)
    waiting = writer.append(draft(b"1"))
    task.cancel()
    for future in (flying, waiting):
        with pytest.raises(BackendError, match="it has been closed"):
            await future
