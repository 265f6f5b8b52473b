"""The task that appends to a log in Redis or Valkey.

It takes whatever has been asked for since it last looked, and does it by one script: the busier it is, the
more events share a round trip. A batch is acknowledged when the script has answered and the process has heard
all that was published up to then, on another connection; the next batch does not wait for that.

A batch whose answer was lost is sent again with the same number. The script knows the number of the last
batch it has taken from this writer, and the answer it gave: so a batch happens once, and one that was given
up does not happen any more after the next one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from tornado_sse.backends.redis_link import Anew, Link
from tornado_sse.backends.redis_log import append_args
from tornado_sse.errors import BackendError
from tornado_sse.log import Retention
from tornado_sse.record import Draft

__all__ = ["Owner", "Writer"]

# How much one batch takes at most. The server does nothing else meanwhile, which is some milliseconds.
_MOST_EVENTS: Final = 500
_MOST_BYTES: Final = 4 * 1024 * 1024


class Owner(Protocol):
    """Who has a writer."""

    @property
    def epoch(self) -> str:
        """The log's incarnation, as far as this process knows."""

    async def told(self, epoch: str, position: int) -> None:
        """Return when everything up to a position has been told.

        :raises BackendError: if that can't be.
        """

    async def renewed(self, epoch: str, deadline: float) -> None:
        """Find out about the log, where that of an epoch is not there any more.

        :raises BackendError: if that can't be done by a deadline.
        """


class _Request(NamedTuple):
    """What is asked for: to append an event, or to tell what there is."""

    draft: Draft | None
    future: asyncio.Future[int]
    deadline: float


class Writer:
    """Appends on behalf of an owner; see the module's docstring.

    :arg str topics: what the names of all topics begin with.
    :arg float timeout: for how many seconds to try.
    :arg ahead: by how many microseconds the log's clock is ahead of the server's.
    """

    def __init__(
        self,
        owner: Owner,
        link: Link,
        retention: Callable[[str], Retention],
        topics: str,
        timeout: float,
        ahead: Callable[[], int],
    ) -> None:
        self._owner = owner
        self._link = link
        self._retention = retention
        self._topics = topics
        self._timeout = timeout
        self._ahead = ahead
        self._number = 0
        self._requests: deque[_Request] = deque()
        self._asked = asyncio.Event()
        self._ending = False
        # Batches that wait to be told.
        self._telling: set[asyncio.Task[Any]] = set()
        #: What the log knows this writer by, and the name of the process's own topic.
        self.nonce = secrets.token_hex(8)

    def append(self, draft: Draft) -> asyncio.Future[int]:
        """Return a Future of the event's position; it fails with `BackendError`."""
        return self._request(draft)

    def sync(self) -> asyncio.Future[int]:
        """Return a Future that is done when all that has been acknowledged is told; its result is 0."""
        return self._request(None)

    def end(self) -> None:
        """Do what has been asked for so far, and end."""
        self._ending = True
        self._asked.set()

    async def run(self) -> None:
        """Work until the end."""
        try:
            while not (self._ending and not self._requests):
                await self._asked.wait()
                self._asked.clear()
                while self._requests:
                    requests = self._take()
                    appends = [request for request in requests if request.draft is not None]
                    others = [request for request in requests if request.draft is None]
                    # To append tells all there is; but a log that is full can be told of too.
                    appended = appends and await self._attempt(self._append(appends, others), appends)
                    if others and not appended:
                        await self._attempt(self._mark(others), others)
            if self._telling:
                await asyncio.wait(self._telling)
        finally:
            for task in self._telling:
                task.cancel()
            _fail(self._requests, BackendError("redis", "it has been closed"))

    def _request(self, draft: Draft | None) -> asyncio.Future[int]:
        loop = asyncio.get_running_loop()
        request = _Request(draft, loop.create_future(), loop.time() + self._timeout)
        self._requests.append(request)
        self._asked.set()
        return request.future

    def _take(self) -> Sequence[_Request]:
        taken: list[_Request] = []
        size = 0
        while self._requests and len(taken) < _MOST_EVENTS and size < _MOST_BYTES:
            request = self._requests.popleft()
            taken.append(request)
            size += 0 if request.draft is None else len(request.draft.frame)
        return taken

    async def _attempt(self, action: Coroutine[Any, Any, None], requests: Sequence[_Request]) -> bool:
        """Do something for some requests, and answer them if it fails; return whether it does not."""
        try:
            await action
            return True
        except BackendError as error:
            _fail(requests, error)
        except Exception as error:
            _fail(requests, BackendError("redis", f"an unexpected {type(error).__name__}: {error}"))
        except asyncio.CancelledError:
            _fail(requests, BackendError("redis", "it has been closed"))
            raise
        return False

    async def _append(self, appends: Sequence[_Request], others: Sequence[_Request]) -> None:
        drafts = [request.draft for request in appends if request.draft is not None]
        deadline = appends[0].deadline
        self._number += 1
        while True:
            epoch = self._owner.epoch
            args = append_args(
                drafts,
                self._retention,
                epoch=epoch,
                topics=self._topics,
                nonce=self.nonce,
                number=self._number,
                ahead=self._ahead(),
            )
            try:
                answer = await self._link.ask("append", *args, deadline=deadline)
            except Anew:
                await self._link.close()
                await self._owner.renewed(epoch, deadline)
                continue
            position, *positions = map(int, answer.split())
            self._tell(epoch, position, [*appends, *others], [*positions, *(0 for _ in others)])
            return

    async def _mark(self, requests: Sequence[_Request]) -> None:
        deadline = requests[0].deadline
        while True:
            epoch = self._owner.epoch
            try:
                found, position = await self._link.ask(
                    "mark", f"{self._topics}p/{self.nonce}", deadline=deadline
                )
            except Anew:
                await self._owner.renewed(epoch, deadline)
                continue
            self._tell(found.decode(), position, requests, [0] * len(requests))
            return

    def _tell(self, epoch: str, position: int, requests: Sequence[_Request], answers: Sequence[int]) -> None:
        async def tell() -> None:
            await self._owner.told(epoch, position)
            for request, answer in zip(requests, answers, strict=True):
                if not request.future.done():
                    request.future.set_result(answer)

        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(self._attempt(tell(), requests))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


def _fail(requests: Iterable[_Request], error: BackendError) -> None:
    for request in requests:
        if not request.future.done():
            # One for each: whoever raises it adds a traceback to it.
            own = BackendError(error.backend, error.reason)
            own.__cause__ = error.__cause__
            request.future.set_exception(own)
