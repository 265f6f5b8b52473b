from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tornado_sse.backends import sqlite_retention
from tornado_sse.backends.base import WINDOW
from tornado_sse.backends.sqlite_file import open_log
from tornado_sse.backends.sqlite_log import append_events, read_head
from tornado_sse.backends.sqlite_retention import Sweeper, Tally, read_tallies, save_tallies
from tornado_sse.log import OVERHEAD, Retention
from tornado_sse.record import Draft

FRAME = b"data: x\n\n"
SIZE = len(FRAME) + OVERHEAD
SECOND = 1_000_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_log(str(tmp_path / "log.db"), "process", 1.0)
    yield connection
    connection.close()


def append(
    db: sqlite3.Connection,
    retention: Retention,
    count: int,
    *,
    keyed: bool = False,
    time: int = 0,
    channel: str = "a",
) -> None:
    """Append so many events, each in a transaction of its own."""
    for i in range(count):
        draft = Draft(channel, FRAME, str(i) if keyed else None)
        append_events(db, read_head(db)._replace(time=time), [draft], lambda channel: retention)


def kept(db: sqlite3.Connection) -> list[int]:
    return [row[0] for row in db.execute("SELECT position FROM event ORDER BY position")]


def tally(db: sqlite3.Connection, channel: str = "a") -> tuple[int, int, int, int]:
    found = read_tallies(db, [channel], -1)[channel]
    return found.floor, found.events, found.bytes, found.keys


def rounds(sweeper: Sweeper, db: sqlite3.Connection, now: int) -> int:
    """Sweep to the end of a round; return how many parts it had."""
    parts = 1
    while not sweeper.sweep(db, now):
        parts += 1
    return parts


def test_a_channel_is_cut_back_when_it_exceeds_a_limit_by_an_eighth(db: sqlite3.Connection) -> None:
    limit = Retention(80, None, None, None)
    append(db, limit, 90)
    assert len(kept(db)) == 90
    append(db, limit, 1)
    assert kept(db) == [*range(12, 92)]
    assert tally(db) == (11, 80, 80 * SIZE, 0)


def test_a_small_limit_is_kept_to_the_event(db: sqlite3.Connection) -> None:
    append(db, Retention(3, None, None, None), 10)
    assert kept(db) == [8, 9, 10]


def test_bytes(db: sqlite3.Connection) -> None:
    append(db, Retention(None, 5 * SIZE, None, None), 20)
    assert 4 <= len(kept(db)) <= 5
    append(db, Retention(None, 1, None, None), 1)
    assert kept(db) == [21]
    assert tally(db) == (20, 1, SIZE, 0)


def test_keys(db: sqlite3.Connection) -> None:
    append(db, Retention(None, None, None, 4), 20, keyed=True)
    assert kept(db) == [17, 18, 19, 20]
    assert tally(db) == (16, 0, 0, 4)


def test_channels_without_a_row_have_the_common_floor(db: sqlite3.Connection) -> None:
    assert tally(db, "never") == (-1, 0, 0, 0)
    save_tallies(db, {"b": Tally(5, 1, 2, 3)})
    assert tally(db, "b") == (5, 1, 2, 3)


def test_what_is_too_old_goes_and_its_channel_when_nothing_is_left(db: sqlite3.Connection) -> None:
    limit = Retention(None, None, 10.0, None)
    append(db, limit, 3)
    append(db, limit, 2, keyed=True, time=5 * SECOND)
    sweeper = Sweeper(lambda channel: limit)
    rounds(sweeper, db, 10 * SECOND)
    assert kept(db) == [1, 2, 3, 4, 5]
    rounds(sweeper, db, 10 * SECOND + 1)
    assert kept(db) == [4, 5]
    assert tally(db) == (3, 0, 0, 2)
    rounds(sweeper, db, 16 * SECOND)
    assert (kept(db), tally(db), read_head(db).floor) == ([], (-1, 0, 0, 0), 5)


def test_a_sweep_that_finds_nothing_does_not_lock_anybody_out(db: sqlite3.Connection) -> None:
    append(db, Retention(None, None, 10.0, None), 3)
    db.execute("PRAGMA query_only = ON")
    rounds(Sweeper(lambda channel: Retention(age=10.0)), db, 5 * SECOND)
    with pytest.raises(sqlite3.OperationalError):
        rounds(Sweeper(lambda channel: Retention(age=10.0)), db, 50 * SECOND)


def test_many_channels_are_swept_a_few_at_a_time(db: sqlite3.Connection) -> None:
    limit = Retention(age=10.0)
    drafts = [Draft(f"c.{i}", FRAME) for i in range(450)]
    append_events(db, read_head(db), drafts, lambda channel: limit)
    assert rounds(Sweeper(lambda channel: limit), db, 20 * SECOND) == 3
    assert kept(db) == []


def test_very_many_events_are_dropped_some_at_a_time(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_retention, "_DROPPED", 10)
    limit = Retention(age=10.0)
    for name in ("a", "b", "c"):
        append_events(db, read_head(db), [Draft(name, FRAME)] * 13, lambda channel: limit)
    sweeper = Sweeper(lambda channel: limit)
    assert not sweeper.sweep(db, 20 * SECOND)
    assert kept(db) == [*range(11, 40)]
    assert tally(db) == (10, 3, 3 * SIZE, 0)
    assert rounds(sweeper, db, 20 * SECOND) == 3
    assert kept(db) == []


def test_a_retention_that_raises_keeps_its_channel_and_no_other(db: sqlite3.Connection) -> None:
    limit = Retention(age=10.0)
    for name in ("a", "bad", "c"):
        append(db, limit, 1, channel=name)

    def retention(channel: str) -> Retention:
        if channel == "bad":
            raise KeyError(channel)
        return limit

    rounds(Sweeper(retention), db, 20 * SECOND)
    assert kept(db) == [2]


def test_a_sweeper_rests_between_rounds(db: sqlite3.Connection) -> None:
    sweeper = Sweeper(lambda channel: Retention())
    before = time.monotonic()
    assert sweeper.sweep(db, 0)
    assert sweeper.next >= before + 1.0


def test_message_ids_are_forgotten_when_nobody_will_send_them_again(db: sqlite3.Connection) -> None:
    window = round(WINDOW * SECOND)
    for number, now in enumerate((0, 0, SECOND)):
        head = read_head(db)._replace(time=now)
        append_events(db, head, [Draft("a", FRAME, None, str(number))], lambda channel: Retention())
    rounds(Sweeper(lambda channel: Retention()), db, window)
    assert db.execute("SELECT count(*) FROM message").fetchone() == (3,)
    rounds(Sweeper(lambda channel: Retention()), db, window + 1)
    assert db.execute("SELECT id FROM message").fetchall() == [("2",)]
