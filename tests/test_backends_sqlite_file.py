from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tornado_sse.backends import sqlite_file
from tornado_sse.backends.sqlite_file import (
    Durability,
    explained,
    identity,
    open_log,
    open_reader,
    renew_epoch,
)
from tornado_sse.errors import BackendError


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "log.db")


class Machine:
    """A machine that can lose its power while the database is in use."""

    def __init__(self, path: str, boot: Path) -> None:
        self.path = path
        self.boot = boot
        self.boots = 0
        self.reboot()

    def reboot(self) -> None:
        self.boots += 1
        self.boot.write_text(f"boot-{self.boots}\n")

    def epoch(self, durability: Durability = "process") -> str:
        """Open and close, and return the epoch."""
        with closing(open_log(self.path, durability, 1.0)) as db:
            return str(db.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()[0])

    def crash(self, durability: Durability = "process") -> None:
        """Open, and be gone: what is on the disk then is put there again after somebody else has closed."""
        with closing(open_log(self.path, durability, 1.0)) as db:
            db.execute("INSERT INTO event (channel, time, frame) VALUES ('a', 0, x'00')")
            left = {suffix: Path(self.path + suffix).read_bytes() for suffix in ("", "-wal")}
        for suffix, data in left.items():
            Path(self.path + suffix).write_bytes(data)


@pytest.fixture
def machine(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(sqlite_file, "_BOOT_ID", str(boot))
    return Machine(path, boot)


def test_opening_again_keeps_the_epoch(machine: Machine) -> None:
    assert machine.epoch() == machine.epoch() == machine.epoch("power")


def test_a_process_that_is_killed_keeps_the_epoch(machine: Machine) -> None:
    epoch = machine.epoch()
    machine.crash()
    assert machine.epoch() == epoch


def test_a_machine_that_is_shut_down_in_order_keeps_the_epoch(machine: Machine) -> None:
    epoch = machine.epoch()
    machine.reboot()
    assert machine.epoch() == epoch


@pytest.mark.parametrize("after", ["process", "power"])
def test_a_loss_of_power_while_in_use_makes_a_new_epoch_once(machine: Machine, after: Durability) -> None:
    epoch = machine.epoch()
    machine.crash()
    machine.reboot()
    renewed = machine.epoch(after)
    assert renewed != epoch
    machine.crash(after)
    assert machine.epoch(after) == renewed


def test_commits_that_waited_for_the_disk_outlive_a_loss_of_power(machine: Machine) -> None:
    epoch = machine.epoch("power")
    machine.crash("power")
    machine.reboot()
    assert machine.epoch("power") == epoch


def test_a_system_without_a_boot_id_keeps_the_epoch(machine: Machine) -> None:
    machine.boot.unlink()
    epoch = machine.epoch()
    machine.crash()
    assert machine.epoch() == epoch


@pytest.mark.parametrize(("durability", "synchronous"), [("process", 1), ("power", 2)])
def test_durability_is_what_sqlite_calls_synchronous(
    path: str, durability: Durability, synchronous: int
) -> None:
    with closing(open_log(path, durability, 1.0)) as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (synchronous,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_many_may_open_a_new_file_at_once(path: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = [*pool.map(lambda _: open_log(path, "process", 10.0), range(24))]
    epochs = {db.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone() for db in opened}
    for db in opened:
        db.close()
    assert len(epochs) == 1


def test_a_newer_schema_is_left_alone(path: str) -> None:
    with closing(open_log(path, "process", 1.0)) as db:
        db.execute("PRAGMA user_version = 3")
    with pytest.raises(BackendError, match="was made by a newer tornado-sse; install that here too"):
        open_log(path, "process", 1.0)


def test_an_older_schema_is_brought_on(path: str) -> None:
    with closing(open_log(path, "process", 1.0)) as db:
        (epoch,) = db.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
        schema = db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        db.execute("DROP TABLE message")
        db.execute("PRAGMA user_version = 1")
    with closing(open_log(path, "process", 1.0)) as db:
        assert db.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone() == (epoch,)
        assert db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall() == schema
        assert db.execute("PRAGMA user_version").fetchone() == (2,)


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE t (x)", "PRAGMA user_version = 5", "PRAGMA application_id = 5"]
)
def test_other_peoples_databases_are_left_alone(path: str, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
    before = Path(path).read_bytes()
    with pytest.raises(BackendError, match="belongs to another program; give a path of its own"):
        open_log(path, "process", 1.0)
    assert Path(path).read_bytes() == before


def test_a_schema_is_made_as_a_whole_or_not_at_all(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "_SCHEMA", (*sqlite_file._SCHEMA[:3], "CREATE NONSENSE"))
    with pytest.raises(sqlite3.OperationalError, match="NONSENSE"):
        open_log(path, "process", 1.0)
    monkeypatch.undo()
    with closing(open_log(path, "process", 1.0)) as db:
        assert db.execute("SELECT count(*) FROM event").fetchone() == (0,)


def test_where_there_is_no_write_ahead_log_it_says_so(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(sqlite3.Connection):
        def execute(self, statement: str, *arguments: object) -> sqlite3.Cursor:  # type: ignore[override]
            return super().execute(statement.replace("= WAL", "= DELETE"), *arguments)  # type: ignore[arg-type]

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *given, **named: connect(*given, factory=Elsewhere, **named)
    )
    with pytest.raises(BackendError, match="is where SQLite has no write-ahead log; use a local disk"):
        open_log(path, "process", 1.0)


def test_a_reader_makes_nothing_and_writes_nothing(path: str) -> None:
    with pytest.raises(sqlite3.OperationalError):
        open_reader(path, 1.0)
    assert not os.path.exists(path)
    open_log(path, "process", 1.0).close()
    with closing(open_reader(path, 1.0)) as db, pytest.raises(sqlite3.OperationalError):
        db.execute("DELETE FROM event")


def test_a_file_in_the_place_of_another_is_another(path: str) -> None:
    assert identity(path) is None
    with open(path, "w") as first:
        before = identity(path)
        assert before == identity(path)
        os.unlink(path)
        with open(path, "w"):
            assert identity(path) not in (None, before)
        first.write("still there")


def test_an_epoch_is_renewed_and_the_events_stay(machine: Machine) -> None:
    epoch = machine.epoch()
    with closing(open_log(machine.path, "process", 1.0)) as db:
        db.execute("INSERT INTO event (channel, time, frame) VALUES ('a', 0, x'00')")
    renew_epoch(machine.path)
    assert machine.epoch() != epoch
    with closing(open_reader(machine.path, 1.0)) as db:
        assert db.execute("SELECT count(*) FROM event").fetchone() == (1,)


def test_there_must_be_a_log_to_renew(path: str) -> None:
    with pytest.raises(BackendError, match="can't be opened"):
        renew_epoch(path)
    Path(path).touch()
    with pytest.raises(BackendError, match="holds no log; there is nothing to renew"):
        renew_epoch(path)


def errors(path: str) -> Iterator[tuple[sqlite3.Error, str]]:
    for code, sentence in (
        (sqlite3.SQLITE_CANTOPEN, "can't be opened; make its directory"),
        (sqlite3.SQLITE_READONLY, "can't be written; let this process write"),
        (sqlite3.SQLITE_PERM, "can't be written; let this process write"),
        (sqlite3.SQLITE_NOTADB, "is not a database; give another path"),
        (sqlite3.SQLITE_CORRUPT, "is damaged; put a copy in its place and call renew_epoch()"),
        (sqlite3.SQLITE_BUSY, "has been locked by another process for 1.5 s"),
        (sqlite3.SQLITE_BUSY | 1 << 8, "has been locked by another process for 1.5 s"),
        (sqlite3.SQLITE_FULL, "there is no room for"),
        (sqlite3.SQLITE_IOERR | 5 << 8, "can't be read or written (ouch); see to the disk"),
        (sqlite3.SQLITE_ERROR, "log.db: ouch"),
        (None, "log.db: ouch"),
    ):
        error = sqlite3.OperationalError("ouch")
        if code is not None:
            error.sqlite_errorcode = code
        yield error, sentence


def test_an_error_becomes_a_sentence_that_says_what_to_do(path: str) -> None:
    for error, sentence in errors(path):
        with pytest.raises(BackendError) as caught, explained(path, 1.5):
            raise error
        assert sentence in str(caught.value)
        assert path in str(caught.value)
        assert caught.value.__cause__ is error


def test_a_database_that_is_damaged(path: str) -> None:
    with closing(open_log(path, "process", 1.0)) as db:
        db.executemany(
            "INSERT INTO event (channel, time, frame) VALUES ('a', 0, ?)",
            [(b"x" * 1000,) for _ in range(100)],
        )
    with open(path, "r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 60_000)
    with (
        pytest.raises(BackendError, match="is damaged"),
        explained(path, 1.0),
        closing(open_log(path, "process", 1.0)) as db,
    ):
        db.execute("SELECT sum(length(frame)) FROM event").fetchone()


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Be somebody to whom permissions apply: root may write everywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_that_may_not_be_written() -> None:
    with TemporaryDirectory() as folder:  # where others may look too
        path = f"{folder}/log.db"
        open_log(path, "process", 1.0).close()
        os.chmod(path, 0o444)
        os.chmod(folder, 0o555)
        with ordinary_user(), pytest.raises(BackendError, match="can't be written"), explained(path, 1.0):
            open_log(path, "process", 1.0)
        os.chmod(folder, 0o700)
