from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tornado_sse.errors import SettingError
from tornado_sse.log import OVERHEAD, ChannelLog, Retention
from tornado_sse.record import Record

UNLIMITED = Retention(None, None, None, None)


def record(position: int, key: str | None = None, size: int = 10, time: float = 0.0) -> Record:
    return Record(position, "c", b"x" * size, key, time)


def filled(retention: Retention, *records: Record) -> ChannelLog:
    log = ChannelLog(retention)
    for each in records:
        log.append(each)
    return log


def positions(log: ChannelLog, after: int = 0, upto: int = 10**9, size: int = 10**9) -> list[int]:
    return [each.position for each in log.read(after, upto, size)[0]]


@pytest.mark.parametrize("name", ["events", "bytes", "age", "keys"])
@pytest.mark.parametrize("value", [0, -1, True, "5", 1e16, float("nan"), float("inf")])
def test_a_limit_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"retention's {name} must be a positive"):
        Retention(**{name: value})


def test_only_age_may_be_a_fraction() -> None:
    assert Retention(age=0.5).age == 0.5
    with pytest.raises(SettingError, match="retention's events must be a positive whole number"):
        Retention(events=1.5)  # type: ignore[arg-type]


def test_no_limit_is_none() -> None:
    log = filled(UNLIMITED, *(record(i, time=i * 1e6) for i in range(1, 5000)))
    log.expire(1e15)
    assert (len(log), log.start) == (4999, 0)


def test_the_oldest_go_when_there_are_too_many() -> None:
    log = filled(Retention(events=3), *(record(i * 2) for i in range(1, 6)))
    assert positions(log) == [6, 8, 10]
    assert (log.start, log.end) == (4, 10)


def test_bytes_count_with_what_a_record_takes_beside() -> None:
    limit = 3 * (10 + OVERHEAD)
    log = filled(Retention(bytes=limit), *(record(i) for i in range(1, 6)))
    assert positions(log) == [3, 4, 5]


def test_the_newest_is_kept_however_large_it_is() -> None:
    log = filled(Retention(bytes=100), record(1), record(2, size=100_000))
    assert positions(log) == [2]


def test_age_is_seen_to_when_there_is_something_new_and_when_told() -> None:
    log = filled(
        Retention(age=10.0), record(1, time=0), record(2, time=5), record(3, "k", time=5), record(4, time=14)
    )
    assert positions(log) == [2, 3, 4]
    log.expire(15.0)
    assert positions(log) == [2, 3, 4]
    log.expire(15.1)
    assert positions(log) == [4]
    assert log.start == 3
    log.expire(100.0)
    assert (len(log), log.start, log.end) == (0, 4, 4)


def test_an_event_replaces_the_last_of_its_key_and_nothing_is_missed() -> None:
    log = filled(UNLIMITED, record(1, "a"), record(2, "b"), record(3), record(4, "a"))
    assert positions(log) == [2, 3, 4]
    assert [each.position for each in log.state()] == [2, 4]
    assert log.start == 0


def test_a_flood_without_keys_leaves_the_state_whole() -> None:
    log = filled(Retention(events=5), record(1, "a"), record(2, "b"), *(record(i) for i in range(3, 1000)))
    assert [each.position for each in log.state()] == [1, 2]
    assert positions(log) == [1, 2, 995, 996, 997, 998, 999]
    assert log.start == 994


def test_the_key_not_updated_for_longest_goes_first() -> None:
    log = filled(Retention(keys=2), record(1, "a"), record(2, "b"), record(3, "a"), record(4, "c"))
    assert [each.key for each in log.state()] == ["a", "c"]
    assert log.start == 2


def test_pages_stop_at_their_size_but_have_one_event() -> None:
    log = filled(UNLIMITED, *(record(i, size=1000) for i in range(1, 6)))
    assert log.read(0, 10, 1) == ([record(1, size=1000)], True)
    assert positions(log, size=1000 + OVERHEAD) == [1]
    assert positions(log, size=1001 + OVERHEAD) == [1, 2]
    assert log.read(4, 10, 1) == ([record(5, size=1000)], False)
    assert log.read(5, 10, 1) == ([], False)


def test_what_is_beyond_the_end_asked_for_is_neither_read_nor_more() -> None:
    log = filled(UNLIMITED, *(record(i) for i in range(1, 6)))
    assert positions(log, 1, 3) == [2, 3]
    assert log.read(1, 3, 2 * (10 + OVERHEAD))[1] is False


def test_a_position_twice_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        filled(UNLIMITED, record(2), record(2))


def test_a_log_that_begins_anew_is_empty_from_there_on() -> None:
    log = filled(Retention(keys=1), record(8, "a"), record(9))
    log.clear(3)
    assert (len(log), log.start, log.end, log.state()) == (0, 3, 3, [])
    log.append(record(4, "a"))
    log.append(record(5, "b"))
    assert (positions(log), log.start) == ([5], 4)


def test_reading_stays_right_while_the_log_is_cleared_away_behind() -> None:
    log = ChannelLog(Retention(events=10))
    for i in range(1, 2000):
        log.append(record(i, "k" if i % 3 == 0 else None))
        kept = positions(log)
        assert kept == sorted(kept)
        assert len(kept) <= 11


class Model(RuleBasedStateMachine):
    """A log beside the simplest thing that does the same: a list of all there has been."""

    @initialize(
        events=st.none() | st.integers(1, 8),
        bytes=st.none() | st.integers(1, 1500),
        age=st.none() | st.integers(1, 30),
        keys=st.none() | st.integers(1, 3),
        start=st.integers(0, 5),
    )
    def begin(self, start: int, **limits: Any) -> None:
        self.limits = Retention(**limits)
        self.log = ChannelLog(self.limits, start)
        self.kept: list[Record] = []
        self.start = self.end = start
        self.now = 0.0

    def drop(self, keyed: bool) -> None:
        first = next(each for each in self.kept if (each.key is not None) == keyed)
        self.kept.remove(first)
        self.start = max(self.start, first.position)

    def plain(self) -> list[Record]:
        return [each for each in self.kept if each.key is None]

    def keyed(self) -> list[Record]:
        return [each for each in self.kept if each.key is not None]

    def size(self) -> int:
        return sum(len(each.frame) + OVERHEAD for each in self.plain())

    @rule(
        step=st.integers(1, 3),
        key=st.none() | st.sampled_from("abcde"),
        size=st.integers(0, 400),
        later=st.integers(0, 9),
    )
    def append(self, step: int, key: str | None, size: int, later: int) -> None:
        self.end += step
        self.now += later
        new = record(self.end, key, size, self.now)
        self.log.append(new)
        self.kept = [each for each in self.kept if key is None or each.key != key] + [new]
        limits = self.limits
        if limits.age is not None:
            for run in (self.plain, self.keyed):
                while len(run()) > 1 and run()[0].time < self.now - limits.age:
                    self.drop(run()[0].key is not None)
        while (limits.events is not None and len(self.plain()) > limits.events) or (
            limits.bytes is not None and self.size() > limits.bytes and len(self.plain()) > 1
        ):
            self.drop(keyed=False)
        while limits.keys is not None and len(self.keyed()) > limits.keys:
            self.drop(keyed=True)

    @rule(later=st.integers(0, 40))
    def expire(self, later: int) -> None:
        self.now += later
        self.log.expire(self.now)
        if self.limits.age is not None:
            for old in [each for each in self.kept if each.time < self.now - self.limits.age]:
                self.kept.remove(old)
                self.start = max(self.start, old.position)

    @precondition(lambda self: self.end > 20)
    @rule(start=st.integers(0, 5))
    def clear(self, start: int) -> None:
        self.log.clear(start)
        self.kept, self.start, self.end = [], start, start

    @rule(after=st.integers(0, 60), more=st.integers(0, 30), size=st.integers(1, 2000))
    def read(self, after: int, more: int, size: int) -> None:
        wanted = [each for each in self.kept if after < each.position <= after + more]
        page: list[Record] = []
        while len(page) < len(wanted) and sum(len(each.frame) + OVERHEAD for each in page) < size:
            page.append(wanted[len(page)])
        assert self.log.read(after, after + more, size) == (page, len(page) < len(wanted))

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "log"):
            return
        assert self.log.read(0, 10**9, 10**9) == (self.kept, False)
        assert self.log.state() == self.keyed()
        assert (len(self.log), self.log.start, self.log.end) == (len(self.kept), self.start, self.end)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
