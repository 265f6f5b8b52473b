"""From the log to the subscribers: one turn of the event loop, one send to each.

Theory of operation
-------------------
`FanOut.sent` is a position: everything up to it has been sent to whoever is *live*. What the backend tells
of within one turn of the event loop is gathered, and at the end of the turn sent as one: its bytes are made
once for each kind of subscriber, then each group sends them in one loop, and `sent` moves.

A subscriber that is not live has a cursor. It is *behind*, and is fed from the logs up to `sent`, page by
page, as its socket takes them; when its cursor reaches `sent` it is live again. Since reading a log stops at
`sent`, and everything after it goes to all who are live, there is no moment in between in which an event
could be missed or sent twice.

Those behind take turns, a page each, and so many in one turn of the event loop, so that a thousand clients
that return at once hold up nobody else.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from tornado_sse.backends import Backend
from tornado_sse.channel import Channel
from tornado_sse.group import Group, merged, page
from tornado_sse.log import ChannelLog
from tornado_sse.observer import Observer
from tornado_sse.piece import SIZE, Piece, pieces
from tornado_sse.record import Record
from tornado_sse.ticker import Ticker

__all__ = ["Behind", "FanOut"]

# A turn that gathers more than this is sent before its end: a publisher that never lets go of the event loop
# must not fill the memory.
_FULL: Final = 1024 * 1024

# How many of those behind are fed in one turn of the event loop: some milliseconds.
_STEPS: Final = 32

# How many pages are kept for others who may be at the same place.
_MOST_PAGES: Final = 16

# How many pages may be on their way from the backend at once.
_READS: Final = 8


class Behind(Protocol):
    """A subscriber that has not been sent everything."""

    def step(self) -> bool:
        """Send a page; return whether to be called for the next one."""


class FanOut:
    """Channels, the groups of their subscribers, and what is to be sent to them."""

    def __init__(self, backend: Backend, observer: Observer) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = Ticker.of(self._loop).context
        self._observer = observer
        self.backend = backend
        #: The followed channels, by name.
        self.channels: dict[str, Channel] = {}
        #: Everything up to this position has been sent to whoever is live.
        self.sent = 0
        #: Who reads from the backend takes a place here.
        self.reads = asyncio.Semaphore(_READS)
        self._told = 0
        self._turn: list[Record] = []
        self._turn_size = 0
        self._flushing = False
        self._sending = False
        self._behind: deque[Behind] = deque()
        self._feeding = False
        self._pages: dict[tuple[tuple[str, ...], int, bool], Piece] = {}
        self._pages_end = -1
        self._groups: dict[tuple[tuple[str, ...], bool, bool], Group] = {}

    # What is new

    def on_records(self, records: Sequence[Record], position: int) -> None:
        """Take what the backend tells of, to be sent at the end of this turn."""
        self._told = position
        if not records:
            if not self._turn:
                self.sent = position
            return
        self._turn += records
        self._turn_size += sum(len(record.frame) for record in records)
        if self._turn_size > _FULL and not self._sending:
            self.flush()
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._end_of_turn, context=self._context)

    def flush(self) -> None:
        """Send what has been gathered."""
        if self._sending:
            return  # an observer has asked for it in the middle of a turn, which goes first
        records, self._turn, self._turn_size = self._turn, [], 0
        after, self.sent = self.sent, self._told
        if not records:
            return
        self._sending = True
        try:
            self._send(records, after)
        finally:
            self._sending = False

    def _send(self, records: Sequence[Record], after: int) -> None:
        began = time.perf_counter()
        deliveries = size = 0
        upto = self.sent
        of: dict[str, list[Record]] = {}
        for record in records:
            of.setdefault(record.channel, []).append(record)
        made: dict[tuple[tuple[str, ...], bool], list[Piece]] = {}
        for group, names in self._touched(of).items():
            key = (names, group.chunked)
            found = made.get(key)
            if found is None:
                wanted = records if len(names) == len(of) else merged([of[name] for name in names])
                found = made[key] = pieces(wanted, after, upto, chunked=group.chunked)
            for piece in found:
                deliveries += len(group)
                size += len(group) * len(piece.data)
                group.send(piece)
        self._observer.on_fan_out(deliveries, size, time.perf_counter() - began)

    def restart(self) -> None:
        """Forget what has been told and not been sent, and begin where the backend is."""
        self._turn, self._turn_size = [], 0
        self._pages.clear()
        self.sent = self._told = self.backend.position

    def interrupt(self, channel: str) -> None:
        """Have the live subscribers of a channel look at its log, of which something is gone untold."""
        self.flush()
        for group in list(self.channels[channel].groups) if channel in self.channels else ():
            group.interrupt()

    def _end_of_turn(self) -> None:
        self._flushing = False
        self.flush()

    def _touched(self, names: Iterable[str]) -> dict[Group, tuple[str, ...]]:
        """Return the groups with somebody live to send to, and which of these channels each follows."""
        touched: dict[Group, tuple[str, ...]] = {}
        for name in names:
            channel = self.channels.get(name)
            if channel is not None:
                for group in channel.groups:
                    if len(group):
                        touched[group] = (*touched.get(group, ()), name)
        return touched

    # Who is behind

    def feed(self, subscriber: Behind) -> None:
        """Have a subscriber's `Behind.step` called, soon, and again as long as it says so."""
        self._behind.append(subscriber)
        if not self._feeding:
            self._feeding = True
            self._loop.call_soon(self._feed, context=self._context)

    def _feed(self) -> None:
        behind = self._behind
        for _ in range(min(_STEPS, len(behind))):
            subscriber = behind.popleft()
            if subscriber.step():
                behind.append(subscriber)
        self._feeding = bool(behind)
        if behind:
            self._loop.call_soon(self._feed, context=self._context)

    def page(
        self,
        names: tuple[str, ...],
        logs: tuple[ChannelLog, ...],
        after: int,
        *,
        chunked: bool,
        skipped: Mapping[str, int],
        told: Mapping[str, int],
    ) -> Piece | None:
        """Return what comes after a position and has been sent to whoever is live, as `page` does.

        It is made once for all who are at the same place: after a restart, many are.
        """
        if self.sent != self._pages_end or len(self._pages) == _MOST_PAGES:
            self._pages.clear()
            self._pages_end = self.sent
        key = (names, after, chunked)
        made = None if skipped or told else self._pages.get(key)
        if made is None:
            made = page(names, logs, after, self.sent, chunked=chunked, skipped=skipped, told=told)
            if made is not None and not (skipped or told) and len(made.data) <= 2 * SIZE:
                self._pages[key] = made
        return made

    # Who follows what

    async def join(self, name: str) -> ChannelLog:
        """Follow a channel; `leave` once for each. Returns its log.

        :raises BackendError: if the backend can't hand it over.
        """
        channel = self.channels.get(name)
        if channel is None:
            channel = self.channels[name] = Channel(name)
        channel.followers += 1
        opening = channel.opening
        if channel.log is None and opening is None:
            opening = channel.opening = asyncio.ensure_future(self.backend.follow(name))
        if opening is not None:
            try:
                # Shielded: others may wait for it too.
                channel.log = await asyncio.shield(opening)
            except BaseException:
                self.leave(name)
                raise
            finally:
                if opening.done():
                    channel.opening = None
        assert channel.log is not None
        return channel.log

    def leave(self, name: str) -> None:
        """Stop following a channel."""
        channel = self.channels[name]
        channel.followers -= 1
        if not channel.followers:
            del self.channels[name]
            if channel.opening is not None:
                channel.opening.cancel()
            self.backend.unfollow(name)

    def enter(self, names: tuple[str, ...], *, chunked: bool, direct: bool) -> Group:
        """Return the group for a subscriber of joined channels; `exit` once for each."""
        key = (names, chunked, direct)
        group = self._groups.get(key)
        if group is None:
            channels = [self.channels[name] for name in names]
            logs = tuple(channel.log for channel in channels if channel.log is not None)
            group = self._groups[key] = Group(names, logs, chunked=chunked, direct=direct)
            for channel in channels:
                channel.groups.add(group)
        group.size += 1
        return group

    def exit(self, group: Group) -> None:
        """Leave a group and its channels."""
        group.size -= 1
        if not group.size:
            del self._groups[group.names, group.chunked, group.direct]
            for name in group.names:
                self.channels[name].groups.discard(group)
        for name in group.names:
            self.leave(name)
