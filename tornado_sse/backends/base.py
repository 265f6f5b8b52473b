"""Where the log lives: the contract that every backend keeps.

A log is one totally ordered sequence of events for all channels. A broker asks four things of it: append,
tell me what is new, read what is old, and say what is gone. `tornado_sse.testing.check_backend` checks all
of it, for any backend.

The contract
------------
*Order.* Positions are whole numbers from 1; a later append has a higher one, whichever channel or process it
comes from. They need not be without gaps, and are never used twice within an epoch.

*Epoch.* A log that has lost its events, or was made anew, has another epoch. As long as events keep their
positions, restarts included, the epoch stays.

*Telling.* From `Backend.follow` on, the channel's new events are told to the listener in the order of their
positions, from whichever process they come, each once, and none before it is as safe as the backend
promises. So is the position up to which everything has been told, though it be of channels nobody follows.

*Retention.* What is dropped of a channel is dropped from its beginning, except for events that another of
the same key has replaced: those go at once. An event without a key is never replaced. `Page.floor` says up
to where anything may have been dropped; when in doubt it is too high rather than too low.

What was dropped before it could be told, as another process may do between two looks, moves the ``start``
of the channel's log, and the listener is told of a gap in it. Of several events of one key that follow each
other so fast, another process may be told the last one alone. A log in memory has the latest event of every
key that is kept, wherever it starts.

*Once.* An append with the message id of one to the same channel within the last `WINDOW` seconds adds
nothing, and is acknowledged with the position of the first, whatever else it says and whatever has become of
the first. So whoever got no answer asks again.

*Failure.* An append either fails with `BackendError`, and then the event may be in the log only if that
could not be found out, or it is acknowledged, and then the event is there. A backend that is away comes back
by itself. It never tells an event twice.

*Where.* All methods are called on one event loop, and the listener is called there. None of them blocks it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from tornado_sse.log import ChannelLog, Retention
from tornado_sse.record import Draft, Record

__all__ = ["WINDOW", "Backend", "Listener", "Page", "RetentionOf"]

#: For how long a message id is remembered at least, in seconds: longer than anybody goes on trying.
WINDOW: Final = 120.0

#: How much of a channel to keep, by its name.
RetentionOf = Callable[[str], Retention]


class Page(NamedTuple):
    """Some events of a channel, as they were found in the log."""

    #: In the order of their positions.
    records: Sequence[Record]
    #: Events at or before this position may be missing.
    floor: int
    #: Whether there are events after those of this page.
    more: bool


class Listener(Protocol):
    """Who is told of new events."""

    def on_records(self, records: Sequence[Record], position: int) -> None:
        """Take new events of followed channels. Everything up to ``position`` has been told then."""

    def on_gap(self, channel: str) -> None:
        """Take notice that events of a followed channel were dropped before they could be told.

        The ``start`` of its log in memory is behind them already; what comes after them is told next.
        """

    def on_epoch(self) -> None:
        """Take notice that the log has begun anew: ``epoch`` and ``position`` have changed."""


class Backend(ABC):
    """A log; see the module's docstring for what it promises."""

    #: What it is called in errors and metrics.
    name: str

    #: Whether all processes that open the same place have the same log.
    shared: bool = False

    #: The log's incarnation; "" until `sync` has returned once.
    epoch: str = ""

    #: Up to where everything has been told to the listener.
    position: int = 0

    @abstractmethod
    def start(self, listener: Listener) -> None:
        """Begin to work for a broker, on the running event loop. Failures show in what is asked next."""

    @abstractmethod
    def append(self, draft: Draft) -> int | asyncio.Future[int]:
        """Append an event; the order of the calls is the order in the log.

        Returns its position if it is already as safe as it will be, or else a Future of it, which fails with
        `BackendError`. The listener has been told when it is done.
        """

    @abstractmethod
    async def sync(self) -> int:
        """Tell everything that had been acknowledged, in any process, when this was called.

        Returns `position` then. The first call waits until the log has been opened.

        :raises BackendError: if the log can't be reached.
        """

    @abstractmethod
    async def follow(self, channel: str) -> ChannelLog:
        """Begin to tell of a channel.

        Returns its log in memory: whole from its ``start`` up to `position`, and it stays so: new events are
        in it by the time the listener is told of them.

        :raises BackendError: if the log can't be read.
        """

    @abstractmethod
    def unfollow(self, channel: str) -> None:
        """Stop telling of a channel."""

    @abstractmethod
    async def read(self, channel: str, after: int, size: int) -> Page:
        """Read events of a channel, from the first one after a position on.

        :arg int size: bytes to stop at, each event counted with `tornado_sse.log.OVERHEAD` more than its
            frame. There is at least one event, if there is any.

        All events up to the last one of the page are in it, or up to `position` at the time of the call if
        there are no more.

        :raises BackendError: if the log can't be read.
        """

    @abstractmethod
    async def state(self, channel: str) -> Sequence[Record]:
        """Return the latest event of every key of a channel, in the order of their positions.

        :raises BackendError: if the log can't be read.
        """

    def reaches(self, position: int) -> bool:
        """Return whether a client of this epoch may be at a position.

        Override where positions have been left out, since events that had them may be lost.
        """
        return position <= self.position

    @abstractmethod
    async def close(self) -> None:
        """Finish what has been appended, and let go of everything. What is asked later fails."""
