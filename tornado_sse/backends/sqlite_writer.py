"""The thread that writes an SQLite log, and finds out what others have written.

It takes whatever has been asked for since it last looked, and does it in one transaction: the busier it is,
the more events share a commit. Then it posts the outcome to the event loop, which alone touches futures,
listeners and logs in memory. What it posts arrives in order, and that order is the order of positions:

- It keeps in mind up to which position it has told (`_seen`). Whatever lies between that and the log's head
  when a transaction begins is from other processes, and is told first.
- Within a transaction for writing nobody else can add anything, so what it appends then comes next.

Somebody else's commits show in ``PRAGMA data_version``, which costs some microseconds to look at. That is
done every `POLL` seconds while a channel is followed, and the event loop hears nothing of it.

A channel counts as followed from when it is in `Owner.followed`. The writer looks there after its own commit,
and after the snapshot it reads others' events in has begun. What is not told because of that is therefore in
any snapshot that begins after the channel has been entered: who follows enters first, and reads then.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from tornado_sse.backends.sqlite_file import Durability, explained, identity, open_log, write_epoch
from tornado_sse.backends.sqlite_log import (
    Head,
    append_events,
    follow_only,
    read_head,
    read_lost,
    read_news,
)
from tornado_sse.backends.sqlite_retention import Sweeper
from tornado_sse.errors import BackendError
from tornado_sse.log import Retention
from tornado_sse.record import Draft, Record, with_id

__all__ = ["POLL", "Owner", "Writer"]

#: How often to look for what others have written, in seconds.
POLL: Final = 0.02

# How much one transaction takes at most: it bounds how long the first of them waits for the last.
_MOST_EVENTS: Final = 4_096
_MOST_BYTES: Final = 8 * 1024 * 1024

# How many events of others are handed to the event loop at a time.
_AT_ONCE: Final = 500

# How often to try to open the file while nobody asks, and how long to wait for requests, in seconds.
_PATIENCE: Final = 1.0

# Of a connection that is new; SQLite's data versions are positive.
_UNKNOWN: Final = -1


class _Request(NamedTuple):
    """What the writer is asked for: to append an event, to tell what there is, or to end (no future)."""

    draft: Draft | None
    future: asyncio.Future[int] | None


_Action = Callable[[sqlite3.Connection, Sequence[_Request]], None]


class Owner(Protocol):
    """Who has a writer. All of it but `followed` is called and used on the event loop."""

    @property
    def followed(self) -> Mapping[str, object]:
        """The followed channels, by name."""

    def on_begun(self, epoch: str, position: int) -> None:
        """Take notice of another epoch, and where telling begins in it."""

    def on_news(self, records: Sequence[Record], position: int) -> None:
        """Take new events, among them all of followed channels. Everything up to the position is told."""

    def on_lost(self, floors: Mapping[str, int]) -> None:
        """Take notice that something of followed channels was gone before it could be told."""

    def on_time(self, now: float) -> None:
        """Take notice of the time, in seconds."""


class Writer(threading.Thread):
    """Writes a log on behalf of an owner; see the module's docstring.

    :arg str path: the database file.
    :arg float timeout: for how many seconds others may have it locked.
    :arg clock: tells the time, in seconds since 1970.
    """

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        path: str,
        retention: Callable[[str], Retention],
        durability: Durability,
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        # A daemon: a program that ends without closing its broker must not wait for it.
        super().__init__(name=f"tornado_sse {os.path.basename(path)}", daemon=True)
        self._owner = owner
        self._loop = loop
        self._path = path
        self._retention = retention
        self._durability = durability
        self._timeout = timeout
        self._clock = clock
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._epoch = ""
        self._seen = 0
        self._version = _UNKNOWN
        self._time = 0
        self._followed: frozenset[str] | None = None
        self._sweeper = Sweeper(retention)
        self._next_try = 0.0
        self._ending = False

    # On the event loop

    def append(self, draft: Draft) -> asyncio.Future[int]:
        """Return a Future of the event's position; it fails with `BackendError`."""
        future = self._loop.create_future()
        self._requests.put(_Request(draft, future))
        return future

    def sync(self) -> asyncio.Future[int]:
        """Return a Future that is done when all that has been acknowledged is told; its result is 0."""
        future = self._loop.create_future()
        self._requests.put(_Request(None, future))
        return future

    def end(self) -> None:
        """Do what has been asked for so far, and end."""
        self._requests.put(_Request(None, None))

    # In the thread

    def run(self) -> None:
        """Work until the end."""
        try:
            # An event loop that has been closed has nobody to work for.
            while not (self._ending or self._loop.is_closed()):
                requests = self._take()
                appends = [request for request in requests if request.draft is not None]
                others = [request for request in requests if request.draft is None]
                if appends:
                    self._attempt(self._append, appends)
                if others or not appends or time.monotonic() >= self._sweeper.next:
                    self._attempt(self._look, others)
        finally:
            self._let_go()

    def _take(self) -> Sequence[_Request]:
        """Wait for requests, but no longer than until there is something else to do."""
        requests: list[_Request] = []
        size = 0
        now = time.monotonic()
        wait = POLL if self._owner.followed else max(0.0, self._sweeper.next - now)
        wait = max(wait, self._next_try - now)  # what has just failed would fail again
        try:
            request = self._requests.get(timeout=min(wait, _PATIENCE))
            while True:
                if request.future is None:
                    self._ending = True
                    break
                requests.append(request)
                size += 0 if request.draft is None else len(request.draft.frame)
                if len(requests) >= _MOST_EVENTS or size >= _MOST_BYTES:
                    break
                request = self._requests.get_nowait()
        except queue.Empty:
            pass
        return requests

    def _attempt(self, action: _Action, requests: Sequence[_Request]) -> None:
        """Do something for some requests, and answer them in any case."""
        if not requests and self._db is None and time.monotonic() < self._next_try:
            return
        try:
            with explained(self._path, self._timeout):
                action(self._opened(), requests)
        except Exception as error:
            self._next_try = time.monotonic() + _PATIENCE
            self._recover(error)
            if not isinstance(error, BackendError):
                error = BackendError("sqlite", f"an unexpected {type(error).__name__}: {error}")
            self._post(_fail, [request.future for request in requests], error)

    def _opened(self) -> sqlite3.Connection:
        # Somebody may have deleted the file. What is written to it then is seen by nobody else, and is gone.
        if self._db is not None and identity(self._path) != self._identity:
            self._let_go()
        while self._db is None:
            before = identity(self._path)
            self._db = open_log(self._path, self._durability, self._timeout)
            self._identity = identity(self._path)
            if before not in (None, self._identity):
                self._let_go()  # it has been replaced while it was being opened
        return self._db

    def _recover(self, error: Exception) -> None:
        db = self._db
        cause = error.__cause__
        self._followed = None  # a temporary table is rolled back too
        try:
            if db is not None and db.in_transaction:
                db.execute("ROLLBACK")
        except sqlite3.Error:
            self._let_go()
        code = getattr(cause, "sqlite_errorcode", -1) & 0xFF
        if code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
            self._let_go()  # to begin with a new connection is always right

    def _let_go(self) -> None:
        db, self._db = self._db, None
        self._followed, self._version = None, _UNKNOWN
        if db is not None:
            try:
                db.close()
            except sqlite3.Error:
                pass  # what was committed is safe; what was not has been answered

    def _post(self, callback: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            self._ending = True  # the event loop has been closed; there is nobody to work for

    # Appending

    def _append(self, db: sqlite3.Connection, requests: Sequence[_Request]) -> None:
        drafts = [request.draft for request in requests if request.draft is not None]
        head = self._begin(db, "BEGIN IMMEDIATE")
        self._tell(db, head)
        time = self._now(head)
        positions = append_events(db, head._replace(time=time), drafts, self._retention)
        db.execute("COMMIT")
        followed = self._owner.followed
        records = []
        for position, (channel, frame, key, _) in zip(positions, drafts, strict=True):
            if position > self._seen:  # it was not there before
                self._seen = position
                if channel in followed:
                    frame = with_id(frame, head.epoch, position)
                    records.append(Record(position, channel, frame, key, time / 1e6))
        acknowledged = [(request.future, place) for request, place in zip(requests, positions, strict=True)]
        self._post(_acknowledge, self._owner, records, self._seen, acknowledged)

    # Looking

    def _look(self, db: sqlite3.Connection, requests: Sequence[_Request]) -> None:
        (version,) = db.execute("PRAGMA data_version").fetchone()
        news = version != self._version and (self._owner.followed or self._version == _UNKNOWN)
        if requests or news:
            head = self._begin(db, "BEGIN")
            self._tell(db, head)
            db.execute("COMMIT")
            self._now(head)
            self._version = version
            if requests:
                self._post(_resolve, [request.future for request in requests])
        if time.monotonic() >= self._sweeper.next:
            ended = self._sweeper.sweep(db, self._now(read_head(db)))
            if ended and self._owner.followed:
                self._post(self._owner.on_time, self._time / 1e6)

    def _begin(self, db: sqlite3.Connection, statement: str) -> Head:
        """Begin a transaction, and return the log's head; see whether it is still the same log."""
        db.execute(statement)
        head = read_head(db)
        if head.epoch == self._epoch and head.position >= self._seen:
            return head
        if head.epoch in ("", self._epoch):
            # Positions that had been given out are free again, and nobody has said so; or the epoch has been
            # taken away.
            db.execute("ROLLBACK")
            db.execute("BEGIN IMMEDIATE")
            if read_head(db).epoch == head.epoch:
                write_epoch(db)
            db.execute("COMMIT")
            db.execute(statement)
            head = read_head(db)
        self._epoch, self._seen = head.epoch, head.position
        self._post(self._owner.on_begun, head.epoch, head.position)
        return head

    def _tell(self, db: sqlite3.Connection, head: Head) -> None:
        """Tell what others have written up to here."""
        if head.position == self._seen:
            return
        followed = frozenset(self._owner.followed)
        if followed != self._followed:
            follow_only(db, followed, self._followed)
            self._followed = followed
        if followed:
            floors = read_lost(db, head, self._seen)
            if floors:
                self._post(self._owner.on_lost, floors)
            records = read_news(db, head, self._seen, _AT_ONCE)
            while len(records) == _AT_ONCE:
                self._seen = records[-1].position
                self._post(self._owner.on_news, records, self._seen)
                records = read_news(db, head, self._seen, _AT_ONCE)
        else:
            records = []
        self._seen = head.position
        self._post(self._owner.on_news, records, self._seen)

    # Time

    def _now(self, head: Head) -> int:
        """Return the time in microseconds. A clock that is set back stands still until it has caught up."""
        self._time = max(self._time, head.time, round(self._clock() * 1e6))
        return self._time


def _acknowledge(
    owner: Owner,
    records: Sequence[Record],
    position: int,
    acknowledged: Sequence[tuple[asyncio.Future[int] | None, int]],
) -> None:
    try:
        owner.on_news(records, position)
    finally:
        for future, place in acknowledged:
            if future is not None and not future.done():
                future.set_result(place)


def _resolve(futures: Sequence[asyncio.Future[int]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(0)


def _fail(futures: Sequence[asyncio.Future[int]], error: BackendError) -> None:
    for future in futures:
        if not future.done():
            # One for each: whoever raises it adds a traceback to it.
            own = BackendError(error.backend, error.reason)
            own.__cause__ = error.__cause__
            future.set_exception(own)
