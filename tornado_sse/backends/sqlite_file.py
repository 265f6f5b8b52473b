"""The database file of an SQLite log: its schema, its opening, and which incarnation of the log it holds.

The *epoch* is a row of the table ``meta``. It stays as long as positions mean the same events, and is made
anew where that can't be promised:

- The file is new, or the row is not there.
- Power was lost, and commits had not been waited for (``durability="process"``). Such commits outlive the
  process but not the machine, so their positions may be given out again. It is found out by the kernel's boot
  id, which is kept in ``meta``: another one, together with a write-ahead log that nobody has closed, says
  that the machine went down while the database was in use. Where the system has no boot id, use
  ``durability="power"`` if power may fail.
- Somebody says so: `renew_epoch`, after an old copy has been put in the file's place.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final, Literal
from urllib.parse import quote

from tornado_sse.errors import BackendError
from tornado_sse.record import new_epoch

__all__ = ["Durability", "explained", "identity", "open_log", "open_reader", "renew_epoch", "write_epoch"]

#: What an acknowledged event outlives: the end of the process, or that of the machine.
Durability = Literal["process", "power"]

# "SSE1", and the number of the schema below. Whoever changes it raises the number, and adds how old files get
# there.
_APPLICATION: Final = 0x53534531
_VERSION: Final = 2

# Names are compared byte by byte (SQLite's default), so no two channels are ever mixed up.
_SCHEMA: Final = (
    # epoch, boot (see above), and floor: that of the channels that have no row.
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    # AUTOINCREMENT: no position is used twice, even if the last events have been dropped. Times are whole
    # microseconds since 1970, frames have no id yet: that is added when they are read, and knows the epoch.
    """CREATE TABLE event (position INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, key TEXT,
                           time INTEGER NOT NULL, frame BLOB NOT NULL)""",
    # An index ends with the position, so each of the first two is a channel's events in their order.
    "CREATE INDEX event_plain ON event (channel) WHERE key IS NULL",
    "CREATE INDEX event_keyed ON event (channel) WHERE key IS NOT NULL",
    "CREATE UNIQUE INDEX event_latest ON event (channel, key) WHERE key IS NOT NULL",
    # How much there is of each channel, so that nothing needs to be counted when an event is appended.
    """CREATE TABLE channel (name TEXT PRIMARY KEY, floor INTEGER NOT NULL, events INTEGER NOT NULL,
                             bytes INTEGER NOT NULL, keys INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX channel_floor ON channel (floor)",
    f"PRAGMA application_id = {_APPLICATION}",
    "PRAGMA user_version = 1",
)

# What each version has that the one before it had not.
_NEWER: Final = {
    2: (
        # The events that were appended with a message id, for as long as that is remembered.
        """CREATE TABLE message (channel TEXT NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL,
                                 time INTEGER NOT NULL, PRIMARY KEY (channel, id)) WITHOUT ROWID""",
        "CREATE INDEX message_time ON message (time)",
        "PRAGMA user_version = 2",
    ),
}

# The write-ahead log is cut back to this many bytes when a burst has made it larger.
_MOST_WAL: Final = 64 * 1024 * 1024

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


def open_log(path: str, durability: Durability, timeout: float) -> sqlite3.Connection:
    """Return a connection to write by, to a log that is made if there is none.

    :arg float timeout: seconds to wait for others who have the file locked.

    :raises BackendError: if there is something else in the file.
    :raises sqlite3.Error: if it can't be opened.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return _open(path, durability, timeout)
        except sqlite3.OperationalError as error:
            # While somebody else turns a new file into a log, SQLite does not wait as it does otherwise.
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def open_reader(path: str, timeout: float) -> sqlite3.Connection:
    """Return a connection to read by, to a log that is there.

    :raises sqlite3.Error: if it can't be opened.
    """
    connection = _connect(path, "rw", timeout)
    connection.execute("PRAGMA query_only = ON")
    return connection


def identity(path: str) -> tuple[int, int] | None:
    """Return what tells a file from another one that has come in its place, or None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def write_epoch(connection: sqlite3.Connection) -> None:
    """Begin a new epoch, within a transaction for writing."""
    _set(connection, "epoch", new_epoch())


def renew_epoch(path: str) -> None:
    """Say that the log in a file is not the one it was, after an old copy has been put in its place.

    What happened after the copy was made is gone, and its positions will be given out again. From here on
    clients that come back with an id from that time are told that they have missed something, instead of
    being taken for up to date. Processes that have the log open take notice by themselves::

        python -c "from tornado_sse.backends import renew_epoch; renew_epoch('events.db')"

    :raises BackendError: if it can't be done.
    """
    path = os.path.abspath(path)
    with explained(path, 5.0), closing(_connect(path, "rw", 5.0)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        if not _is_ours(connection, path):
            raise BackendError("sqlite", f"{path} holds no log; there is nothing to renew")
        write_epoch(connection)
        connection.execute("COMMIT")


@contextmanager
def explained(path: str, timeout: float) -> Iterator[None]:
    """Turn SQLite's errors into ones that say what to do."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise BackendError("sqlite", _explain(error, path, timeout)) from error


def _explain(error: Exception, path: str, timeout: float) -> str:
    code = _code(error)
    if code == sqlite3.SQLITE_CANTOPEN:
        return f"{path} can't be opened; make its directory, and let this process read and write there"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return f"{path} can't be written; let this process write the file and its directory"
    if code == sqlite3.SQLITE_NOTADB:
        return f"{path} is not a database; give another path, or move the file away"
    if code == sqlite3.SQLITE_CORRUPT:
        return f"{path} is damaged; put a copy in its place and call renew_epoch(), or move it away"
    if code == sqlite3.SQLITE_BUSY:
        return f"{path} has been locked by another process for {timeout:g} s; see what keeps it so long"
    if code == sqlite3.SQLITE_FULL:
        return f"there is no room for {path}; free some, and publishing works again"
    if code == sqlite3.SQLITE_IOERR:
        return f"{path} can't be read or written ({error}); see to the disk"
    return f"{path}: {error}"


def _code(error: Exception) -> int:
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else -1


def _connect(path: str, mode: str, timeout: float) -> sqlite3.Connection:
    # Connections are made and used in one thread, and closed by whoever comes last.
    return sqlite3.connect(
        f"file:{quote(path)}?mode={mode}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def _open(path: str, durability: Durability, timeout: float) -> sqlite3.Connection:
    left = _left(path)
    connection = _connect(path, "rwc", timeout)
    try:
        # Before anything in it is changed.
        connection.execute("BEGIN")
        _is_ours(connection, path)
        connection.execute("COMMIT")
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise BackendError("sqlite", f"{path} is where SQLite has no write-ahead log; use a local disk")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA journal_size_limit = {_MOST_WAL}")
        # What the epoch depends on has to be there when power comes back, whatever the durability.
        connection.execute("PRAGMA synchronous = FULL")
        _prepare(connection, path, durability, left=left)
        connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
    except BaseException:
        connection.close()
        raise
    return connection


def _left(path: str) -> bool:
    """Return whether there is a write-ahead log that is in use, or has not been closed."""
    try:
        return os.path.getsize(f"{path}-wal") > 0
    except OSError:
        return False


def _is_ours(connection: sqlite3.Connection, path: str) -> bool:
    """Return whether there is a log in the file; fail if there is something else.

    To be called within a transaction: somebody else may be making a log of it.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application or version or tables:
            raise BackendError("sqlite", f"{path} belongs to another program; give a path of its own")
        return False
    if version > _VERSION:
        raise BackendError("sqlite", f"{path} was made by a newer tornado-sse; install that here too")
    return True


def _prepare(connection: sqlite3.Connection, path: str, durability: Durability, *, left: bool) -> None:
    """Make what is missing, all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    if not _is_ours(connection, path):
        for statement in _SCHEMA:
            connection.execute(statement)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for newer in range(version + 1, _VERSION + 1):
        for statement in _NEWER[newer]:
            connection.execute(statement)
    known: dict[str, object] = dict(connection.execute("SELECT name, value FROM meta"))
    boot, now = known.get("boot"), _boot_id()
    rebooted = boot is not None and boot != now
    if "epoch" not in known or (rebooted and left):
        write_epoch(connection)
    if rebooted:
        connection.execute("DELETE FROM meta WHERE name = 'boot'")
    if durability == "process" and now and boot != now:
        _set(connection, "boot", now)
    connection.execute("COMMIT")


def _set(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def _boot_id() -> str:
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
