"""One connection to NATS after the other.

Each begins in the same way: the owner finds out about the log, and catches up with what was missed. All that
is unexpected ends a connection, since to begin anew is always right. Whoever asks something waits until there
is a connection, and asks again on the next one if it ends before there is an answer, until that takes too
long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from nats.aio.msg import Msg

from tornado_sse.backends.nats_address import Address
from tornado_sse.backends.nats_link import Link
from tornado_sse.errors import BackendError

__all__ = ["PULSE", "Owner", "Session"]

_logger: Final = logging.getLogger("tornado_sse")

_T = TypeVar("_T")

#: How often to look at the log, in seconds.
PULSE: Final = 1.0

# How long to wait before the next connection, in seconds: at first, and at most.
_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0


class Owner(Protocol):
    """Who has a session."""

    def hear(self, message: Msg) -> None:
        """Take a message that has been subscribed to."""

    def on_answer(self, number: int, data: bytes | None) -> None:
        """Take the answer to what was published by a number."""

    async def begin(self, link: Link) -> None:
        """Find out about the log, and what has been missed.

        :raises BackendError: if that can't be done.
        """

    def on_linked(self, link: Link) -> None:
        """Take notice of a connection that has begun."""

    def on_unlinked(self, problem: BackendError | None) -> None:
        """Take notice that there is none any more."""

    async def look(self, link: Link) -> None:
        """Find out whether all is well, and tell all that had been acknowledged when this was called.

        :raises BackendError: if it is not.
        """


class Session:
    """Keeps a connection for an owner; see the module's docstring.

    :arg float timeout: for how many seconds to try.
    """

    def __init__(self, owner: Owner, address: Address, timeout: float) -> None:
        self._owner = owner
        self._address = address
        self._timeout = timeout
        self._linked = asyncio.Event()
        self._problem: BackendError | None = None
        self._closed = False
        self._asking: list[asyncio.Future[None]] = []
        self._looking: asyncio.Task[None] | None = None
        #: The connection, if there is one that has begun.
        self.link: Link | None = None

    async def run(self) -> None:
        """Work until cancelled."""
        pause, attempt = _PAUSE, 0
        while True:
            link = Link(self._address, self._timeout, self._owner.hear, self._owner.on_answer)
            try:
                await link.open(attempt)
                await self._owner.begin(link)
                self._begun(link)
                pause = _PAUSE
                await self._watch(link)
            except BackendError as error:
                self._failed(error)
            except Exception as error:
                _logger.exception("the nats log's connection failed")
                self._failed(BackendError("nats", f"an unexpected {type(error).__name__}: {error}"))
            finally:
                self.link = None
                self._linked.clear()
                self._owner.on_unlinked(self._problem)
                await link.close()
            attempt += 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def ask(self, question: Callable[[Link], Awaitable[_T]]) -> _T:
        """Return the answer to a question.

        :raises BackendError: if there is none in time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        while not self._closed:
            link = None
            try:
                async with asyncio.timeout_at(deadline):
                    await self._linked.wait()
                    if (link := self.link) is not None:
                        return await question(link)
            except TimeoutError:
                problem = self._problem or BackendError("nats", f"{self._address} does not answer")
                raise BackendError(problem.backend, problem.reason) from problem.__cause__
            except BackendError:
                if link is None or not link.ended.is_set() or loop.time() >= deadline:
                    raise
                await asyncio.sleep(_PAUSE)  # until it is noticed that the connection has ended
        raise BackendError("nats", "it has been closed")

    async def look(self, link: Link) -> None:
        """Have the owner look. Those who ask while it does share the next time.

        :raises BackendError: if all is not well.
        """
        loop = asyncio.get_running_loop()
        asking = loop.create_future()
        self._asking.append(asking)
        if self._looking is None or self._looking.done():
            self._looking = loop.create_task(self._look())
        await asking

    async def linked(self) -> Link:
        """Wait for a connection."""
        while self.link is None:
            await self._linked.wait()
        return self.link

    async def close(self) -> None:
        """Let all who ask for something fail; it does not run any more."""
        self._closed = True
        self._linked.set()
        if self._looking is not None:
            await asyncio.wait([self._looking])

    # How it is done

    def _begun(self, link: Link) -> None:
        self.link = link
        self._linked.set()
        if self._problem is not None:
            _logger.info("the nats log at %s is back", self._address)
            self._problem = None
        self._owner.on_linked(link)

    async def _watch(self, link: Link) -> None:
        """Return when the connection has ended, with the problem."""
        while not link.ended.is_set():
            try:
                async with asyncio.timeout(PULSE):
                    await link.ended.wait()
            except TimeoutError:
                await self.look(link)
        raise link.problem or BackendError("nats", f"{self._address} is away")

    async def _look(self) -> None:
        """Look for all who ask, as long as there are some."""
        while self._asking:
            asking, self._asking = self._asking, []
            problem: BackendError | None = None
            try:
                if self.link is None:
                    raise BackendError("nats", f"{self._address} is away")
                await self._owner.look(self.link)
            except BackendError as error:
                problem = error
            except Exception as error:
                problem = BackendError("nats", f"an unexpected {type(error).__name__}: {error}")
            for each in asking:
                if each.done():
                    continue
                if problem is None:
                    each.set_result(None)
                else:
                    each.set_exception(BackendError("nats", problem.reason))

    def _failed(self, problem: BackendError) -> None:
        # Whoever publishes or begins to follow is told by an error.
        if self._problem is None:
            _logger.info("the nats log can't be followed: %s", problem.reason)
        self._problem = problem
