"""The log in an SQLite database: durable, without a server, shared by the processes of one host.

Theory of operation
-------------------
Each event is a row, and its position the row's number; SQLite's lock for writing puts the events of all
processes in one order. Appending, and looking for what others have appended, is the `.Writer`'s, a thread
with a connection of its own. Reading has another thread and connection, since readers and the writer of a
database with a write-ahead log don't hold up each other. Nothing on the event loop touches the database.

A followed channel has a log in memory of its recent events. `follow` first enters the channel in `followed`,
so that what is told from now on is kept for it, then reads what there was, then waits until everything that
it has read has been told too. So the log is whole, and nothing in it lies beyond `position`.

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
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import lru_cache
from itertools import islice
from typing import Final, TypeVar

from tornado_sse.backends.base import Backend, Listener, Page, RetentionOf
from tornado_sse.backends.sqlite_file import Durability, explained, renew_epoch
from tornado_sse.backends.sqlite_log import Head, read_page, read_state, read_tail
from tornado_sse.backends.sqlite_reader import Anew, Reader
from tornado_sse.backends.sqlite_writer import Writer
from tornado_sse.errors import BackendError, SettingError
from tornado_sse.log import ChannelLog, Retention
from tornado_sse.record import Draft, Record

__all__ = ["SQLiteBackend", "renew_epoch"]

_T = TypeVar("_T")

#: How much of a followed channel is kept in memory, at most: what most who reconnect have missed.
_CACHE: Final = Retention(events=1_000, bytes=256 * 1024, age=None, keys=None)

# SQLite holds no larger value.
_MOST_BYTES: Final = 999_999_000

# How many logs in memory are looked through at a time for what is too old.
_EXPIRED: Final = 1_000


class SQLiteBackend(Backend):
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
        cache: Retention = _CACHE,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if path in ("", ":memory:") or "\0" in path:
            raise SettingError("broker", f"needs the path of a database file, not {path!r}; or use memory://")
        if durability not in ("process", "power"):
            raise SettingError("durability", f"must be 'process' or 'power', not {durability!r}")
        self.epoch = ""
        self.position = 0
        #: The followed channels, by name; for the writer.
        self.followed: OrderedDict[str, _Following] = OrderedDict()
        self._path = os.path.abspath(path)
        self._retention = lru_cache(maxsize=10_000)(retention)
        self._durability = durability
        self._cache = cache
        self._timeout = timeout
        self._clock = clock
        self._listener: Listener | None = None
        self._writer: Writer | None = None
        self._reader = Reader(self._path, timeout)
        self._pool: ThreadPoolExecutor | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = False

    def start(self, listener: Listener) -> None:
        """Begin to work for a broker, on the running event loop. The file is opened in another thread."""
        self._listener = listener
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

    async def follow(self, channel: str) -> ChannelLog:
        """Begin to tell of a channel. Its log in memory has the recent events only; `read` has the others."""
        self._checked()
        following = self.followed.get(channel)
        if following is None:
            following = self.followed[channel] = _Following()
            following.loading = asyncio.get_running_loop().create_task(self._load(channel, following))
            # It may fail when nobody waits for it any more.
            following.loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        assert following.loading is not None
        # Shielded: others may wait for it too.
        return await asyncio.shield(following.loading)

    def unfollow(self, channel: str) -> None:
        """Stop telling of a channel."""
        self.followed.pop(channel, None)

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

    # What the writer tells

    def on_begun(self, epoch: str, position: int) -> None:
        """Begin with a log that is new, or new to this process."""
        first = not self.epoch
        self.epoch, self.position = epoch, position
        for following in self.followed.values():
            following.kept.clear()
            following.floor = 0
            if following.log is not None:
                following.log.clear(position)
        if self._listener is not None:
            self._listener.on_records((), position)
            if not first:
                self._listener.on_epoch()

    def on_news(self, records: Sequence[Record], position: int) -> None:
        """Take new events into the logs in memory, and tell of them."""
        told = []
        for record in records:
            following = self.followed.get(record.channel)
            if following is None:
                continue
            if following.log is None:
                following.kept.append(record)
            else:
                following.log.append(record)
                told.append(record)
        self.position = position
        if self._listener is not None:
            self._listener.on_records(told, position)

    def on_lost(self, floors: Mapping[str, int]) -> None:
        """Set the logs' starts behind what was gone before it could be told."""
        for channel, floor in floors.items():
            following = self.followed.get(channel)
            if following is not None:
                following.floor = floor
                if following.log is not None:
                    following.log.start = max(following.log.start, floor)
                    if self._listener is not None:
                        self._listener.on_gap(channel)

    def on_time(self, now: float) -> None:
        """Drop what is too old from some of the logs in memory; from the others the next times."""
        for channel in [*islice(self.followed, _EXPIRED)]:
            self.followed.move_to_end(channel)
            log = self.followed[channel].log
            if log is not None:
                log.expire(now)

    # How it is done

    def _checked(self) -> Writer:
        if self._closed:
            raise BackendError(self.name, "it has been closed")
        if self._writer is None:
            raise BackendError(self.name, "it has not been started")
        return self._writer

    async def _opened(self) -> None:
        self._checked()
        if not self.epoch:
            await self.sync()

    async def _load(self, channel: str, following: _Following) -> ChannelLog:
        try:
            limit = _smaller(self._retention(channel), self._cache)
            await self._opened()
            epoch = None
            while epoch != self.epoch:
                epoch = self.epoch
                tail = await self._ask(lambda db, head: read_tail(db, head, channel, limit))
                await self.sync()
        except BaseException:
            if self.followed.get(channel) is following:
                del self.followed[channel]
            raise
        log = ChannelLog(limit)
        for record in tail.records:
            log.append(record)
        for record in following.kept:
            if record.position > tail.position:
                log.append(record)
        log.start = max(log.start, tail.start, following.floor)
        log.end = max(log.end, log.start)
        following.kept.clear()
        following.log = log
        return log

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


class _Following:
    """A followed channel."""

    __slots__ = ("floor", "kept", "loading", "log")

    def __init__(self) -> None:
        #: Its log in memory, when that is whole.
        self.log: ChannelLog | None = None
        #: What has been told before that.
        self.kept: list[Record] = []
        #: Up to where something may have been lost.
        self.floor = 0
        self.loading: asyncio.Task[ChannelLog] | None = None


def _smaller(one: Retention, other: Retention) -> Retention:
    limits = {}
    for field in fields(Retention):
        given = [
            limit for limit in (getattr(one, field.name), getattr(other, field.name)) if limit is not None
        ]
        limits[field.name] = min(given, default=None)
    return Retention(**limits)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
