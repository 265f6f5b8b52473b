"""The connection on which a process hears what scripts publish.

It has a topic for each followed channel and one for the process itself. What one connection hears comes in
the order in which the scripts ran, so whoever has heard a script's last word has heard all it said before,
and what all scripts before it said.

A connection that is lost may have lost anything. So each one begins in the same way: subscribe, wait until
the server confirms it, have the owner catch up with what was missed, and go on with what the connection has
brought meanwhile. All that is unexpected ends the connection, since beginning anew is always right.

The topics are those of a cluster's shards (``SSUBSCRIBE``), which work without a cluster too.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple, Protocol

from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from tornado_sse.backends.redis_address import Route
from tornado_sse.backends.redis_link import AWAY, Anew, explained
from tornado_sse.errors import BackendError

__all__ = ["Subscriber", "Subscription"]

_logger: Final = logging.getLogger("tornado_sse")

# How long to wait before the next connection, in seconds: at first, and at most.
_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0

# How many topics one command names, and how many messages are heard in one turn of the event loop.
_TOPICS: Final = 500
_MESSAGES: Final = 64


class Subscriber(Protocol):
    """Who has a subscription."""

    @property
    def followed(self) -> Mapping[str, object]:
        """The followed channels, by name."""

    async def catch_up(self) -> None:
        """Find out what has been missed, now that everything from now on will be heard.

        :raises BackendError: if it can't be found out.
        :raises Anew: if the log has changed meanwhile.
        """

    def hear(self, channel: str | None, data: bytes) -> None:
        """Take what was published: on a channel's topic, or else on the process's own.

        :raises Anew: if something has been missed.
        """


class _Order(NamedTuple):
    command: str
    topic: str
    confirmed: asyncio.Future[None]


class Subscription:
    """Hears what is published about a log; see the module's docstring.

    :arg str topics: what the names of all topics begin with.
    :arg str own: the name of the process's own topic, without that.
    :arg float timeout: for how many seconds the server may keep us waiting.
    """

    def __init__(self, subscriber: Subscriber, route: Route, topics: str, own: str, timeout: float) -> None:
        self._subscriber = subscriber
        self._route = route
        self._channels = f"{topics}c/"
        self._own = f"{topics}p/{own}"
        self._timeout = timeout
        self._orders: asyncio.Queue[_Order] = asyncio.Queue()
        self._pending: deque[_Order] = deque()
        self._listening: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._problem: BackendError | None = None
        #: How many connections have got as far as being caught up.
        self.generation = 0

    async def run(self) -> None:
        """Listen until cancelled."""
        pause = _PAUSE
        while True:
            self._listening = asyncio.get_running_loop().create_task(self._listen())
            generation = self.generation
            try:
                await asyncio.wait([self._listening])
            finally:
                self._listening.cancel()
            if not self._listening.cancelled() and (error := self._listening.exception()) is not None:
                _logger.error("the redis log's subscription failed", exc_info=error)
            if self.generation > generation:
                pause = _PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def add(self, channel: str) -> None:
        """Return when everything about a channel will be heard, or caught up with.

        The channel is one of the subscriber's by then.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout
        while True:
            await self.ready(0, deadline)
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._order("SSUBSCRIBE", f"{self._channels}{channel}")
            except Anew:
                pass  # the next connection begins with it
            except TimeoutError:
                raise BackendError("redis", f"{self._route} does not answer") from None

    def remove(self, channel: str) -> None:
        """Hear no more about a channel."""
        self._order("SUNSUBSCRIBE", f"{self._channels}{channel}")

    def drop(self, generation: int) -> None:
        """End a connection, if that is still the one; another is opened."""
        if self.generation == generation and self._ready.is_set() and self._listening is not None:
            self._ready.clear()
            self._listening.cancel()

    async def ready(self, after: int = 0, deadline: float | None = None) -> None:
        """Wait until a connection has been caught up that came after so many others.

        :raises BackendError: if there is none by the deadline.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline or loop.time() + self._timeout):
                while not (self._ready.is_set() and self.generation > after):
                    await self._ready.wait()
                    if self.generation <= after:
                        await asyncio.sleep(_PAUSE)  # it is about to be ended
        except TimeoutError:
            problem = self._problem or BackendError("redis", f"{self._route} does not answer")
            raise BackendError(problem.backend, problem.reason) from problem.__cause__

    # How it is done

    def _order(self, command: str, topic: str) -> asyncio.Future[None]:
        order = _Order(command, topic, asyncio.get_running_loop().create_future())
        # Nobody may wait for it any more when it fails.
        order.confirmed.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._orders.put_nowait(order)
        return order.confirmed

    async def _listen(self) -> None:
        self._forget_orders()
        connection = self._route.connection()
        sending: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(self._timeout):
                await connection.connect()  # type: ignore[no-untyped-call]
                sending = asyncio.get_running_loop().create_task(self._send(connection))
                heard = await self._subscribe(connection)
            await self._subscriber.catch_up()
            self._caught_up()
            for reply in heard:
                self._hear(reply)
            while True:
                for _ in range(_MESSAGES):
                    self._hear(await connection.read_response())
                await asyncio.sleep(0)  # what has arrived already is read without waiting
        except Anew:
            pass
        except (exceptions.RedisError, BackendError, *AWAY) as error:
            self._failed(explained(error, self._route))
            self._route.heed(error)
        finally:
            self._ready.clear()
            if sending is not None:
                sending.cancel()
            self._forget_orders()
            await connection.disconnect(nowait=True)

    async def _subscribe(self, connection: AbstractConnection) -> Sequence[Any]:
        """Subscribe to everything; return what is heard until that is confirmed."""
        confirmed = self._order("SSUBSCRIBE", self._own)
        for channel in self._subscriber.followed:
            confirmed = self._order("SSUBSCRIBE", f"{self._channels}{channel}")
        heard = []
        while not confirmed.done():
            reply = await connection.read_response()
            if reply[0] == b"smessage":
                heard.append(reply)
            else:
                self._hear(reply)
        return heard

    async def _send(self, connection: AbstractConnection) -> None:
        """Send orders. Several of a kind become one command; each is confirmed by itself, in order."""
        while True:
            orders = [await self._orders.get()]
            while not self._orders.empty():
                orders.append(self._orders.get_nowait())
            self._pending += orders
            for command, some in groupby(orders, lambda order: order.command):
                topics = [order.topic for order in some]
                for begin in range(0, len(topics), _TOPICS):
                    await connection.send_command(command, *topics[begin : begin + _TOPICS])

    def _hear(self, reply: Any) -> None:
        kind, topic, data = reply
        if kind == b"smessage":
            name = topic.decode()
            own = name == self._own
            self._subscriber.hear(None if own else name.removeprefix(self._channels), data)
        else:
            confirmed = self._pending.popleft().confirmed
            if not confirmed.done():
                confirmed.set_result(None)

    def _caught_up(self) -> None:
        self.generation += 1
        self._ready.set()
        if self._problem is not None:
            _logger.info("the redis log at %s is back", self._route)
            self._problem = None

    def _failed(self, problem: BackendError) -> None:
        # Whoever publishes or begins to follow is told by an error.
        if self._problem is None:
            _logger.info("the redis log can't be followed: %s", problem.reason)
        self._problem = problem

    def _forget_orders(self) -> None:
        orders, self._pending = [*self._pending], deque()
        while not self._orders.empty():
            orders.append(self._orders.get_nowait())
        for order in orders:
            if not order.confirmed.done():
                order.confirmed.set_exception(Anew())
