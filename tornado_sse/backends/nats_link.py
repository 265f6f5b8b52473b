"""A connection to a NATS server, on which everything that comes is heard in the order in which it came.

nats-py has a queue and a task for each subscription with a callback, and so no order among them. The one
thing that it does at once, while it reads, is to resolve the future of a subscription that has one. An `_Ear`
is such a future, which is never done: each message is heard as it is read. So when the answer to a publish is
heard, everything that the server has sent before that has been heard.

A connection ends for good when anything is wrong with it: nats-py is not to connect again by itself, since
whatever was on its way then may be lost, and whoever has a link begins anew with the next one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tornado_sse.backends.nats_address import Address
from tornado_sse.errors import BackendError

__all__ = ["OLDEST", "Link"]

#: The oldest server that has all that is needed: to read many messages at once.
OLDEST: Final = (2, 11)

# How long to wait until nats-py has let go of a connection, in seconds.
_PATIENCE: Final = 1.0

# How often nats-py sends a ping, in seconds, beside whatever else shows that a server is there.
_PING: Final = 10

_STATUS: Final = "Status"


class _Ear(asyncio.Future[Msg]):
    """What nats-py takes for the future of one message: hears them all."""

    def __init__(self, hear: Callable[[Msg], None]) -> None:
        super().__init__()
        self._hear = hear

    def set_result(self, result: Msg) -> None:
        self._hear(result)


class Link:
    """A connection, until it ends.

    :arg on_message: is called with each message of what has been subscribed to.
    :arg on_answer: is called with the number and the data of each answer to what was published; the data is
        None if nobody was there to take it.
    :arg float timeout: for how many seconds the server may keep us waiting.
    """

    def __init__(
        self,
        address: Address,
        timeout: float,
        on_message: Callable[[Msg], None],
        on_answer: Callable[[int, bytes | None], None],
    ) -> None:
        self._address = address
        self._timeout = timeout
        self._on_message = on_message
        self._on_answer = on_answer
        self._client = Client()
        self._inbox = ""
        self._asked = 0
        self._asking: dict[str, tuple[asyncio.Future[list[Msg]], list[Msg] | None]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        #: Set when it has ended.
        self.ended = asyncio.Event()
        #: Why it has ended.
        self.problem: BackendError | None = None

    async def open(self, attempt: int) -> None:
        """Connect, to one of the servers.

        :raises BackendError: if that can't be done.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._client.connect(
                    **self._address.options(attempt),
                    name="tornado-sse",
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=self._timeout,  # type: ignore[arg-type]
                    ping_interval=_PING,
                    pending_size=0,  # what may be on its way is limited by whoever publishes
                    error_cb=self._on_error,
                    closed_cb=self._on_closed,
                )
        except (errors.Error, OSError, TimeoutError, ImportError) as error:
            if isinstance(error, errors.NoServersError) and self.problem is not None:
                raise self.problem from self.problem.__cause__
            raise self._explained(error) from error
        self.problem = None
        self.ended.clear()
        # Where a connection is reset while something waits to be sent, these end with the error and call
        # nobody. There is no public way to hear of it.
        for name in ("_reading_task", "_flusher_task", "_ping_interval_task"):
            task = getattr(self._client, name, None)
            if task is not None:
                task.add_done_callback(self._on_task_done)
        version = self._client.connected_server_version
        if (version.major, version.minor) < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            raise self._error(f"is too old for this: nats-server {wanted} or newer is needed")
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(f"{self._inbox}.*", future=_Ear(self._hear_answer))

    @property
    def max_payload(self) -> int:
        """How long a message may be, headers included, in bytes."""
        return self._client.max_payload

    async def ask(
        self,
        subject: str,
        request: dict[str, Any] | bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        many: bool = False,
    ) -> list[Msg]:
        """Return the answer to a request: one message, or many up to one that has a status.

        :raises BackendError: if there is none, or nobody to give it; the link ends then.
        """
        self._asked += 1
        token = f"q{self._asked}"
        future: asyncio.Future[list[Msg]] = asyncio.get_running_loop().create_future()
        self._asking[token] = future, [] if many else None
        data = request if isinstance(request, bytes) else json.dumps(request).encode()
        try:
            async with asyncio.timeout(self._timeout / 2):
                await self._send(subject, data, token, headers)
                return await future
        except TimeoutError:
            self.end(self._error("does not answer"))
            assert self.problem is not None
            raise self.problem from None
        finally:
            del self._asking[token]

    async def publish(self, subject: str, data: bytes, number: int, headers: dict[str, str]) -> None:
        """Publish a message, of which the answer is told by a number.

        :raises BackendError: if the link has ended.
        """
        await self._send(subject, data, f"a{number}", headers)

    async def subscribe(self, subject: str) -> None:
        """Hear what is published on a subject: whatever comes after the answer to what is asked next, at
        least.

        :raises BackendError: if the link has ended.
        """
        if subject not in self._subscriptions:
            try:
                self._subscriptions[subject] = await self._client.subscribe(
                    subject, future=_Ear(self._hear_message)
                )
            except (errors.Error, OSError) as error:
                raise self._lost(error) from error

    async def unsubscribe(self, subject: str) -> None:
        """Hear it no more."""
        subscription = self._subscriptions.pop(subject, None)
        if subscription is not None:
            try:
                await subscription.unsubscribe()
            except (errors.Error, OSError):
                pass  # it has ended, and so has the link

    def end(self, problem: BackendError) -> None:
        """Be of no use any more."""
        if self.problem is None:
            self.problem = problem
        self.ended.set()
        for future, _ in self._asking.values():
            if not future.done():
                future.set_exception(BackendError("nats", self.problem.reason))

    async def close(self) -> None:
        """Let go of the connection."""
        self.end(self._error("has been let go"))
        # There is no public way to give up a connection that takes no bytes any more; close() waits for it.
        writer = getattr(self._client._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._client.close()
        except (errors.Error, OSError, TimeoutError):
            pass

    # How it is done

    async def _send(self, subject: str, data: bytes, token: str, headers: dict[str, str] | None) -> None:
        if self.problem is not None:
            raise BackendError("nats", self.problem.reason)
        try:
            await self._client.publish(subject, data, f"{self._inbox}.{token}", headers)
        except (errors.Error, OSError) as error:
            raise self._lost(error) from error

    def _hear_answer(self, message: Msg) -> None:
        token = message.subject.rpartition(".")[2]
        status = message.headers.get(_STATUS) if message.headers else None
        if token[0] == "a":
            self._guarded(self._on_answer, int(token[1:]), None if status == "503" else message.data)
            return
        future, messages = self._asking.get(token, (None, None))
        if future is None or future.done():
            return
        if status == "503":
            future.set_exception(self._error("has no such log, or no JetStream (its option is -js)"))
        elif messages is None:
            future.set_result([message])
        elif status is None:
            messages.append(message)
        else:
            future.set_result([*messages, message])

    def _hear_message(self, message: Msg) -> None:
        self._guarded(self._on_message, message)

    def _guarded(self, call: Callable[..., None], *args: Any) -> None:
        if self.ended.is_set():
            return  # whoever has this link counts on the next one already
        # What is raised here would end nats-py's reading, and nobody would know.
        try:
            call(*args)
        except Exception as error:
            problem = self._error(f"sends what is not understood: {type(error).__name__}: {error}")
            problem.__cause__ = error
            self.end(problem)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self.end(self._explained(error))

    async def _on_error(self, error: Exception) -> None:
        self.end(self._explained(error))

    async def _on_closed(self) -> None:
        self.end(self._explained(self._client.last_error or ConnectionError("the connection has ended")))

    def _lost(self, error: Exception) -> BackendError:
        self.end(self._explained(error))
        assert self.problem is not None
        return BackendError("nats", self.problem.reason)

    def _explained(self, error: Exception) -> BackendError:
        said = str(error).removeprefix("nats: ").strip() or type(error).__name__
        if isinstance(error, errors.AuthorizationError) or "uthorization" in said:
            problem = self._error(f"does not let us in: {said}")
        elif isinstance(error, TimeoutError | errors.TimeoutError):
            problem = self._error("does not answer")
        else:
            problem = self._error(f"is away: {said}")
        problem.__cause__ = error
        return problem

    def _error(self, said: str) -> BackendError:
        return BackendError("nats", f"{self._address} {said}")
