from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tornado_sse.backends.sqlite_file import open_log, renew_epoch
from tornado_sse.backends.sqlite_log import Head, read_head
from tornado_sse.backends.sqlite_reader import Anew, Reader


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "log.db")


@pytest.fixture
def reader(path: str) -> Iterator[Reader]:
    reader = Reader(path, 1.0)
    yield reader
    reader.close()


def made(path: str) -> str:
    """Make a log and return its epoch."""
    with closing(open_log(path, "process", 1.0)) as db:
        return read_head(db).epoch


def count(db: sqlite3.Connection, head: Head) -> int:
    return int(db.execute("SELECT count(*) FROM event").fetchone()[0])


def test_an_answer_is_from_one_snapshot(path: str, reader: Reader) -> None:
    epoch = made(path)

    def question(db: sqlite3.Connection, head: Head) -> tuple[int, int]:
        before = count(db, head)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("INSERT INTO event (channel, time, frame) VALUES ('a', 0, x'00')")
        return before, count(db, head)

    assert reader.ask(question, epoch) == (0, 0)
    assert reader.ask(count, epoch) == 1


def test_a_log_that_is_not_there_is_another_one(path: str, reader: Reader) -> None:
    with pytest.raises(Anew):
        reader.ask(count, "e")
    assert not os.path.exists(path)


def test_another_epoch_is_another_log(path: str, reader: Reader) -> None:
    epoch = made(path)
    assert reader.ask(count, epoch) == 0
    renew_epoch(path)
    with pytest.raises(Anew):
        reader.ask(count, epoch)


def test_a_file_in_the_place_of_another_is_another_log(path: str, reader: Reader) -> None:
    epoch = made(path)
    assert reader.ask(count, epoch) == 0
    os.rename(path, f"{path}.old")
    other = made(path)
    with pytest.raises(Anew):
        reader.ask(count, epoch)
    assert reader.ask(count, other) == 0


def test_after_an_error_it_begins_with_a_new_connection(path: str, reader: Reader) -> None:
    epoch = made(path)
    with pytest.raises(sqlite3.OperationalError):
        reader.ask(lambda db, head: db.execute("SELECT nonsense"), epoch)
    assert reader.ask(count, epoch) == 0


def test_an_answer_that_fails_holds_no_snapshot(path: str, reader: Reader) -> None:
    epoch = made(path)
    with pytest.raises(ZeroDivisionError):
        reader.ask(lambda db, head: 1 / 0, epoch)
    assert reader.ask(lambda db, head: db.in_transaction, epoch)
    assert reader._db is not None
    assert not reader._db.in_transaction
