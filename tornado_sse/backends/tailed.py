"""What the backends have in common whose log is elsewhere: the recent events of followed channels, in memory.

A followed channel has a `.ChannelLog` that answers most of those who reconnect, without asking anybody.
`TailedBackend.follow` first enters the channel in ``followed``, so that what is told from now on is kept for
it, then reads what there was, then waits until everything that it has read has been told too. So the log is
whole, and nothing in it lies beyond ``position``.

Whoever reads the log where it is calls the ``on_…`` methods, on the event loop and in the order of positions.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

from tornado_sse.backends.base import Backend, Listener, RetentionOf
from tornado_sse.errors import BackendError
from tornado_sse.log import ChannelLog, Retention
from tornado_sse.record import Record

__all__ = ["CACHE", "Tail", "TailedBackend"]

#: How much of a followed channel is kept in memory, at most: what most who reconnect have missed.
CACHE: Final = Retention(events=1_000, bytes=256 * 1024, age=None, keys=None)

# How many logs in memory are looked through at a time for what is too old.
_EXPIRED: Final = 1_000


class Tail(NamedTuple):
    """The recent events of a channel, as they were found in the log."""

    #: In the order of their positions.
    records: Sequence[Record]
    #: All that came after this position is there, or has been replaced.
    start: int
    #: As far as the log went.
    position: int


class TailedBackend(Backend):
    """A backend that keeps the recent events of followed channels in memory.

    :arg retention: says how much of a channel is kept. Its answers are remembered.
    :arg cache: how much of a followed channel is kept in memory, at most.
    """

    shared = True

    def __init__(self, retention: RetentionOf, cache: Retention = CACHE) -> None:
        self.epoch = ""
        self.position = 0
        #: The followed channels, by name.
        self.followed: OrderedDict[str, _Following] = OrderedDict()
        self._retention = lru_cache(maxsize=10_000)(retention)
        self._cache = cache
        self._listener: Listener | None = None
        self._closed = False

    def start(self, listener: Listener) -> None:
        """Begin to work for a broker, on the running event loop."""
        self._listener = listener

    async def follow(self, channel: str) -> ChannelLog:
        """Begin to tell of a channel. Its log in memory has the recent events only; `read` has the others."""
        self._check()
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

    def limit(self, channel: str) -> Retention:
        """Return how much of a channel is kept in memory."""
        return _smaller(self._retention(channel), self._cache)

    @abstractmethod
    async def read_tail(self, channel: str, limit: Retention) -> Tail:
        """Return the last events of a channel that is in ``followed``, as many as there is room for.

        :raises BackendError: if the log can't be read.
        """

    # What is told by whoever reads the log

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
        """Take new events into the logs in memory, and tell of them.

        Those of channels that are not followed are left out. Everything up to the position is told then.
        """
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
        """Set logs' starts behind what was gone before it could be told; it is told next to the listener."""
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

    def _check(self) -> None:
        if self._closed:
            raise BackendError(self.name, "it has been closed")
        if self._listener is None:
            raise BackendError(self.name, "it has not been started")

    async def _opened(self) -> None:
        self._check()
        if not self.epoch:
            await self.sync()

    async def _load(self, channel: str, following: _Following) -> ChannelLog:
        try:
            limit = self.limit(channel)
            await self._opened()
            epoch = None
            while epoch != self.epoch:
                epoch = self.epoch
                tail = await self.read_tail(channel, limit)
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
