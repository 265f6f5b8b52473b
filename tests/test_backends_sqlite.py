from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support import DEADLINE, until, within
from tornado_sse.backends import sqlite_writer
from tornado_sse.backends.base import Page, RetentionOf
from tornado_sse.backends.sqlite import SQLiteBackend, renew_epoch
from tornado_sse.errors import BackendError, SettingError
from tornado_sse.log import OVERHEAD, Retention
from tornado_sse.record import Draft, Record, with_id
from tornado_sse.testing import check_backend

pytestmark = pytest.mark.gen_test

ROOT = Path(__file__).parent.parent
FRAME = b"data: x\n\n"
UNLIMITED = Retention(None, None, None, None)


class Ear:
    """Who is told."""

    def __init__(self) -> None:
        self.told: list[Record] = []
        self.position = 0
        self.epochs = 0
        self.gaps: list[str] = []
        self.calls = 0

    def on_records(self, records: Sequence[Record], position: int) -> None:
        self.told += records
        self.position = position
        self.calls += 1

    def on_gap(self, channel: str) -> None:
        self.gaps.append(channel)

    def on_epoch(self) -> None:
        self.epochs += 1

    @property
    def positions(self) -> list[int]:
        return [record.position for record in self.told]


class Clock:
    def __init__(self) -> None:
        self.now = 1.7e9

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Opened:
    """A backend, and who is told."""

    def __init__(self, backend: SQLiteBackend) -> None:
        self.backend = backend
        self.ear = Ear()
        backend.start(self.ear)

    async def append(self, channel: str = "a", data: bytes = b"x", key: str | None = None) -> int:
        return await self.backend.append(Draft(channel, b"data: %b\n\n" % data, key))

    async def positions(self, channel: str = "a", after: int = 0) -> list[int]:
        return [record.position for record in await self.all(channel, after)]

    async def all(self, channel: str = "a", after: int = 0) -> list[Record]:
        records: list[Record] = []
        more = True
        while more:
            page: Page = await self.backend.read(channel, after, 65536)
            records += page.records
            after, more = (page.records[-1].position if page.records else after), page.more
        return records


Open = Callable[..., Opened]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def opened(io_loop: IOLoop, path: Path) -> Iterator[Open]:
    loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]
    made: list[SQLiteBackend] = []

    def open(retention: Retention | RetentionOf = UNLIMITED, **options: Any) -> Opened:
        same = (lambda channel: retention) if isinstance(retention, Retention) else retention
        options = {"path": str(path), "retention": same, **options}
        backend = SQLiteBackend(**options)
        made.append(backend)
        return Opened(backend)

    yield open
    for backend in made:
        loop.run_until_complete(backend.close())


@contextlib.asynccontextmanager
async def publishing(path: Path, channel: str, count: int, publishers: int) -> AsyncIterator[Any]:
    """Have a process append, once it gets a line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.publisher", str(path), channel, str(count), str(publishers),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert await within(process.stdout.readline()) == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Have somebody else write for long."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def execute(path: Path, statement: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        return other.execute(statement).fetchall()


# The contract


async def test_it_keeps_the_contract(path: Path) -> None:
    clock = Clock()
    await check_backend(
        lambda retention: SQLiteBackend(str(path), retention, clock=clock),
        durable=True,
        shared=True,
        advance=clock.advance,
    )


async def test_it_keeps_the_contract_with_each_commit_on_the_disk(path: Path) -> None:
    await check_backend(
        lambda retention: SQLiteBackend(str(path), retention, durability="power"), durable=True, shared=True
    )


async def test_it_keeps_the_contract_with_hardly_any_cache(path: Path) -> None:
    await check_backend(
        lambda retention: SQLiteBackend(str(path), retention, cache=Retention(bytes=1, keys=None)),
        durable=True,
        shared=True,
    )


# Settings


@pytest.mark.parametrize("path", ["", ":memory:", "a\0b"])
def test_what_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(SettingError, match="needs the path of a database file"):
        SQLiteBackend(path, lambda channel: UNLIMITED)


def test_there_are_two_kinds_of_durability() -> None:
    with pytest.raises(SettingError, match="durability must be 'process' or 'power', not 'full'"):
        SQLiteBackend("x.db", lambda channel: UNLIMITED, durability="full")  # type: ignore[arg-type]


async def test_a_path_with_everything_in_it(opened: Open, tmp_path: Path) -> None:
    odd = tmp_path / "a b?mode=ro#c%20d'é.db"
    one = opened(path=str(odd))
    await one.append()
    assert odd.exists()
    assert await one.positions() == [1]


# Appending


async def test_what_is_appended_meanwhile_shares_a_commit(opened: Open, path: Path) -> None:
    one = opened()
    await one.backend.sync()
    calls = one.ear.calls
    with locked(path):
        futures = [one.backend.append(Draft("a", FRAME)) for _ in range(1000)]
        await asyncio.sleep(0.05)
        assert not any(future.done() for future in futures)
    assert await asyncio.gather(*futures) == list(range(1, 1001))
    assert one.ear.calls - calls <= 3


async def test_the_listener_has_been_told_when_an_append_is_done(opened: Open) -> None:
    one = opened()
    log = await one.backend.follow("a")
    position = await one.append("a", b"data")
    assert one.ear.told == log.read(0, position, 1000)[0]
    assert one.ear.told[0].frame == with_id(b"data: data\n\n", one.backend.epoch, position)
    other = await one.append("b")
    assert (one.ear.positions, one.ear.position) == ([position], other)


async def test_an_append_that_nobody_waits_for_is_made_all_the_same(opened: Open) -> None:
    one = opened()
    one.backend.append(Draft("a", FRAME)).cancel()
    assert await one.append() == 2
    assert await one.positions() == [1, 2]


async def test_what_can_not_be_written_fails_alone(opened: Open) -> None:
    one = opened()
    good = one.backend.append(Draft("a", FRAME))
    with pytest.raises(BackendError, match=r"the key '\\ud800' has no UTF-8"):
        one.backend.append(Draft("a", FRAME, "\ud800"))
    assert await good == 1


async def test_an_event_that_is_larger_than_sqlite_takes(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tornado_sse.backends.sqlite._MOST_BYTES", 1000)
    one = opened()
    with pytest.raises(BackendError, match="too large for SQLite"):
        one.backend.append(Draft("a", b"x" * 1001))


async def test_a_retention_that_raises_is_the_publishers_problem(opened: Open) -> None:
    def retention(channel: str) -> Retention:
        if channel == "bad":
            raise KeyError(channel)
        return UNLIMITED

    one = opened()
    two = opened(retention=retention)
    await one.append("bad")
    with pytest.raises(KeyError):
        two.backend.append(Draft("bad", FRAME))
    assert await two.append("good") == 2


async def test_events_replaced_within_one_commit_are_told_but_not_kept(opened: Open, path: Path) -> None:
    one = opened()
    log = await one.backend.follow("a")
    with locked(path):
        futures = [one.backend.append(Draft("a", b"data: %d\n\n" % i, "k")) for i in range(10)]
        await asyncio.sleep(0.01)
    positions = await asyncio.gather(*futures)
    assert one.ear.positions == positions
    assert await one.positions() == [positions[-1]] == [each.position for each in log.state()]
    assert execute(path, "SELECT keys FROM channel") == [(1,)]


# Reading


async def test_pages_of_very_many_events_have_no_holes(opened: Open) -> None:
    one = opened()
    futures = [
        one.backend.append(Draft("a", FRAME, str(i % 50) if i % 3 == 0 else None)) for i in range(5000)
    ]
    await asyncio.gather(*futures)
    found = await one.positions()
    assert found == [i + 1 for i in range(5000) if i % 3 or i >= 4850]


async def test_a_log_in_memory_has_the_recent_events_only(opened: Open) -> None:
    one = opened(cache=Retention(events=10, bytes=None, age=None, keys=None))
    await one.append("a", key="k")
    await asyncio.gather(*(one.append() for _ in range(50)))
    log = await one.backend.follow("a")
    assert [record.position for record in log.read(0, 100, 10**6)[0]] == [1, *range(42, 52)]
    assert log.start == 41
    assert (await one.backend.read("a", 0, 1)).floor == 0


async def test_a_log_in_memory_is_bounded_in_bytes(opened: Open) -> None:
    size = len(FRAME) + 30 + OVERHEAD
    one = opened(cache=Retention(events=None, bytes=10 * size, age=None, keys=None))
    await asyncio.gather(*(one.append() for _ in range(50)))
    log = await one.backend.follow("a")
    assert 9 <= len(log) <= 12
    assert log.start == 50 - len(log)


async def test_a_replay_does_not_hold_up_publishing(opened: Open) -> None:
    one = opened()
    await asyncio.gather(*(one.append() for _ in range(2000)))
    reading = [asyncio.ensure_future(one.all()) for _ in range(20)]
    acknowledged = 0
    while not all(each.done() for each in reading):
        await one.append("b")
        acknowledged += 1
    assert acknowledged > 0
    assert {len(records) for records in await asyncio.gather(*reading)} == {2000}


# Following


async def test_many_follow_one_channel_at_once(opened: Open) -> None:
    one = opened()
    await one.append()
    logs = await asyncio.gather(*(one.backend.follow("a") for _ in range(10)))
    assert len({*map(id, logs)}) == 1
    assert len(logs[0]) == 1


async def test_who_is_cancelled_while_following_takes_nobody_along(opened: Open) -> None:
    one = opened()
    await one.append()
    first, second = (asyncio.ensure_future(one.backend.follow("a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert len(await second) == 1
    await one.append()
    assert len(second.result()) == 2


async def test_unfollowing_while_following(opened: Open) -> None:
    one = opened()
    following = asyncio.ensure_future(one.backend.follow("a"))
    await asyncio.sleep(0)
    one.backend.unfollow("a")
    await following
    await one.append()
    assert one.ear.told == []
    log = await one.backend.follow("a")
    assert len(log) == 1


async def test_nothing_is_polled_for_while_nobody_follows(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = opened(), opened()
    await one.backend.sync()
    await two.append()
    assert one.backend.position == 0
    assert await one.backend.sync() == 1


# Retention


async def test_a_channel_is_kept_near_its_limits_and_costs_what_is_in_it(opened: Open, path: Path) -> None:
    one = opened(Retention(events=80, bytes=None, age=None, keys=8))
    for _ in range(10):
        await asyncio.gather(*(one.append() for _ in range(100)))
        await asyncio.gather(*(one.append(key=str(i)) for i in range(40)))
    page = await one.backend.read("a", 0, 10**6)
    plain = [record.position for record in page.records if record.key is None]
    assert 80 <= len(plain) <= 90
    assert 8 <= len(await one.backend.state("a")) <= 9
    assert page.floor >= plain[0] - 41
    assert execute(path, "SELECT events + keys FROM channel") == execute(path, "SELECT count(*) FROM event")


async def test_names_come_and_go_without_a_trace_but_the_floor(opened: Open, path: Path) -> None:
    clock = Clock()
    one = opened(Retention(age=10.0), clock=clock)
    await asyncio.gather(*(one.append(f"once.{i}", key="k" if i % 2 else None) for i in range(1000)))
    clock.advance(11)
    await until(lambda: execute(path, "SELECT count(*) FROM channel") == [(0,)])
    assert execute(path, "SELECT count(*) FROM event") == [(0,)]
    assert (await one.backend.read("never", 0, 1)).floor == 1000
    assert await one.append("once.1") == 1001
    page = await one.backend.read("once.1", 1000, 1000)
    assert ([record.position for record in page.records], page.floor) == ([1001], 1000)


async def test_what_is_too_old_leaves_the_logs_in_memory_too(opened: Open) -> None:
    clock = Clock()
    one = opened(Retention(age=10.0), clock=clock)
    log = await one.backend.follow("a")
    await one.append()
    clock.advance(11)
    await until(lambda: len(log) == 0)
    assert log.start == 1


async def test_a_clock_that_is_set_back_stands_still(opened: Open) -> None:
    clock = Clock()
    one = opened(Retention(age=100.0), clock=clock)
    await one.append()
    clock.advance(-1e6)
    await one.append()
    clock.advance(50)
    await one.append()
    records = await one.all()
    assert [record.position for record in records] == [1, 2, 3]
    assert len({record.time for record in records}) == 1
    two = opened(Retention(age=100.0), clock=clock)
    await two.append()
    assert (await two.all())[-1].time == records[0].time


# The epoch


async def test_the_epoch_stays_when_it_is_opened_again(opened: Open) -> None:
    one = opened()
    await one.append()
    await one.backend.close()
    two = opened()
    assert (await two.backend.sync(), two.backend.epoch) == (1, one.backend.epoch)
    assert await two.append() == 2
    assert two.ear.epochs == 0


async def test_positions_are_not_used_again_when_everything_has_been_dropped(opened: Open) -> None:
    clock = Clock()
    one = opened(Retention(age=1.0), clock=clock)
    await one.append()
    clock.advance(10)
    deadline = asyncio.get_running_loop().time() + DEADLINE
    while await one.positions():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    await one.backend.close()
    two = opened()
    assert await two.append() == 2


@pytest.mark.parametrize("follow", [True, False])
async def test_a_file_that_is_deleted_makes_a_new_epoch(opened: Open, path: Path, follow: bool) -> None:
    one = opened()
    log = await one.backend.follow("a") if follow else None
    await asyncio.gather(*(one.append() for _ in range(5)))
    old = one.backend.epoch
    for each in path.parent.iterdir():
        each.unlink()
    await until(lambda: one.ear.epochs)
    assert one.backend.epoch != old
    assert (one.backend.position, one.ear.epochs) == (0, 1)
    assert await one.append() == 1
    assert await one.positions() == [1]
    if log is not None:
        assert (len(log), log.start) == (1, 0)
        assert one.ear.positions[-1] == 1
    await one.backend.close()
    two = opened()
    assert await two.backend.sync() == 1
    assert two.backend.epoch == one.backend.epoch


async def test_reading_from_a_file_that_has_been_deleted_says_so_once(opened: Open, path: Path) -> None:
    one = opened()
    await one.append()
    for each in path.parent.iterdir():
        each.unlink()
    with pytest.raises(BackendError, match="it has begun anew meanwhile; ask again"):
        await one.backend.read("a", 0, 1)
    assert await one.positions() == []
    assert one.ear.epochs == 1


async def test_an_old_copy_is_told_by_renew_epoch(opened: Open, path: Path) -> None:
    one = opened()
    await asyncio.gather(*(one.append() for _ in range(5)))
    old = one.backend.epoch
    renew_epoch(str(path))
    await one.backend.sync()
    assert one.backend.epoch != old
    assert one.ear.epochs == 1
    records = await one.all()
    assert [record.position for record in records] == [1, 2, 3, 4, 5]
    assert records[0].frame == with_id(FRAME, one.backend.epoch, 1)


async def test_positions_that_go_back_make_a_new_epoch(opened: Open, path: Path) -> None:
    one = opened()
    log = await one.backend.follow("a")
    await asyncio.gather(*(one.append() for _ in range(5)))
    old = one.backend.epoch
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM event WHERE position > 3")
        other.execute("UPDATE sqlite_sequence SET seq = 3")
    await until(lambda: one.ear.epochs)
    assert one.backend.epoch != old
    assert one.backend.position == 3
    assert await one.append() == 4
    assert [record.position for record in log.read(0, 100, 10**6)[0]] == [4]
    two = opened()
    await two.backend.sync()
    assert two.backend.epoch == one.backend.epoch


async def test_an_epoch_that_is_taken_away_is_made_anew(opened: Open, path: Path) -> None:
    one = opened()
    await one.append()
    old = one.backend.epoch
    execute(path, "DELETE FROM meta WHERE name = 'epoch'")
    assert await one.append() == 2
    assert one.backend.epoch not in ("", old)
    assert one.ear.epochs == 1


# What can go wrong


async def test_no_such_directory(opened: Open, tmp_path: Path) -> None:
    one = opened(path=str(tmp_path / "none" / "log.db"))
    asked = [
        one.append(),
        one.backend.sync(),
        one.backend.follow("a"),
        one.positions(),
        one.backend.state("a"),
    ]
    for each in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(each, BackendError)
        assert "log.db can't be opened; make its directory" in str(each)
        assert isinstance(each.__cause__, sqlite3.Error)
    (tmp_path / "none").mkdir()
    assert await one.append() == 1
    assert len(await one.backend.follow("a")) == 1


async def test_what_is_not_a_database(opened: Open, path: Path) -> None:
    diary = os.open(path, os.O_CREAT | os.O_RDWR)
    os.write(diary, b"I am a diary.\n" * 100)
    one = opened()
    with pytest.raises(BackendError, match="is not a database; give another path, or move the file away"):
        await one.append()
    assert os.pread(diary, 10_000, 0) == b"I am a diary.\n" * 100
    os.close(diary)
    os.unlink(path)
    assert await one.append() == 1


async def test_the_database_of_another_program(opened: Open, path: Path) -> None:
    execute(path, "CREATE TABLE users (name)")
    one = opened()
    with pytest.raises(BackendError, match="belongs to another program; give a path of its own"):
        await one.backend.sync()
    assert execute(path, "SELECT name FROM sqlite_master") == [("users",)]


async def test_a_file_that_is_locked_for_too_long(opened: Open, path: Path) -> None:
    one = opened(timeout=0.1)
    await one.append()
    with locked(path):
        with pytest.raises(BackendError, match=r"has been locked by another process for 0.1 s"):
            await one.append()
        assert await one.positions() == [1], "reading goes on"
        assert await one.backend.sync() == 1
    assert await one.append() == 2
    assert await one.positions() == [1, 2]


async def test_no_room(opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_log = sqlite_writer.open_log
    connections: list[sqlite3.Connection] = []

    def small(*arguments: Any) -> sqlite3.Connection:
        connections.append(open_log(*arguments))
        connections[-1].execute("PRAGMA max_page_count = 42")
        return connections[-1]

    monkeypatch.setattr(sqlite_writer, "open_log", small)
    one = opened()
    log = await one.backend.follow("a")
    big = b"x" * 60_000
    acknowledged = [await one.append(data=big), await one.append(data=big)]
    futures = [asyncio.ensure_future(one.append(data=big)) for _ in range(5)]
    for each in await asyncio.gather(*futures, return_exceptions=True):
        assert isinstance(each, BackendError)
        assert "there is no room for" in str(each)
    acknowledged.append(await one.append(data=b"small"))
    assert await one.positions() == acknowledged == one.ear.positions
    connections[-1].execute("PRAGMA max_page_count = 4000")
    acknowledged.append(await one.append(data=big))
    assert await one.positions() == acknowledged == [record.position for record in log.read(0, 100, 10**9)[0]]


async def test_a_sweep_that_fails_is_tried_again(opened: Open, path: Path) -> None:
    clock = Clock()
    one = opened(Retention(age=10.0), clock=clock, timeout=0.05)
    await one.append()
    with locked(path):
        clock.advance(11)
        await one.backend.sync()
    await until(lambda: execute(path, "SELECT count(*) FROM event") == [(0,)])


async def test_a_listener_that_raises_leaves_no_publisher_without_an_answer(opened: Open, logs: Any) -> None:
    one = opened()
    await one.backend.sync()
    one.ear.on_records = lambda records, position: 1 / 0  # type: ignore[method-assign,assignment]
    assert await one.append() == 1
    logs.claim("Exception in callback _acknowledge")


async def test_asking_before_it_has_been_started() -> None:
    backend = SQLiteBackend("never.db", lambda channel: UNLIMITED)
    with pytest.raises(BackendError, match="it has not been started"):
        backend.append(Draft("a", FRAME))
    with pytest.raises(BackendError, match="it has not been started"):
        await backend.sync()
    await backend.close()


# The end


async def test_closing_finishes_what_has_been_appended(opened: Open, path: Path) -> None:
    one = opened()
    futures = [one.backend.append(Draft("a", FRAME)) for _ in range(10_000)]
    await one.backend.close()
    assert [future.result() for future in futures] == list(range(1, 10_001))
    assert execute(path, "SELECT count(*) FROM event") == [(10_000,)]
    assert [each.name for each in path.parent.iterdir()] == ["log.db"], "SQLite has tidied up"


async def test_closing_while_the_file_is_locked_fails_what_can_not_be_written(
    opened: Open, path: Path
) -> None:
    one = opened(timeout=0.1)
    await one.backend.sync()
    with locked(path):
        futures = [one.backend.append(Draft("a", FRAME)) for _ in range(10)]
        await one.backend.close()
    assert all(isinstance(future.exception(), BackendError) for future in futures)


async def test_closing_before_anything_was_asked(opened: Open) -> None:
    one = opened()
    await asyncio.gather(one.backend.close(), one.backend.close())
    with pytest.raises(BackendError, match="it has been closed"):
        await one.backend.follow("a")
    one.backend.unfollow("a")


def test_an_event_loop_that_ends_without_closing_leaves_no_thread(path: Path) -> None:
    backend = SQLiteBackend(str(path), lambda channel: UNLIMITED)

    async def use() -> None:
        backend.start(Ear())
        await backend.follow("a")

    loop = asyncio.new_event_loop()
    loop.run_until_complete(use())
    loop.close()
    assert backend._writer is not None
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("INSERT INTO event (channel, time, frame) VALUES ('a', 0, x'00')")
    backend._writer.join(DEADLINE)
    assert not backend._writer.is_alive()
    assert backend._pool is not None
    backend._pool.submit(backend._reader.close).result()
    backend._pool.shutdown()


# Other processes


async def test_what_another_backend_appends_is_told(opened: Open) -> None:
    one, two = opened(), opened()
    log = await one.backend.follow("a")
    positions = await asyncio.gather(*(two.append() for _ in range(1500)))
    await two.append("b")
    await until(lambda: one.ear.position == 1501)
    assert one.ear.positions == positions
    assert log.end == 1500
    assert one.ear.epochs == 0


async def test_telling_is_in_order_when_two_append(opened: Open) -> None:
    one, two = opened(), opened()
    for each in (one, two):
        await each.backend.follow("a")
    await asyncio.gather(*(each.append() for _ in range(300) for each in (one, two)))
    for each in (one, two):
        await each.backend.sync()
        assert each.ear.positions == list(range(1, 601))


async def test_what_is_dropped_before_it_could_be_told_is_not_passed_over(opened: Open, path: Path) -> None:
    """Another process drops what this one has not been told of."""
    one = opened(Retention(events=10))
    log, other = await one.backend.follow("a"), await one.backend.follow("b")
    await one.append("b")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as others:
        others.execute("BEGIN IMMEDIATE")
        for position in range(2, 101):
            others.execute("INSERT INTO event VALUES (?, 'a', NULL, 0, x'00')", (position,))
        others.execute("DELETE FROM event WHERE channel = 'a' AND position <= 90")
        others.execute("INSERT INTO channel VALUES ('a', 90, 10, 1010, 0)")
        others.execute("COMMIT")
    await until(lambda: one.ear.position == 100)
    assert (one.ear.epochs, one.ear.gaps) == (0, ["a"])
    assert one.ear.positions == [1, *range(91, 101)]
    assert (log.start, other.start) == (90, 0)
    page = await one.backend.read("a", 5, 10**6)
    assert page.floor == 90


async def test_what_a_forgotten_channel_had_is_not_passed_over(opened: Open, path: Path) -> None:
    one = opened()
    log = await one.backend.follow("a")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as others:
        others.execute("BEGIN IMMEDIATE")
        others.execute("INSERT INTO event VALUES (5, 'a', NULL, 0, x'00')")
        others.execute("DELETE FROM event")
        others.execute("INSERT INTO meta VALUES ('floor', 5)")
        others.execute("COMMIT")
    await until(lambda: one.ear.position == 5)
    assert (one.ear.epochs, one.ear.gaps, one.ear.told, log.start) == (0, ["a"], [], 5)


async def test_two_processes_and_a_follower_see_one_order(opened: Open, path: Path) -> None:
    one = opened()
    await one.backend.sync()
    log = await one.backend.follow("both")
    async with (
        publishing(path, "both", 100, 5) as first,
        publishing(path, "both", 100, 5) as second,
    ):
        for each in (first, second):
            each.stdin.write(b"go\n")
            await each.stdin.drain()
        outputs = [(await within(each.communicate(), 3 * DEADLINE))[0] for each in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    acknowledged: dict[int, bytes] = {}
    for output in outputs:
        lines = [line.split() for line in output.splitlines()]
        acknowledged |= {int(position): data for position, data in lines}
        for publisher in range(5):
            own = [int(position) for position, data in lines if data.startswith(b"%d." % publisher)]
            assert own == sorted(own)
    assert len(acknowledged) == 1000
    await until(lambda: len(one.ear.told) == 1000)
    assert one.ear.positions == sorted(acknowledged) == await one.positions("both")
    assert all(
        record.frame
        == with_id(b"data: %b\n\n" % acknowledged[record.position], one.backend.epoch, record.position)
        for record in one.ear.told
    )
    assert log.end == one.ear.positions[-1]
    assert one.ear.epochs == 0


async def test_what_was_acknowledged_outlives_kill_9(opened: Open, path: Path) -> None:
    one = opened()
    await one.backend.follow("a")
    epoch = one.backend.epoch
    async with publishing(path, "a", 1_000_000, 20) as process:
        process.stdin.write(b"go\n")
        await process.stdin.drain()
        lines = [await within(process.stdout.readline()) for _ in range(500)]
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = await process.communicate()
    # The last line may have been cut off.
    lines += rest.splitlines(keepends=True)
    acknowledged = {int(line.split()[0]): line.split()[1] for line in lines if line.endswith(b"\n")}
    await one.backend.sync()
    live = one.ear.positions
    await one.backend.close()

    two = opened()
    records = {record.position: record for record in await two.all()}
    assert two.backend.epoch == epoch
    for position, data in acknowledged.items():
        assert records[position].frame == with_id(b"data: %b\n\n" % data, epoch, position)
    data = [record.frame.split(b"data: ")[1] for record in records.values()]
    assert len(data) == len({*data}), "each is there once"
    assert live == [*records], "who followed meanwhile was told the same"
    for publisher in range(20):
        counts = [int(each.split(b".")[1]) for each in data if each.startswith(b"%d." % publisher)]
        assert counts == list(range(len(counts))), "in order, without a hole"
    assert await two.append() == max(records) + 1


async def test_a_file_that_can_not_be_opened_is_not_tried_without_a_pause(tmp_path: Path) -> None:
    backend = SQLiteBackend(str(tmp_path / "missing" / "x.db"), lambda channel: Retention())
    backend.start(Ear())
    with pytest.raises(BackendError, match="make its directory"):
        await backend.sync()
    began = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - began < 0.25
    await backend.close()


async def test_the_thread_ends_with_an_event_loop_that_was_closed_without_it(path: Path) -> None:
    async def main() -> SQLiteBackend:
        backend = SQLiteBackend(str(path), lambda channel: Retention())
        backend.start(Ear())
        await backend.follow("a")
        return backend

    backend = await asyncio.to_thread(lambda: asyncio.run(main()))
    writer = backend._writer
    assert writer is not None
    await until(lambda: not writer.is_alive())
    assert backend._pool is not None
    backend._pool.submit(backend._reader.close).result()
    backend._pool.shutdown()
