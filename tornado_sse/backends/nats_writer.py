"""The task that appends to a log in NATS.

Events are published one after the other, without waiting for their acknowledgements, of which so many may be
outstanding. What was on its way when a connection ended is published again on the next one, in the same order
and with the same ids, by which the server knows what it has taken already and says where it is.

*The order of the calls is the order in the log.* One server takes what comes on a connection in order, so
what it has taken is a beginning of what was on its way. A cluster whose leader changes may lose something
from the middle. So what is overtaken by a later one that has been acknowledged is not published again: it
fails.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from tornado_sse.backends.nats_link import Link
from tornado_sse.backends.nats_names import Names
from tornado_sse.errors import BackendError
from tornado_sse.record import Draft

__all__ = ["Appended", "Owner", "Writer"]

# How much may be on its way: what a server takes in some milliseconds.
_MOST_EVENTS: Final = 512
_MOST_BYTES: Final = 4 * 1024 * 1024

# What a message takes beside the frame and the headers' names and values, in bytes.
_OVERHEAD: Final = 200

# What a cluster says while it makes sure of the first of two events with one id, and how long to wait then
# before it is asked again, in seconds.
_IN_PROCESS: Final = 10158
_PAUSE: Final = 0.02

# What the server says, by its number, and what is said to the user.
_SAYINGS: Final = {
    10023: "the server has no room for more",
    10028: "the server's JetStream has no room for more",
    10047: "the server has no room for more",
    10054: "an event is too large for the stream",
    10077: "the stream has no room for more: raise its limits, or keep less (Retention)",
}


@dataclass(eq=False)
class Appended:
    """An event on its way into the log."""

    draft: Draft
    subject: str
    headers: dict[str, str]
    future: asyncio.Future[int]
    deadline: float
    size: int
    #: When it was published last.
    published: float = 0.0


class Owner(Protocol):
    """Who has a writer."""

    def on_appended(self, appended: Appended, position: int, again: bool) -> None:
        """Take notice that an event is in the log, or was there already; answer it when all that is told."""


class Writer:
    """Appends on behalf of an owner; see the module's docstring.

    :arg float timeout: for how many seconds to try.
    """

    def __init__(self, owner: Owner, names: Names, timeout: float) -> None:
        self._owner = owner
        self._names = names
        self._timeout = timeout
        self._waiting: deque[Appended] = deque()
        # What is on its way, by its number, in the order of the calls.
        self._flying: dict[int, Appended] = {}
        self._size = 0
        # What ids are made of; what answers are told by; the last of those that has been acknowledged.
        self._number = 0
        self._published = 0
        self._acknowledged = 0
        self._link: Link | None = None
        self._changed = asyncio.Event()
        self._ending = False
        self._problem: BackendError | None = None
        self._nonce = secrets.token_urlsafe(9)

    def append(self, draft: Draft) -> asyncio.Future[int]:
        """Return a Future of the event's position; it fails with `BackendError`.

        :raises BackendError: if its key or message id can't be written.
        """
        self._number += 1
        subject, headers = self._names.addressed(draft, f"{self._nonce}/{self._number}")
        loop = asyncio.get_running_loop()
        size = len(draft.frame) + sum(map(len, headers.values())) + len(subject) + _OVERHEAD
        appended = Appended(draft, subject, headers, loop.create_future(), loop.time() + self._timeout, size)
        self._waiting.append(appended)
        self._changed.set()
        return appended.future

    def attach(self, link: Link) -> None:
        """Publish on this connection from now on, beginning with what was on its way."""
        overtaken = [number for number in self._flying if number < self._acknowledged]
        for number in overtaken:
            self._fail(self._take(number), "an answer was lost, and a later event is in the log already")
        self._waiting.extendleft(reversed(self._flying.values()))
        self._flying.clear()
        self._size = 0
        self._link, self._problem = link, None
        self._changed.set()

    def detach(self, problem: BackendError | None) -> None:
        """Publish nothing until there is a connection again."""
        self._link = None
        self._problem = problem

    def on_answer(self, number: int, data: bytes | None) -> None:
        """Take the server's answer to what was published by a number."""
        if number not in self._flying:
            return  # it came too late
        if data is None:
            # The stream is not there, or not yet. What comes after this will hardly fare better.
            if self._link is not None:
                self._link.end(BackendError("nats", "nobody has such a stream now"))
            return
        answer = json.loads(data)
        error = answer.get("error")
        if error is not None and error.get("err_code") == _IN_PROCESS:
            # Where it will be is not known yet.
            asyncio.get_running_loop().call_later(_PAUSE, self._ask_again, number)
            return
        if error is not None:
            said = error.get("description", error)
            saying = _SAYINGS.get(error.get("err_code"))
            self._fail(self._take(number), f"{saying} ({said})" if saying else f"the server answers: {said}")
            return
        self._acknowledged = max(self._acknowledged, number)
        appended = self._take(number)
        self._owner.on_appended(appended, answer["seq"], answer.get("duplicate", False))

    def end(self) -> None:
        """Do what has been asked for so far, and end."""
        self._ending = True
        self._changed.set()

    async def run(self) -> None:
        """Work until the end."""
        try:
            while not (self._ending and not self._waiting and not self._flying):
                self._changed.clear()
                self._give_up()
                await self._publish()
                try:
                    async with asyncio.timeout_at(self._patience()):
                        await self._changed.wait()
                except TimeoutError:
                    pass
        finally:
            while self._flying:
                self._fail(self._take(next(iter(self._flying))), "it has been closed")
            while self._waiting:
                self._fail(self._waiting.popleft(), "it has been closed")

    # How it is done

    async def _publish(self) -> None:
        while (link := self._link) is not None and self._waiting:
            if len(self._flying) >= _MOST_EVENTS or (self._flying and self._size >= _MOST_BYTES):
                return
            appended = self._waiting.popleft()
            if appended.size > link.max_payload:
                length, most = len(appended.draft.frame), link.max_payload
                self._fail(appended, f"an event of {length} bytes is beyond the server's max_payload, {most}")
                continue
            self._published += 1
            number = self._published
            self._flying[number] = appended
            self._size += appended.size
            appended.published = asyncio.get_running_loop().time()
            try:
                await link.publish(appended.subject, appended.draft.frame, number, appended.headers)
            except BackendError:
                return  # it is published again on the next connection

    def _ask_again(self, number: int) -> None:
        if number in self._flying:
            self._waiting.appendleft(self._take(number))

    def _take(self, number: int) -> Appended:
        appended = self._flying.pop(number)
        self._size -= appended.size
        self._changed.set()
        return appended

    def _patience(self) -> float | None:
        """Return until when to wait, by the event loop's clock; None is for ever."""
        flying = next(iter(self._flying.values()), None)
        waiting = self._waiting[0] if self._waiting else None
        times = [each.deadline for each in (flying, waiting) if each is not None]
        if flying is not None and self._link is not None:
            # Half of the time, so that there is some left for another connection.
            times.append(flying.published + self._timeout / 2)
        return min(times, default=None)

    def _give_up(self) -> None:
        """Let fail what has taken too long, and end a connection that does."""
        now = asyncio.get_running_loop().time()
        problem = self._problem or BackendError("nats", "the server does not answer")
        flying = next(iter(self._flying.values()), None)
        if flying is not None and self._link is not None and flying.published + self._timeout / 2 <= now:
            self._link.end(problem)
            self.detach(problem)
        while self._flying and next(iter(self._flying.values())).deadline <= now:
            self._fail(self._take(next(iter(self._flying))), problem.reason)
        while self._waiting and self._waiting[0].deadline <= now:
            self._fail(self._waiting.popleft(), problem.reason)

    def _fail(self, appended: Appended, reason: str) -> None:
        if not appended.future.done():
            appended.future.set_exception(BackendError("nats", reason))
