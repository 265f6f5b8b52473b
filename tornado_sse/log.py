"""One channel's events, in memory: in order, bounded, the replaced ones left out.

A `ChannelLog` answers one question, at any time and for anybody: what came after this position? A live
subscriber that fell behind, a client that resumes and one that begins with the history all ask it, so there
is no queue for any of them.

An event with a key replaces the last one of that key at once: whoever is behind would skip it anyway. The
latest of each key is not dropped to make room for events without one, so the state of a channel stays whole
under a flood of them; how many keys there may be is limited by itself.

What has been dropped without being replaced moves `ChannelLog.start`: a reader that is at or beyond it has
missed nothing, one before it has.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from operator import attrgetter
from typing import Any, Final

from tornado_sse.errors import SettingError
from tornado_sse.record import Record

__all__ = ["OVERHEAD", "ChannelLog", "Retention"]

#: What a record takes beside its frame, in bytes, as retention and pages count it.
OVERHEAD: Final = 100

_by_position: Final = attrgetter("position")


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of a channel is kept. None is no limit; the newest event is kept however large it is.

    :arg int events: how many events without a key.
    :arg int bytes: how many bytes they may have together, each counted with 100 more than its frame.
    :arg float age: for how many seconds an event is kept, with a key or without.
    :arg int keys: for how many keys the latest event is kept; the one not updated for longest goes first.

    :raises SettingError: if a limit makes no sense.
    """

    events: int | None = 1_000
    bytes: int | None = 1024 * 1024
    age: float | None = 24 * 3600.0
    keys: int | None = 10_000

    def __post_init__(self) -> None:
        for name in ("events", "bytes", "keys"):
            _check(name, getattr(self, name), whole=True)
        _check("age", self.age, whole=False)


def _check(name: str, value: Any, *, whole: bool) -> None:
    number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if value is not None and not (number and 0 < value < 1e15):
        kind = "whole number" if whole else "number of seconds"
        raise SettingError(f"retention's {name}", f"must be a positive {kind}, or None, not {value!r}")


class ChannelLog:
    """The retained events of one channel.

    :arg retention: how much to keep.
    :arg int start: from where on the log is whole: events at or before that position may be missing.
    """

    __slots__ = ("_by_key", "_events", "_keyed", "end", "retention", "start")

    def __init__(self, retention: Retention, start: int = 0) -> None:
        self.retention = retention
        #: All that came after this position is here, or has been replaced.
        self.start = start
        #: The position of the newest event there has been, here or not.
        self.end = start
        self._events = _Run()
        self._keyed = _Run()
        self._by_key: dict[str, int] = {}

    def __len__(self) -> int:
        return self._events.count + self._keyed.count

    def append(self, record: Record) -> None:
        """Add an event behind all others, dropping what it replaces and what there is no more room for."""
        position = record.position
        assert position > self.end
        self.end = position
        key = record.key
        if key is None:
            self._events.append(record)
        else:
            replaced = self._by_key.pop(key, None)
            if replaced is not None:
                self._keyed.discard(replaced)
            self._by_key[key] = position
            self._keyed.append(record)
        self._make_room(record.time)

    def expire(self, now: float) -> None:
        """Drop what is too old at ``now``, in seconds, by the clock of the records."""
        if self.retention.age is not None:
            self._drop_before(now - self.retention.age, keep=0)

    def clear(self, start: int) -> None:
        """Begin anew: nothing is here, and the log is whole from ``start`` on."""
        self.start = self.end = start
        self._events = _Run()
        self._keyed = _Run()
        self._by_key = {}

    def read(self, after: int, upto: int, size: int) -> tuple[list[Record], bool]:
        """Return the events after one position and up to another, and whether ``size`` bytes left some out.

        There is at least one if there is any.
        """
        records: list[Record] = []
        for record in self._between(after, upto):
            if size <= 0:
                return records, True
            records.append(record)
            size -= len(record.frame) + OVERHEAD
        return records, False

    def state(self) -> list[Record]:
        """Return the latest event of every key, in the order of their positions."""
        return list(self._keyed.after(0))

    def _between(self, after: int, upto: int) -> Iterator[Record]:
        runs = [run.after(after) for run in (self._events, self._keyed) if run.count]
        for record in runs[0] if len(runs) == 1 else merge(*runs, key=_by_position):
            if record.position > upto:
                return
            yield record

    def _make_room(self, now: float) -> None:
        limit, events = self.retention, self._events
        if limit.age is not None:
            self._drop_before(now - limit.age, keep=1)
        while (limit.events is not None and events.count > limit.events) or (
            limit.bytes is not None and events.size > limit.bytes and events.count > 1
        ):
            self._drop(events)
        while limit.keys is not None and self._keyed.count > limit.keys:
            self._drop(self._keyed)

    def _drop_before(self, time: float, keep: int) -> None:
        for run in (self._events, self._keyed):
            while run.count > keep and run.first().time < time:
                self._drop(run)

    def _drop(self, run: _Run) -> None:
        record = run.pop_first()
        if record.key is not None:
            del self._by_key[record.key]
        self.start = max(self.start, record.position)


class _Run:
    """Records in the order of their positions, from which any may be taken away.

    Two lists side by side, so that a position is found by bisection. What is taken from the middle leaves a
    hole, what is taken from the front moves `_head`; both are cleared away when they are half of the whole,
    so that each operation is cheap on the average.
    """

    __slots__ = ("_head", "_positions", "_records", "count", "size")

    def __init__(self) -> None:
        self._positions: list[int] = []
        self._records: list[Record | None] = []
        self._head = 0
        self.count = 0
        self.size = 0

    def append(self, record: Record) -> None:
        self._positions.append(record.position)
        self._records.append(record)
        self.count += 1
        self.size += len(record.frame) + OVERHEAD

    def first(self) -> Record:
        while (record := self._records[self._head]) is None:
            self._head += 1
        return record

    def pop_first(self) -> Record:
        record = self.first()
        self._take(self._head)
        return record

    def discard(self, position: int) -> None:
        index = bisect_right(self._positions, position, lo=self._head) - 1
        assert self._positions[index] == position
        self._take(index)

    def after(self, position: int) -> Iterable[Record]:
        records = self._records
        # The list may grow or be cleared while somebody reads; each read is over within a call.
        for index in range(bisect_right(self._positions, position, lo=self._head), len(records)):
            if (record := records[index]) is not None:
                yield record

    def _take(self, index: int) -> None:
        record = self._records[index]
        assert record is not None
        self._records[index] = None
        self.count -= 1
        self.size -= len(record.frame) + OVERHEAD
        if len(self._records) > 2 * self.count + 32:
            kept = [record for record in self._records if record is not None]
            self._records = list(kept)
            self._positions = [record.position for record in kept]
            self._head = 0
