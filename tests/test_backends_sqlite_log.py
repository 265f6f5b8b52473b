from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tornado_sse.backends.sqlite_file import open_log
from tornado_sse.backends.sqlite_log import (
    append_events,
    follow_only,
    read_head,
    read_lost,
    read_news,
    read_page,
    read_state,
    read_tail,
)
from tornado_sse.log import OVERHEAD, Retention
from tornado_sse.record import Draft, Record, with_id

UNLIMITED = Retention(None, None, None, None)
FRAME = b"data: x\n\n"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_log(str(tmp_path / "log.db"), "process", 1.0)
    yield connection
    connection.close()


def append(
    db: sqlite3.Connection, *drafts: Draft, retention: Retention = UNLIMITED, time: int = 0
) -> list[int]:
    return append_events(db, read_head(db)._replace(time=time), drafts, lambda channel: retention)


def positions(records: object) -> list[int]:
    return [record.position for record in records]  # type: ignore[attr-defined]


def test_the_head_of_a_new_log(db: sqlite3.Connection) -> None:
    head = read_head(db)
    assert head.epoch
    assert head[1:] == (0, 0, 0)


def test_what_is_appended_is_read_as_it_was(db: sqlite3.Connection) -> None:
    append(db, Draft("a", FRAME), Draft("b", b"event: t\n\0\xff\n\n", "k"), Draft("a", FRAME), time=1_500_000)
    head = read_head(db)
    assert head[1:] == (3, 0, 1_500_000)
    records, floor, more = read_page(db, head, "b", 0, 3, 1000)
    assert records == [Record(2, "b", with_id(b"event: t\n\0\xff\n\n", head.epoch, 2), "k", 1.5)]
    assert (floor, more) == (0, False)
    assert positions(read_page(db, head, "a", 0, 3, 1000)[0]) == [1, 3]
    assert positions(read_page(db, head, "a", 0, 2, 1000)[0]) == [1]
    assert positions(read_page(db, head, "a", 1, 3, 1000)[0]) == [3]


def test_a_message_id_is_appended_once(db: sqlite3.Connection) -> None:
    one, other = Draft("a", FRAME, None, "m"), Draft("b", FRAME, None, "m")
    assert append(db, one, Draft("a", FRAME), one, other) == [1, 2, 1, 3]
    assert append(db, other, one, Draft("a", FRAME)) == [3, 1, 4]
    assert positions(read_page(db, read_head(db), "a", 0, 9, 1000)[0]) == [1, 2, 4]
    assert append(db, one) == [1]
    assert read_head(db).position == 4


def test_what_replaced_an_event_is_not_replaced_by_its_repetition(db: sqlite3.Connection) -> None:
    old, new = Draft("a", b"data: old\n\n", "k", "m"), Draft("a", b"data: new\n\n", "k")
    assert append(db, old, new, old) == [1, 2, 1]
    assert append(db, old) == [1]
    (record,) = read_state(db, read_head(db), "a", 9)
    assert (record.position, record.frame.endswith(b"data: new\n\n")) == (2, True)


def test_pages_merge_events_with_and_without_a_key(db: sqlite3.Connection) -> None:
    append(db, *(Draft("a", FRAME, str(i) if i % 2 else None) for i in range(10)))
    head = read_head(db)
    frame = len(FRAME) + OVERHEAD
    records, _, more = read_page(db, head, "a", 0, 10, 4 * frame)
    assert (positions(records), more) == ([1, 2, 3, 4], True)
    assert positions(read_page(db, head, "a", 4, 10, 10**6)[0]) == [5, 6, 7, 8, 9, 10]
    plan = [
        row[3]
        for row in db.execute("EXPLAIN QUERY PLAN SELECT * FROM event WHERE channel = 'a' AND key IS NULL")
    ]
    assert "event_plain" in plan[0]


def test_one_transaction_may_replace_what_it_appends(db: sqlite3.Connection) -> None:
    append(db, Draft("a", b"1", "k"), Draft("b", b"2", "k"), Draft("a", b"3", "k"), Draft("a", b"4", "l"))
    append(db, Draft("a", b"5", "k"))
    head = read_head(db)
    assert head.position == 5
    assert positions(read_state(db, head, "a", 5)) == [4, 5]
    assert positions(read_state(db, head, "a", 4)) == [4]
    assert positions(read_state(db, head, "b", 5)) == [2]
    assert db.execute("SELECT name, keys FROM channel ORDER BY name").fetchall() == [("a", 2), ("b", 1)]


def test_the_tail_says_where_it_begins(db: sqlite3.Connection) -> None:
    append(db, Draft("a", FRAME, "k"), *(Draft("a", FRAME) for _ in range(9)))
    head = read_head(db)
    whole = read_tail(db, head, "a", UNLIMITED)
    assert (positions(whole.records), whole.start, whole.position) == ([*range(1, 11)], 0, 10)
    cut = read_tail(db, head, "a", Retention(3, None, None, None))
    assert (positions(cut.records), cut.start) == ([1, 8, 9, 10], 7)
    small = read_tail(db, head, "a", Retention(None, 1, None, None))
    assert (positions(small.records), small.start) == ([1, 10], 9)
    assert read_tail(db, head, "never", UNLIMITED)[:2] == ([], 0)


def test_the_tail_of_a_channel_with_too_many_keys(db: sqlite3.Connection) -> None:
    append(db, *(Draft("a", FRAME, str(i)) for i in range(5)))
    cut = read_tail(db, read_head(db), "a", Retention(None, None, None, 2))
    assert (positions(cut.records), cut.start) == ([4, 5], 3)


def test_the_news_is_of_followed_channels_only(db: sqlite3.Connection) -> None:
    append(db, *(Draft(name, FRAME) for name in ("a", "b", "c", "a", "b")))
    head = read_head(db)
    follow_only(db, frozenset({"a", "b"}), None)
    assert positions(read_news(db, head, 0, 10)) == [1, 2, 4, 5]
    assert positions(read_news(db, head, 1, 2)) == [2, 4]
    follow_only(db, frozenset({"b", "c"}), frozenset({"a", "b"}))
    assert positions(read_news(db, head, 0, 10)) == [2, 3, 5]
    follow_only(db, frozenset({"c"}), None)
    assert positions(read_news(db, head, 0, 10)) == [3]


def test_what_has_been_lost_of_followed_channels(db: sqlite3.Connection) -> None:
    few = Retention(2, None, None, None)
    append(db, *(Draft("a", FRAME) for _ in range(5)), retention=few)
    append(db, *(Draft("b", FRAME) for _ in range(5)), retention=few)
    head = read_head(db)
    follow_only(db, frozenset({"a", "b", "never"}), None)
    assert read_lost(db, head, 0) == {"a": 3, "b": 8}
    assert read_lost(db, head, 3) == {"b": 8}
    assert read_lost(db, head, 8) == {}
    assert read_lost(db, head._replace(floor=9), 8) == {"never": 9}


def test_more_channels_in_one_transaction_than_one_statement_takes(db: sqlite3.Connection) -> None:
    append(db, *(Draft(f"c.{i}", FRAME) for i in range(1200)))
    append(db, *(Draft(f"c.{i}", FRAME) for i in range(1200)))
    assert db.execute("SELECT count(*), min(events), max(events) FROM channel").fetchone() == (1200, 2, 2)
