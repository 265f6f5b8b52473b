"""A log in an SQLite database: what is asked of the tables. Plain functions, called within a transaction.

Each channel's events are two runs, as in `.ChannelLog`: those without a key, and the latest of each key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from tornado_sse.backends.sqlite_retention import KEYED, PLAIN, read_tallies, save_tallies, trim
from tornado_sse.backends.tailed import Tail
from tornado_sse.log import OVERHEAD, Retention
from tornado_sse.record import Draft, Record, with_id

__all__ = [
    "Head",
    "append_events",
    "follow_only",
    "read_head",
    "read_lost",
    "read_news",
    "read_page",
    "read_state",
    "read_tail",
]

_EVENTS: Final = "SELECT position, channel, frame, key, time FROM event"

_RANGE: Final = "position > :after AND position <= :upto"

_by_position: Final = attrgetter("position")

_Row = tuple[int, str, bytes, str | None, int]


class Head(NamedTuple):
    """What there is to know about a log as a whole."""

    #: "" if it is to be made anew.
    epoch: str
    #: The last position that has been used.
    position: int
    #: The floor of channels without a row.
    floor: int
    #: When the last event was appended: microseconds. What is appended next is no older.
    time: int


def read_head(db: sqlite3.Connection) -> Head:
    """Return what there is to know about the log as a whole."""
    epoch, position, floor, time = db.execute(
        """SELECT (SELECT value FROM meta WHERE name = 'epoch'),
                  (SELECT seq FROM sqlite_sequence WHERE name = 'event'),
                  (SELECT value FROM meta WHERE name = 'floor'),
                  (SELECT time FROM event ORDER BY position DESC LIMIT 1)"""
    ).fetchone()
    return Head(epoch or "", position or 0, floor or 0, time or 0)


# Writing


def append_events(
    db: sqlite3.Connection, now: Head, drafts: Sequence[Draft], retention: Callable[[str], Retention]
) -> list[int]:
    """Add events behind the log's head, and drop what they replace and what there is no more room for.

    :arg now: the head, with the time of the new events.

    Returns their positions. An event that has been appended before, by its message id, is not added, and has
    the position that it was given then.
    """
    positions: list[int] = []
    added: list[tuple[int, Draft]] = []
    last = now.position
    for draft in drafts:
        position = last + 1
        if draft.message_id is not None:
            position = _remember(db, draft.channel, draft.message_id, position, now.time)
        positions.append(position)
        if position > last:
            last = position
            added.append((position, draft))
    _add(db, now, added, retention)
    return positions


def _remember(db: sqlite3.Connection, channel: str, message_id: str, position: int, time: int) -> int:
    """Note where an event is about to be, unless it is in the log already; return its position."""
    (found,) = db.execute(
        """INSERT INTO message VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET time = message.time
           RETURNING position""",
        (channel, message_id, position, time),
    ).fetchone()
    return int(found)


def _add(
    db: sqlite3.Connection,
    now: Head,
    added: Sequence[tuple[int, Draft]],
    retention: Callable[[str], Retention],
) -> None:
    tallies = read_tallies(db, {draft.channel for _, draft in added}, now.floor)
    rows: list[tuple[int, str, str | None, int, bytes]] = []
    latest: dict[tuple[str, str], tuple[int, str, str | None, int, bytes]] = {}
    for position, (channel, frame, key, _) in added:
        row = (position, channel, key, now.time, frame)
        if key is None:
            rows.append(row)
            tally = tallies[channel]
            tally.events += 1
            tally.bytes += len(frame) + OVERHEAD
        else:
            # What is replaced by another event of the same transaction need not be written at all.
            latest[channel, key] = row
    for channel, key in latest:
        gone = db.execute("DELETE FROM event WHERE channel = ? AND key = ?", (channel, key)).rowcount
        tallies[channel].keys += 1 - gone
    rows += latest.values()
    if latest:
        rows.sort()  # by position: so the table only grows at its end
    db.executemany("INSERT INTO event (position, channel, key, time, frame) VALUES (?, ?, ?, ?, ?)", rows)
    for channel, tally in tallies.items():
        trim(db, channel, tally, retention(channel))
    save_tallies(db, tallies)


# Reading


def read_page(
    db: sqlite3.Connection, now: Head, channel: str, after: int, upto: int, size: int
) -> tuple[Sequence[Record], int, bool]:
    """Return the parts of a `Page`: the events after a position, up to another, within a size in bytes."""
    rows: list[_Row] = []
    more = False
    found = db.execute(
        f"""{_EVENTS} WHERE {PLAIN} AND {_RANGE} UNION ALL {_EVENTS} WHERE {KEYED} AND {_RANGE}
            ORDER BY position""",
        {"channel": channel, "after": after, "upto": upto},
    )
    for row in found:
        if size <= 0:
            more = True
            break
        rows.append(row)
        size -= len(row[2]) + OVERHEAD
    found.close()
    return _records(rows, now.epoch), _floor(db, channel, now), more


def read_state(db: sqlite3.Connection, now: Head, channel: str, upto: int) -> Sequence[Record]:
    """Return the latest event of every key of a channel, up to a position."""
    rows = db.execute(
        f"{_EVENTS} WHERE {KEYED} AND {_RANGE} ORDER BY position",
        {"channel": channel, "after": 0, "upto": upto},
    )
    return _records(rows, now.epoch)


def read_tail(db: sqlite3.Connection, now: Head, channel: str, limit: Retention) -> Tail:
    """Return the last events of a channel, as many as there is room for."""
    start = _floor(db, channel, now)
    rows: list[_Row] = []
    for run, count, size in ((PLAIN, limit.events, limit.bytes), (KEYED, limit.keys, None)):
        found = db.execute(f"{_EVENTS} WHERE {run} ORDER BY position DESC", {"channel": channel})
        used = 0
        for taken, row in enumerate(found):
            used += len(row[2]) + OVERHEAD
            if taken and ((count is not None and taken >= count) or (size is not None and used > size)):
                start = max(start, row[0])
                break
            rows.append(row)
        found.close()
    return Tail(sorted(_records(rows, now.epoch), key=_by_position), start, now.position)


def follow_only(db: sqlite3.Connection, channels: frozenset[str], known: frozenset[str] | None) -> None:
    """Note which channels `read_news` and `read_lost` are about.

    :arg known: what was noted before; None if that is not certain.
    """
    if known is None:
        db.execute("CREATE TEMP TABLE IF NOT EXISTS followed (name TEXT PRIMARY KEY) WITHOUT ROWID")
        db.execute("DELETE FROM followed")
        known = frozenset()
    db.executemany("INSERT INTO followed VALUES (?)", [(name,) for name in channels - known])
    db.executemany("DELETE FROM followed WHERE name = ?", [(name,) for name in known - channels])


def read_news(db: sqlite3.Connection, now: Head, after: int, count: int) -> Sequence[Record]:
    """Return the first so many events of followed channels after a position."""
    rows = db.execute(
        """SELECT position, channel, frame, key, time FROM event CROSS JOIN followed ON name = channel
           WHERE position > ? AND position <= ? ORDER BY position LIMIT ?""",
        (after, now.position, count),
    )
    return _records(rows, now.epoch)


def read_lost(db: sqlite3.Connection, now: Head, after: int) -> dict[str, int]:
    """Return the followed channels of which something after a position is gone already, and their floors."""
    (highest,) = db.execute("SELECT max(floor) FROM channel").fetchone()
    if max(now.floor, highest or 0) <= after:
        return {}
    return dict(
        db.execute(
            """SELECT followed.name, ifnull(floor, :common)
               FROM followed LEFT JOIN channel ON channel.name = followed.name
               WHERE ifnull(floor, :common) > :after""",
            {"common": now.floor, "after": after},
        ).fetchall()
    )


def _floor(db: sqlite3.Connection, channel: str, now: Head) -> int:
    row = db.execute("SELECT floor FROM channel WHERE name = ?", (channel,)).fetchone()
    return now.floor if row is None else int(row[0])


def _records(rows: Iterable[Any], epoch: str) -> list[Record]:
    return [
        Record(position, channel, with_id(frame, epoch, position), key, time / 1e6)
        for position, channel, frame, key, time in rows
    ]
