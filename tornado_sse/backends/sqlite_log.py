"""A log in an SQLite database: what is asked of the tables. Plain functions, called within a transaction.

Each channel's events are two runs, as in `.ChannelLog`: those without a key, which are limited together, and
the latest of each key. How much there is of either is kept in the channel's row, so an append costs the same
however much there is.

Retention: a channel is cut back to its limits when it exceeds them by an eighth, so that the oldest events
are deleted some at a time. Age is seen to by `sweep`, a few channels at a time, whether or not anybody writes
to them. A channel of which nothing is left is forgotten: its floor becomes part of one that is common to all
channels without a row, which is why names may come and go for ever.

Since time never runs backwards in a log (see `Head.time`), the oldest events are also the first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from tornado_sse.log import OVERHEAD, Retention
from tornado_sse.record import Draft, Record, with_id

__all__ = ["Head", "Tail", "append", "follow_only", "head", "lost", "news", "page", "state", "sweep", "tail"]

# How many events one sweep deletes at most: some milliseconds under the lock.
_SWEPT: Final = 2_000

# How many channels are looked up by one statement; SQLite takes at least 999 parameters.
_LOOKED_UP: Final = 500

_EVENTS: Final = "SELECT position, channel, frame, key, time FROM event"

_PLAIN: Final = "channel = :channel AND key IS NULL"
_KEYED: Final = "channel = :channel AND key IS NOT NULL"
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


class Tail(NamedTuple):
    """The recent events of a channel."""

    records: Sequence[Record]
    #: All that came after this position is there, or has been replaced.
    start: int
    #: As far as the log went.
    position: int


class _Tally:
    """How much there is of a channel."""

    __slots__ = ("bytes", "events", "floor", "keys")

    def __init__(self, floor: int, events: int = 0, bytes: int = 0, keys: int = 0) -> None:
        self.floor = floor
        self.events = events
        self.bytes = bytes
        self.keys = keys


def head(db: sqlite3.Connection) -> Head:
    """Return what there is to know about the log as a whole."""
    epoch, position, floor, time = db.execute(
        """SELECT (SELECT value FROM meta WHERE name = 'epoch'),
                  (SELECT seq FROM sqlite_sequence WHERE name = 'event'),
                  (SELECT value FROM meta WHERE name = 'floor'),
                  (SELECT time FROM event ORDER BY position DESC LIMIT 1)"""
    ).fetchone()
    return Head(epoch or "", position or 0, floor or 0, time or 0)


# Writing


def append(
    db: sqlite3.Connection, now: Head, drafts: Sequence[Draft], retention: Callable[[str], Retention]
) -> None:
    """Add events behind the log's head, and drop what they replace and what there is no more room for.

    :arg now: the head, with the time of the new events.
    """
    tallies = _tallies(db, {draft.channel for draft in drafts}, now.floor)
    rows: list[tuple[int, str, str | None, int, bytes]] = []
    latest: dict[tuple[str, str], tuple[int, str, str | None, int, bytes]] = {}
    for position, (channel, frame, key) in enumerate(drafts, now.position + 1):
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
        limit = retention(channel)
        if _exceeds(tally.events, limit.events) or _exceeds(tally.bytes, limit.bytes):
            _drop_plain(db, channel, tally, limit)
        if limit.keys is not None and _exceeds(tally.keys, limit.keys):
            _drop_keyed(db, channel, tally, tally.keys - limit.keys)
    _save(db, tallies)


def sweep(
    db: sqlite3.Connection, after: str, count: int, now: int, retention: Callable[[str], Retention]
) -> str:
    """Drop what is too old, of the next few channels after a name. It begins a transaction if it must.

    :arg int count: how many channels to look at.
    :arg int now: microseconds.

    Returns the last channel that is done, or "" after the last of all.
    """
    found = db.execute(
        """SELECT name,
                  (SELECT time FROM event WHERE channel = name AND key IS NULL ORDER BY position LIMIT 1),
                  (SELECT time FROM event WHERE channel = name AND key IS NOT NULL ORDER BY position LIMIT 1)
           FROM channel WHERE name > ? ORDER BY name LIMIT ?""",
        (after, count),
    ).fetchall()
    due: dict[str, int] = {}
    for name, *oldest in found:
        age = retention(name).age
        if age is not None and any(time is not None and time < now - age * 1e6 for time in oldest):
            due[name] = now - round(age * 1e6)
    last = found[-1][0] if len(found) == count else ""
    if not due:
        return last
    db.execute("BEGIN IMMEDIATE")
    floor = head(db).floor
    tallies = _tallies(db, due, floor)
    budget = _SWEPT
    for name, tally in tallies.items():
        budget -= _drop_old(db, name, tally, due[name], budget)
        if not budget:
            last = after  # there may be more
            break
    empty = {name: tally for name, tally in tallies.items() if not tally.events + tally.keys}
    if empty:
        floor = max(floor, *(tally.floor for tally in empty.values()))
        db.execute("INSERT OR REPLACE INTO meta VALUES ('floor', ?)", (floor,))
        db.executemany("DELETE FROM channel WHERE name = ?", [(name,) for name in empty])
    _save(db, {name: tally for name, tally in tallies.items() if name not in empty})
    db.execute("COMMIT")
    return last


def _exceeds(count: int, limit: int | None) -> bool:
    return limit is not None and count > limit + limit // 8


def _tallies(db: sqlite3.Connection, channels: Iterable[str], floor: int) -> dict[str, _Tally]:
    tallies = {channel: _Tally(floor) for channel in channels}
    names = [*tallies]
    for begin in range(0, len(names), _LOOKED_UP):
        some = names[begin : begin + _LOOKED_UP]
        marks = ",".join("?" * len(some))
        for name, *numbers in db.execute(
            f"SELECT name, floor, events, bytes, keys FROM channel WHERE name IN ({marks})", some
        ):
            tallies[name] = _Tally(*numbers)
    return tallies


def _save(db: sqlite3.Connection, tallies: dict[str, _Tally]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO channel (name, floor, events, bytes, keys) VALUES (?, ?, ?, ?, ?)",
        [(name, tally.floor, tally.events, tally.bytes, tally.keys) for name, tally in tallies.items()],
    )


def _drop_plain(db: sqlite3.Connection, channel: str, tally: _Tally, limit: Retention) -> None:
    upto = 0
    rows = db.execute(
        f"SELECT position, length(frame) FROM event WHERE {_PLAIN} ORDER BY position", {"channel": channel}
    )
    for position, length in rows:
        fits = (limit.events is None or tally.events <= limit.events) and (
            limit.bytes is None or tally.bytes <= limit.bytes
        )
        if fits or tally.events == 1:
            break
        tally.events -= 1
        tally.bytes -= length + OVERHEAD
        upto = position
    rows.close()
    _delete(db, channel, _PLAIN, upto, tally)


def _drop_keyed(db: sqlite3.Connection, channel: str, tally: _Tally, count: int) -> None:
    (upto,) = db.execute(
        f"SELECT position FROM event WHERE {_KEYED} ORDER BY position LIMIT 1 OFFSET :count",
        {"channel": channel, "count": count - 1},
    ).fetchone()
    tally.keys -= count
    _delete(db, channel, _KEYED, upto, tally)


def _drop_old(db: sqlite3.Connection, channel: str, tally: _Tally, before: int, most: int) -> int:
    dropped = 0
    for run in (_PLAIN, _KEYED):
        upto = 0
        rows = db.execute(
            f"SELECT position, length(frame), time FROM event WHERE {run} ORDER BY position",
            {"channel": channel},
        )
        for position, length, time in rows:
            if time >= before or dropped == most:
                break
            upto = position
            dropped += 1
            if run is _PLAIN:
                tally.events -= 1
                tally.bytes -= length + OVERHEAD
            else:
                tally.keys -= 1
        rows.close()
        if upto:
            _delete(db, channel, run, upto, tally)
    return dropped


def _delete(db: sqlite3.Connection, channel: str, run: str, upto: int, tally: _Tally) -> None:
    db.execute(f"DELETE FROM event WHERE {run} AND position <= :upto", {"channel": channel, "upto": upto})
    tally.floor = max(tally.floor, upto)


# Reading


def page(
    db: sqlite3.Connection, now: Head, channel: str, after: int, upto: int, size: int
) -> tuple[Sequence[Record], int, bool]:
    """Return the parts of a `Page`: the events after a position, up to another, within a size in bytes."""
    rows: list[_Row] = []
    more = False
    found = db.execute(
        f"""{_EVENTS} WHERE {_PLAIN} AND {_RANGE} UNION ALL {_EVENTS} WHERE {_KEYED} AND {_RANGE}
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


def state(db: sqlite3.Connection, now: Head, channel: str, upto: int) -> Sequence[Record]:
    """Return the latest event of every key of a channel, up to a position."""
    rows = db.execute(
        f"{_EVENTS} WHERE {_KEYED} AND {_RANGE} ORDER BY position",
        {"channel": channel, "after": 0, "upto": upto},
    )
    return _records(rows, now.epoch)


def tail(db: sqlite3.Connection, now: Head, channel: str, limit: Retention) -> Tail:
    """Return the last events of a channel, as many as there is room for."""
    start = _floor(db, channel, now)
    rows: list[_Row] = []
    for run, count, size in ((_PLAIN, limit.events, limit.bytes), (_KEYED, limit.keys, None)):
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
    """Note which channels `news` and `lost` are about.

    :arg known: what was noted before; None if that is not certain.
    """
    if known is None:
        db.execute("CREATE TEMP TABLE IF NOT EXISTS followed (name TEXT PRIMARY KEY) WITHOUT ROWID")
        db.execute("DELETE FROM followed")
        known = frozenset()
    db.executemany("INSERT INTO followed VALUES (?)", [(name,) for name in channels - known])
    db.executemany("DELETE FROM followed WHERE name = ?", [(name,) for name in known - channels])


def news(db: sqlite3.Connection, now: Head, after: int, count: int) -> Sequence[Record]:
    """Return the first so many events of followed channels after a position."""
    rows = db.execute(
        """SELECT position, channel, frame, key, time FROM event CROSS JOIN followed ON name = channel
           WHERE position > ? AND position <= ? ORDER BY position LIMIT ?""",
        (after, now.position, count),
    )
    return _records(rows, now.epoch)


def lost(db: sqlite3.Connection, now: Head, after: int) -> dict[str, int]:
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
