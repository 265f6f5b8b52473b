"""What an SQLite log drops: what there is no more room for, and what is too old.

How much there is of a channel is kept in its row, so nothing has to be counted. A channel is cut back to its
limits when it exceeds them by an eighth, so that the oldest events are deleted some at a time.

Age is seen to by a `Sweeper`, a few channels at a time, whether or not anybody writes to them. A channel of
which nothing is left is forgotten: its floor becomes part of one that is common to all channels without a
row, which is why names may come and go for ever. Message ids are forgotten in the same rounds. Since time
never runs backwards in a log, the oldest events are also the first.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from typing import Final

from tornado_sse.backends.base import WINDOW
from tornado_sse.log import OVERHEAD, Retention

__all__ = ["KEYED", "PLAIN", "Sweeper", "Tally", "read_tallies", "save_tallies", "trim"]

# How many channels are looked through for what is too old at a time, and how many events are dropped then at
# most: some milliseconds under the lock.
_SWEPT: Final = 200
_DROPPED: Final = 2_000

# How many seconds pass between two parts of a round through all channels, and between two rounds: at least so
# many, and so many times as long as the round took.
_PAUSE: Final = 0.02
_ROUND: Final = 1.0
_REST: Final = 100

# How many channels are looked up by one statement; SQLite takes at least 999 parameters.
_LOOKED_UP: Final = 500

#: The two runs of a channel's events, as conditions.
PLAIN: Final = "channel = :channel AND key IS NULL"
KEYED: Final = "channel = :channel AND key IS NOT NULL"


class Tally:
    """How much there is of a channel."""

    __slots__ = ("bytes", "events", "floor", "keys")

    def __init__(self, floor: int, events: int = 0, bytes: int = 0, keys: int = 0) -> None:
        self.floor = floor
        self.events = events
        self.bytes = bytes
        self.keys = keys


class Sweeper:
    """Drops what is too old, of all channels in turn.

    :arg retention: says how much of a channel is kept. Where it raises, everything is kept.
    """

    def __init__(self, retention: Callable[[str], Retention]) -> None:
        self._retention = retention
        self._last = ""
        self._took = 0.0
        #: When to go on, by the monotonic clock.
        self.next = 0.0

    def sweep(self, db: sqlite3.Connection, now: int) -> bool:
        """Go on with the next channels, at a time in microseconds; return whether that ends a round."""
        began = time.monotonic()
        self.next = began + _PAUSE
        _forget_messages(db, now)
        last = _sweep(db, self._last, _SWEPT, now, self._age)
        self._took += time.monotonic() - began
        self._last = last or ""
        if last is not None:
            return False
        self.next = began + max(_ROUND, _REST * self._took)
        self._took = 0.0
        return True

    def _age(self, channel: str) -> float | None:
        try:
            return self._retention(channel).age
        except Exception:
            return None  # who appends to the channel is told; the other channels must not suffer


def trim(db: sqlite3.Connection, channel: str, tally: Tally, limit: Retention) -> None:
    """Drop what there is no more room for."""
    if _exceeds(tally.events, limit.events) or _exceeds(tally.bytes, limit.bytes):
        _drop_plain(db, channel, tally, limit)
    if limit.keys is not None and _exceeds(tally.keys, limit.keys):
        _drop_keyed(db, channel, tally, tally.keys - limit.keys)


def _exceeds(count: int, limit: int | None) -> bool:
    return limit is not None and count > limit + limit // 8


def read_tallies(db: sqlite3.Connection, channels: Iterable[str], floor: int) -> dict[str, Tally]:
    """Return how much there is of some channels.

    :arg int floor: that of the channels without a row.
    """
    tallies = {channel: Tally(floor) for channel in channels}
    names = [*tallies]
    for begin in range(0, len(names), _LOOKED_UP):
        some = names[begin : begin + _LOOKED_UP]
        marks = ",".join("?" * len(some))
        for name, *numbers in db.execute(
            f"SELECT name, floor, events, bytes, keys FROM channel WHERE name IN ({marks})", some
        ):
            tallies[name] = Tally(*numbers)
    return tallies


def save_tallies(db: sqlite3.Connection, tallies: dict[str, Tally]) -> None:
    """Write down how much there is of some channels."""
    db.executemany(
        "INSERT OR REPLACE INTO channel (name, floor, events, bytes, keys) VALUES (?, ?, ?, ?, ?)",
        [(name, tally.floor, tally.events, tally.bytes, tally.keys) for name, tally in tallies.items()],
    )


def _drop_plain(db: sqlite3.Connection, channel: str, tally: Tally, limit: Retention) -> None:
    upto = 0
    rows = db.execute(
        f"SELECT position, length(frame) FROM event WHERE {PLAIN} ORDER BY position", {"channel": channel}
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
    _delete(db, channel, PLAIN, upto, tally)


def _drop_keyed(db: sqlite3.Connection, channel: str, tally: Tally, count: int) -> None:
    (upto,) = db.execute(
        f"SELECT position FROM event WHERE {KEYED} ORDER BY position LIMIT 1 OFFSET :count",
        {"channel": channel, "count": count - 1},
    ).fetchone()
    tally.keys -= count
    _delete(db, channel, KEYED, upto, tally)


def _drop_old(db: sqlite3.Connection, channel: str, tally: Tally, before: int, most: int) -> int:
    dropped = 0
    for run in (PLAIN, KEYED):
        upto = 0
        rows = db.execute(
            f"SELECT position, length(frame), time FROM event WHERE {run} ORDER BY position",
            {"channel": channel},
        )
        for position, length, appended in rows:
            if appended >= before or dropped == most:
                break
            upto = position
            dropped += 1
            if run is PLAIN:
                tally.events -= 1
                tally.bytes -= length + OVERHEAD
            else:
                tally.keys -= 1
        rows.close()
        if upto:
            _delete(db, channel, run, upto, tally)
    return dropped


def _delete(db: sqlite3.Connection, channel: str, run: str, upto: int, tally: Tally) -> None:
    db.execute(f"DELETE FROM event WHERE {run} AND position <= :upto", {"channel": channel, "upto": upto})
    tally.floor = max(tally.floor, upto)


def _forget_messages(db: sqlite3.Connection, now: int) -> None:
    """Forget message ids that nobody will send again, some at a time."""
    before = now - round(WINDOW * 1e6)
    old = "SELECT channel, id FROM message WHERE time < ? LIMIT ?"
    # To look costs nothing, to write takes the lock.
    if db.execute(old, (before, 1)).fetchone():
        db.execute(f"DELETE FROM message WHERE (channel, id) IN ({old})", (before, _DROPPED))


def _sweep(
    db: sqlite3.Connection, after: str, count: int, now: int, age_of: Callable[[str], float | None]
) -> str | None:
    """Drop what is too old, of so many channels after a name; return where to go on, None at the end of all.

    It begins a transaction for writing only if there is something to drop.
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
        age = age_of(name)
        if age is not None:
            before = now - round(age * 1e6)
            if any(each is not None and each < before for each in oldest):
                due[name] = before
    last = found[-1][0] if len(found) == count else None
    if not due:
        return last
    db.execute("BEGIN IMMEDIATE")
    (floor,) = db.execute("SELECT ifnull(max(value), 0) FROM meta WHERE name = 'floor'").fetchone()
    tallies = read_tallies(db, due, floor)
    budget = _DROPPED
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
    save_tallies(db, {name: tally for name, tally in tallies.items() if name not in empty})
    db.execute("COMMIT")
    return last
