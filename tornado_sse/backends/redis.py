"""The log in Redis or Valkey: durable as the server is, and shared by many hosts.

Theory of operation
-------------------
The log is in the server's keys, and every change of it is one script there; see `.redis_scripts`. A process
has three connections, however many channels it follows: the `.Writer`'s, one to read by, and the
`.Subscription`, which hears what the scripts publish. What the subscription hears is told, in the order of
positions. An append is acknowledged when its script has answered and the script's last word has been heard,
since everything before that has been told then.

About every second a process writes a mark and waits until it hears it. That finds out whether all three
connections are alive, and whether the log is still the same.

*Losing.* A server that comes back may have lost its last events, depending on how it saves; so may another
that takes over. The first process that meets a server which calls itself differently (``run_id``) leaves out
2**32 positions. The ids of what may have been lost lie in such a hole then, and are never given to other
events. A process that has told of an event in a hole knows that it is lost, and renews the epoch: all clients
are told. Where nobody is left who has told of one, clients are told who come back with an id in a hole.

*Emptiness.* A server without the log, since it does not save, or somebody has deleted all, has a new epoch.

*Time* is the server's.
"""

from __future__ import annotations

import asyncio
import logging
import re
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Any, Final, TypeVar

from tornado_sse.backends.base import Listener, Page, RetentionOf
from tornado_sse.backends.redis_address import Address, Route
from tornado_sse.backends.redis_link import Anew, Link
from tornado_sse.backends.redis_log import parse_record, read_behind, read_page, read_state, read_tail
from tornado_sse.backends.redis_scripts import SKIPPED
from tornado_sse.backends.redis_subscription import Subscription
from tornado_sse.backends.redis_writer import Writer
from tornado_sse.backends.tailed import CACHE, Tail, TailedBackend
from tornado_sse.backends.url import BackendURL, seconds
from tornado_sse.errors import BackendError
from tornado_sse.log import Retention
from tornado_sse.record import Draft, Record, new_epoch

__all__ = ["RedisBackend", "from_url"]

_logger: Final = logging.getLogger("tornado_sse")

_T = TypeVar("_T")

# How often to write a mark, and to look for what is too old, in seconds.
_PULSE: Final = 1.0

# How many channels are swept in one go, and how many events are dropped then at most.
_SWEPT: Final = 100
_DROPPED: Final = 2_000

# The server takes no larger value by default, less what goes with it.
_MOST_BYTES: Final = 500_000_000

_by_position: Final = attrgetter("position")


class RedisBackend(TailedBackend):
    """Keeps channels in a Redis (7 or newer) or Valkey server.

    Any number of processes may share a log; give the same retention in all of them. What is acknowledged is
    as safe as the server keeps it: with ``appendonly yes`` and ``appendfsync always`` it outlives a loss of
    power; with ``everysec`` up to two seconds of events may be lost in one, and also when the server is
    killed; with snapshots (RDB) alone, which is the default, whatever has come since the last one. Replicas
    get events after they are acknowledged, so a failover may lose some. In any case clients are told that
    something is lost.

    A channel is cut back to its limits when it exceeds them by an eighth. Age is looked at every second.

    Its ``maxmemory-policy`` should be ``noeviction``: then a full server refuses events. With others it drops
    events, or message ids, without a word.

    :arg address: where the server is.
    :arg retention: says how much of a channel is kept. Its answers are remembered.
    :arg str prefix: the log's name in the server. All of its keys begin with it, in braces, so that they
        share a slot of a cluster, of which the address may be any node.
    :arg float timeout: for how many seconds to try before what is asked for fails. Where an answer has come
        and what was published with it has not, it may take twice as long.
    :arg cache: how much of a followed channel is kept in memory, at most.
    :arg ahead: by how many seconds the log's clock is ahead of the server's: for tests.
    """

    name = "redis"

    def __init__(
        self,
        address: Address,
        retention: RetentionOf,
        *,
        prefix: str = "tornado-sse",
        timeout: float = 5.0,
        cache: Retention = CACHE,
        ahead: Callable[[], float] = lambda: 0.0,
    ) -> None:
        super().__init__(retention, cache)
        root = f"{{{prefix}}}"
        # A topic is the same in all of a server's databases.
        topics = f"{root}/{address.db}/"
        self._timeout = timeout
        self._ahead: Callable[[], int] = lambda: round(ahead() * 1e6)
        route = Route(address)
        self._reading = Link(route, root, timeout)
        self._writing = Link(route, root, timeout)
        self._writer = Writer(self, self._writing, self._retention, topics, timeout, self._ahead)
        self._subscription = Subscription(self, route, topics, self._writer.nonce, timeout)
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: asyncio.Task[None] | None = None
        self._warned = False
        # Epochs that are over, and the positions at which holes begin.
        self._past: set[str] = set()
        self._holes: list[int] = []
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []

    def start(self, listener: Listener) -> None:
        """Begin to work for a broker, on the running event loop. The server may come later."""
        super().start(listener)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(work) for work in (self._subscription.run(), self._writer.run(), self._pulse())
        ]

    def append(self, draft: Draft) -> asyncio.Future[int]:
        """Append an event. Those appended while others are on their way share a round trip."""
        self._check()
        # None of these may fail later, together with others.
        self._retention(draft.channel)
        if len(draft.frame) > _MOST_BYTES:
            raise BackendError(self.name, "an event is too large for the server")
        for text in (draft.key, draft.message_id):
            if text is not None and not _is_unicode(text):
                raise BackendError(self.name, f"{text!r} has no UTF-8")
        return self._writer.append(draft)

    async def sync(self) -> int:
        """Tell everything that any process has appended."""
        self._check()
        await self._subscription.ready()
        await self._writer.sync()
        return self.position

    def unfollow(self, channel: str) -> None:
        """Stop telling of a channel."""
        if channel in self.followed:
            super().unfollow(channel)
            self._subscription.remove(channel)

    async def read(self, channel: str, after: int, size: int) -> Page:
        """Read events of a channel, as the server has them."""
        await self._opened()
        upto = self.position
        return await self._read(lambda: read_page(self._reading, channel, after, upto, size))

    async def state(self, channel: str) -> Sequence[Record]:
        """Return the latest event of every key of a channel."""
        await self._opened()
        state = await self._read(lambda: read_state(self._reading, channel))
        await self.sync()
        return state

    async def read_tail(self, channel: str, limit: Retention) -> Tail:
        """Return the last events of a channel, of which everything from now on will be heard."""
        await self._subscription.add(channel)
        return await self._read(lambda: read_tail(self._reading, channel, 0, limit))

    def reaches(self, position: int) -> bool:
        """Return whether a client may be at a position: not in a hole."""
        return position <= self.position and not self._is_lost(position)

    async def close(self) -> None:
        """Append what is to be appended, and let go of the server."""
        self._closed = True
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    # For the writer

    async def told(self, epoch: str, position: int) -> None:
        """Return when everything up to a position has been told."""
        generation = self._subscription.generation
        for share in (1 / 4, 3 / 4):
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append((epoch, position, waiting))
            self._answer_waiting()
            try:
                async with asyncio.timeout(self._timeout * share):
                    await waiting
                return
            except TimeoutError:
                # It hears nothing, though the server answers: as if it were cut off, but nobody has told it.
                self._subscription.drop(generation)
        raise BackendError(self.name, "an answer has come, but not what was published with it")

    async def renewed(self, epoch: str, deadline: float) -> None:
        """Find out about the log, where that of an epoch is not there any more."""
        generation = self._subscription.generation
        if self.epoch == epoch:
            self._subscription.drop(generation)
            await self._subscription.ready(generation, deadline)
        else:
            await self._subscription.ready(0, deadline)

    # For the subscription

    async def catch_up(self) -> None:
        """Tell what has been missed, up to where the log is now."""
        await self._reading.close()  # it may be cut off in the same way
        ahead = self._ahead()
        found, position, *holes = await self._reading.ask("begin", new_epoch(), ahead)
        self._warn()
        self._holes = [int(hole) for hole in holes]
        epoch = found.decode()
        if epoch == self.epoch and (self._is_lost(self.position) or position < self.position):
            found, position = await self._reading.ask("renew", epoch, new_epoch())
            epoch = found.decode()
        if epoch != self.epoch:
            if self.epoch:
                self._past.add(self.epoch)
            self.on_begun(epoch, position)
            self._answer_waiting()
            return
        after = self.position
        records: list[Record] = []
        floors: dict[str, int] = {}
        for channel in await read_behind(self._reading, after, [*self.followed]):
            limit = self.limit(channel)
            of, tail = await read_tail(self._reading, channel, after, limit)
            if of != epoch:
                raise Anew
            # What comes after the position will be heard.
            records += [record for record in tail.records if record.position <= position]
            if tail.start > after:
                floors[channel] = tail.start
        self.on_lost(floors)
        self.on_news(sorted(records, key=_by_position), position)
        self._answer_waiting()

    def hear(self, channel: str | None, data: bytes) -> None:
        """Tell of what was published, if it has not been told already."""
        found, _, rest = data.partition(b" ")
        epoch = found.decode()
        if epoch != self.epoch:
            if epoch in self._past:
                return
            raise Anew
        place, _, value = rest.partition(b" ")
        position = int(place)
        if position > self.position:
            records = () if channel is None else (parse_record(channel, epoch, position, value),)
            self.on_news(records, position)
            self._answer_waiting()

    # How it is done

    def _is_lost(self, position: int) -> bool:
        index = bisect_left(self._holes, position) - 1
        return index >= 0 and position < self._holes[index] + SKIPPED

    def _answer_waiting(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            epoch, position, future = each
            if future.done():
                continue
            if epoch == self.epoch and position <= self.position:
                future.set_result(None)
            elif epoch in self._past:
                future.set_exception(BackendError(self.name, "it has begun anew meanwhile"))
            else:
                self._waiting.append(each)

    async def _read(self, question: Callable[[], Awaitable[tuple[str, _T]]]) -> _T:
        """Return the answer to a question about the log as it was told."""
        epoch = self.epoch
        for _ in range(2):
            self._check()
            try:
                found, answer = await question()
                if found == epoch:
                    return answer
            except Anew:
                pass
            await self.sync()
            if self.epoch != epoch:
                break
        raise BackendError(self.name, "it has begun anew meanwhile; ask again")

    async def _pulse(self) -> None:
        while True:
            try:
                await self._subscription.ready()
                await self._writer.sync()
                more = 1
                while more:
                    now, more = await self._reading.ask("sweep", self._ahead(), _SWEPT, _DROPPED)
                self.on_time(now / 1e6)
            except (BackendError, Anew):
                pass  # whoever needs the log is told; the next mark finds out
            await asyncio.sleep(_PULSE)

    def _warn(self) -> None:
        info = self._reading.info
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and info.get("maxmemory") != "0" and not self._warned:
            self._warned = True
            _logger.warning(
                "the redis log's server drops what it likes when it is full (maxmemory-policy %s), and then "
                "nobody is told of lost events; set it to noeviction",
                policy,
            )

    async def _close(self) -> None:
        if self._tasks:
            subscription, writer, pulse = self._tasks
            pulse.cancel()
            self._writer.end()
            await asyncio.wait([writer])
            subscription.cancel()
            await asyncio.wait(self._tasks)
        await self._reading.close()
        await self._writing.close()
        self._listener = None
        self.followed.clear()


def from_url(url: str, retention: RetentionOf) -> RedisBackend:
    """Return the backend of ``redis://user:password@host:port/db?prefix=name&timeout=5``.

    ``rediss://`` is the same with TLS; its certificate is checked, against those of the file ``ca`` if it is
    given. ``redis+unix:///path`` is a socket of this host; ``db`` is a parameter there.

    :raises SettingError: if the URL makes no sense.
    """
    parsed = BackendURL(url)
    known: dict[str, Callable[[str], Any]] = {"prefix": _prefix, "timeout": seconds}
    if parsed.scheme == "rediss":
        known["ca"] = str
    if parsed.scheme == "redis+unix":
        known["db"] = _number
    found = parsed.parameters(known)
    options = {name: found.pop(name) for name in ("prefix",) if name in found}
    address = Address.of(parsed, **found)
    return RedisBackend(address, retention, timeout=address.timeout, **options)


def _prefix(text: str) -> str:
    if not re.fullmatch("[A-Za-z0-9._:-]{1,100}", text, re.ASCII):
        raise ValueError("1 to 100 of letters, digits and . _ : -")
    return text


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text, re.ASCII):
        raise ValueError("a number")
    return int(text)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
