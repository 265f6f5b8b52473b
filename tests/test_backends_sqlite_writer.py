from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support import DEADLINE, until
from tornado_sse.backends import sqlite_writer
from tornado_sse.backends.sqlite_writer import Writer
from tornado_sse.errors import BackendError
from tornado_sse.log import Retention
from tornado_sse.record import Draft, Record

pytestmark = pytest.mark.gen_test

FRAME = b"data: x\n\n"


class Owner:
    """Notes what it is told, in order."""

    def __init__(self) -> None:
        self.followed: dict[str, object] = {}
        self.notes: list[Any] = []

    def on_begun(self, epoch: str, position: int) -> None:
        self.notes.append(("begun", position))

    def on_news(self, records: Sequence[Record], position: int) -> None:
        self.notes.append(([record.position for record in records], position))

    def on_lost(self, floors: Mapping[str, int]) -> None:
        self.notes.append(("lost", floors))

    def on_time(self, now: float) -> None: ...


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "log.db")


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def writer(io_loop: IOLoop, owner: Owner, path: str) -> Iterator[Writer]:
    loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]
    writer = Writer(owner, loop, path, lambda channel: Retention(), "process", 0.2, time.time)
    writer.start()
    yield writer
    writer.end()
    writer.join(DEADLINE)
    assert not writer.is_alive()


def insert(path: str, *channels: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for channel in channels:
            other.execute("INSERT INTO event (channel, time, frame) VALUES (?, 0, x'00')", (channel,))
        other.execute("COMMIT")


async def test_it_says_where_it_begins_before_anything_else(writer: Writer, owner: Owner) -> None:
    await writer.sync()
    assert owner.notes == [("begun", 0)]


async def test_events_of_others_are_told_before_its_own(writer: Writer, owner: Owner, path: str) -> None:
    owner.followed["a"] = True
    await writer.sync()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for channel in ("a", "b", "a"):
            other.execute("INSERT INTO event (channel, time, frame) VALUES (?, 0, x'00')", (channel,))
        futures = [writer.append(Draft(channel, FRAME)) for channel in ("a", "b")]
        other.execute("COMMIT")
    assert await asyncio.gather(*futures) == [4, 5]
    told = [position for note in owner.notes[1:] for position in note[0]]
    assert told == [1, 3, 4]
    assert owner.notes[-1][1] == 5


async def test_many_events_of_others_are_told_in_pieces(writer: Writer, owner: Owner, path: str) -> None:
    owner.followed["a"] = True
    await writer.sync()
    insert(path, *(["a", "b"] * 1000))
    await until(lambda: owner.notes[-1][1] == 2000)
    pieces = [note[0] for note in owner.notes[1:]]
    assert [position for piece in pieces for position in piece] == [*range(1, 2001, 2)]
    assert max(map(len, pieces)) == 500


async def test_it_takes_notice_without_being_asked_only_if_somebody_follows(
    writer: Writer, owner: Owner, path: str
) -> None:
    await writer.sync()
    insert(path, "a")
    assert owner.notes == [("begun", 0)]
    owner.followed["a"] = True
    await until(lambda: len(owner.notes) > 1)
    assert owner.notes[1:] == [([1], 1)]


async def test_a_transaction_takes_so_much_and_no_more(
    writer: Writer, owner: Owner, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "_MOST_EVENTS", 10)
    await writer.sync()
    futures = [writer.append(Draft("a", FRAME)) for _ in range(95)]
    assert await asyncio.gather(*futures) == [*range(1, 96)]
    steps = [position for _, position in owner.notes]
    assert max(after - before for before, after in pairwise(steps)) <= 10


async def test_each_gets_an_error_of_its_own(writer: Writer, path: str) -> None:
    await writer.sync()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        futures = [writer.append(Draft("a", FRAME)) for _ in range(2)]
        errors = await asyncio.gather(*futures, return_exceptions=True)
        other.execute("ROLLBACK")
    assert errors[0] is not errors[1]
    for error in errors:
        assert isinstance(error, BackendError)
        assert isinstance(error.__cause__, sqlite3.OperationalError)


async def test_what_nobody_has_thought_of_is_an_answer_too(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await writer.sync()

    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(sqlite_writer, "append_events", fail)
    with pytest.raises(BackendError, match="an unexpected ZeroDivisionError: surprise"):
        await writer.append(Draft("a", FRAME))
    monkeypatch.undo()
    assert await writer.append(Draft("a", FRAME)) == 1


async def test_a_transaction_that_fails_leaves_nothing(
    writer: Writer, owner: Owner, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.followed["a"] = True
    append_events = sqlite_writer.append_events

    def fail(*arguments: Any) -> None:
        append_events(*arguments)
        raise sqlite3.OperationalError("after the fact")

    monkeypatch.setattr(sqlite_writer, "append_events", fail)
    with pytest.raises(BackendError, match="after the fact"):
        await writer.append(Draft("a", FRAME))
    monkeypatch.undo()
    assert await writer.append(Draft("a", FRAME)) == 1
    assert [note for note in owner.notes if note[0]][1:] == [([1], 1)]
