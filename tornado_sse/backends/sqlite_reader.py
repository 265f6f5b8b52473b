"""The connection to read an SQLite log by. Used in one thread, which is not the event loop's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from tornado_sse.backends.sqlite_file import identity, open_reader
from tornado_sse.backends.sqlite_log import Head, read_head

__all__ = ["Anew", "Reader"]

_T = TypeVar("_T")


class Anew(Exception):  # noqa: N818 - it never gets as far as a user
    """The log in the file is not the one that was asked about."""


class Reader:
    """Answers questions about a log, each from one snapshot.

    :arg str path: the database file.
    :arg float timeout: for how many seconds others may have it locked.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def ask(self, question: Callable[[sqlite3.Connection, Head], _T], epoch: str) -> _T:
        """Return the answer to a question about the log of an epoch.

        :raises Anew: if the log has another epoch, or is not there.
        :raises sqlite3.Error: if it can't be read.
        """
        found = identity(self._path)
        if found is None:
            raise Anew
        if found != self._identity:
            self.close()
        if self._db is None:
            self._db = open_reader(self._path, self._timeout)
            self._identity = found
        try:
            self._db.execute("BEGIN")
            now = read_head(self._db)
            if now.epoch != epoch:
                raise Anew
            return question(self._db, now)
        except sqlite3.Error:
            self.close()  # to begin with a new connection is always right
            raise
        finally:
            if self._db is not None and self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file."""
        db, self._db, self._identity = self._db, None, None
        if db is not None:
            db.close()
