"""The log in an SQLite database: durable, without a server, shared by the processes of one host.

Theory of operation
-------------------
Each event is a row, and its position the row's number; SQLite's lock for writing puts the events of all
processes in one order. Appending, and looking for what others have appended, is the `.Writer`'s, a thread
with a connection of its own. Reading has another thread and connection, since readers and the writer of a
database with a write-ahead log don't hold up each other. Nothing on the event loop touches the database.

What can go wrong: the file is locked, or there is no room, or no file. Whoever asks is told so by a
`BackendError`; the next one who asks makes the next attempt. An event whose append has failed is not in the
log. Followers wait, and go on where they were. If events were dropped before they could be told (this process
had been stopped, or another one appends more between two looks than the channel retains), the starts of the
channels' logs are set behind them, and ``Listener.on_gap`` is called.

A file that has been deleted, or a log whose positions have gone back, makes a new epoch; see `.sqlite_file`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from tornado_sse.backends.base import Listener, Page, RetentionOf
from tornado_sse.backends.sqlite_file import Durability, explained, renew_epoch
from tornado_sse.backends.sqlite_log import Head, read_page, read_state, read_tail
from tornado_sse.backends.sqlite_reader import Anew, Reader
from tornado_sse.backends.sqlite_writer import Writer
from tornado_sse.backends.tailed import CACHE, Tail, TailedBackend
from tornado_sse.backends.url import BackendURL, choice
from tornado_sse.errors import BackendError, SettingError
from tornado_sse.log import Retention
from tornado_sse.record import Draft, Record

__all__ = ["SQLiteBackend", "from_url", "renew_epoch"]

_T = TypeVar("_T")

# SQLite holds no larger value.
_MOST_BYTES: Final = 999_999_000


class SQLiteBackend(TailedBackend):
    """Keeps channels in a database file, beside which SQLite makes two more, ``-wal`` and ``-shm``.

    Any number of processes of one host may have it open, on a local disk: SQLite's write-ahead log does not
    work across a network. An event reaches the other processes within some 20 ms. A follower in another
    process may be told of the latest of several events with the same key only.

    A channel is cut back to its limits when it exceeds them by an eighth. Age is looked at about every
    second, or less often if there are tens of thousands of channels.

    :arg str path: the file. Its directory must exist. It is made if it does not.
    :arg retention: says how much of a channel is kept. It is called in other threads too, and its answers are
        remembered.
    :arg durability: what an acknowledged event outlives. ``"process"``: this process, however it ends, and
        not always a loss of power; when that is found out, a new epoch begins. ``"power"``: a loss of power
        too; each commit waits for the disk then. Give the same in all processes.
    :arg cache: how much of a followed channel is kept in memory, at most.
    :arg float timeout: for how many seconds another process may have the file locked, before what is asked
        for fails.
    :arg clock: tells the time, in seconds since 1970. If it is set back it stands still for the log until it
        has caught up.

    :raises SettingError: if the path is one that SQLite does not take for a file.
    """

    name = "sqlite"

    def __init__(
        self,
        path: str,
        retention: RetentionOf,
        *,
        durability: Durability = "process",
        cache: Retention = CACHE,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if path in ("", ":memory:") or "\0" in path:
            raise SettingError("broker", f"needs the path of a database file, not {path!r}; or use memory://")
        if durability not in ("process", "power"):
            raise SettingError("durability", f"must be 'process' or 'power', not {durability!r}")
        super().__init__(retention, cache)
        self._path = os.path.abspath(path)
        self._durability = durability
        self._timeout = timeout
        self._clock = clock
        self._writer: Writer | None = None
        self._reader = Reader(self._path, timeout)
        self._pool: ThreadPoolExecutor | None = None
        self._closing: asyncio.Task[None] | None = None

    def start(self, listener: Listener) -> None:
        """Begin to work for a broker, on the running event loop. The file is opened in another thread."""
        super().start(listener)
        loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(1, "tornado_sse reader")
        self._writer = Writer(
            self, loop, self._path, self._retention, self._durability, self._timeout, self._clock
        )
        self._writer.start()

    def append(self, draft: Draft) -> asyncio.Future[int]:
        """Append an event. Those appended while others are being committed are committed together."""
        writer = self._checked()
        # Neither may fail later, together with others.
        self._retention(draft.channel)
        if len(draft.frame) > _MOST_BYTES:
            raise BackendError(self.name, "an event is too large for SQLite")
        if draft.key is not None and not _is_unicode(draft.key):
            raise BackendError(self.name, f"the key {draft.key!r} has no UTF-8")
        return writer.append(draft)

    async def sync(self) -> int:
        """Tell everything that any process has committed."""
        await self._checked().sync()
        return self.position

    async def read(self, channel: str, after: int, size: int) -> Page:
        """Read events of a channel, as the file has them."""
        await self._opened()
        upto = self.position
        return Page(*await self._ask(lambda db, head: read_page(db, head, channel, after, upto, size)))

    async def state(self, channel: str) -> Sequence[Record]:
        """Return the latest event of every key of a channel."""
        await self._opened()
        upto = self.position
        return await self._ask(lambda db, head: read_state(db, head, channel, upto))

    async def close(self) -> None:
        """Commit what has been appended, and close the file."""
        self._closed = True
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def read_tail(self, channel: str, limit: Retention) -> Tail:
        """Return the last events of a channel."""
        return await self._ask(lambda db, head: read_tail(db, head, channel, limit))

    # How it is done

    def _checked(self) -> Writer:
        self._check()
        assert self._writer is not None
        return self._writer

    async def _ask(self, question: Callable[[sqlite3.Connection, Head], _T]) -> _T:
        """Return the answer to a question about the log as it was told."""
        epoch = self.epoch
        for _ in range(2):
            self._checked()
            assert self._pool is not None
            loop = asyncio.get_running_loop()
            try:
                with explained(self._path, self._timeout):
                    return await loop.run_in_executor(self._pool, self._reader.ask, question, epoch)
            except Anew:
                await self.sync()
                if self.epoch != epoch:
                    break
        raise BackendError(self.name, "it has begun anew meanwhile; ask again")

    async def _close(self) -> None:
        if self._writer is None or self._pool is None:
            return
        loop = asyncio.get_running_loop()
        self._writer.end()
        await loop.run_in_executor(self._pool, self._reader.close)
        await loop.run_in_executor(self._pool, self._writer.join)
        self._pool.shutdown()
        self._listener = None
        self.followed.clear()


def from_url(url: str, retention: RetentionOf) -> SQLiteBackend:
    """Return the backend of ``sqlite:///events.db?durability=power``.

    :raises SettingError: if the URL makes no sense.
    """
    parsed = BackendURL(url)
    found = parsed.parameters({"durability": choice("process", "power")})
    path = parsed.unquoted(parsed.path[1:])
    if parsed.netloc or not path:
        host = parsed.netloc
        hint = f"sqlite:///{host}{parsed.path}" if host else "sqlite:///events.db"
        raise SettingError("broker", f"{parsed!r} names no file; write {hint}")
    return SQLiteBackend(path, retention, durability=found.get("durability", "process"))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
