"""A client for tests of streams that never end: whatever it waits for, it waits for a bounded time."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Generator
from types import TracebackType
from typing import Any, Final, Self

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from tornado_sse.client import EventSource
from tornado_sse.ending import Ending
from tornado_sse.errors import ConnectionFailedError
from tornado_sse.received import ReceivedEvent

__all__ = ["Listener", "listen"]

_CLOSE_AT_ONCE: Final = struct.pack("ii", 1, 0)  # struct linger: on, zero seconds

# What a stalled reader's kernel may take, in bytes; it doubles it.
_SMALL: Final = 4096


class _Source(EventSource):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.data = bytearray()
        self.came = asyncio.Event()

    def on_data(self, data: bytes) -> None:
        self.data += data
        self.came.set()

    def go_on(self) -> None:
        """Read on if all events that were read have been taken."""
        if not self._batch:
            self._wanted.set()

    @property
    def socket(self) -> socket.socket:
        exchange = self._asker.exchange
        assert exchange is not None
        assert exchange.iostream is not None
        result: socket.socket | None = exchange.iostream.socket
        assert result is not None, "the connection is closed"
        return result


class Listener:
    """One connection to an event stream, for a test. Use `listen` to make one.

    Whatever does not come in time raises AssertionError, which says what came instead.
    """

    def __init__(self, target: Application | str, path: str, timeout: float, options: dict[str, Any]) -> None:
        self._target = target
        self._path = path
        self._options = options
        self._server: HTTPServer | None = None
        self._source: _Source | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        #: How long it waits for anything unless it is told otherwise, in seconds.
        self.timeout = timeout
        #: All events that were returned, oldest first, those of earlier connections included.
        self.events: list[ReceivedEvent] = []

    @property
    def source(self) -> EventSource:
        """The `EventSource` of the present connection."""
        return self._open

    @property
    def last_event_id(self) -> str:
        """The id that `reconnect` resumes from."""
        return self._open.last_event_id

    async def __aenter__(self) -> Self:
        """Connect, and serve the application if it is one.

        :raises ResponseError: if the answer is no event stream; its ``status`` and ``body`` say what it is.
        :raises ConnectionFailedError: if there is no answer.
        """
        self._loop = asyncio.get_running_loop()
        url = self._target
        if isinstance(url, Application):
            self._server = HTTPServer(url)
            (listener,) = bind_sockets(0, "127.0.0.1")
            self._server.add_socket(listener)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}{self._path}"
        elif self._path:
            url += self._path
        self._url = url
        try:
            await self._connect(self._options)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    async def aclose(self) -> None:
        """Close the connection, and the application's server if it was started here. Idempotent."""
        source, self._source = self._source, None
        if source is not None:
            await source.__aexit__(None, None, None)
        server, self._server = self._server, None
        if server is not None:
            server.stop()
            await server.close_all_connections()

    def drop(self) -> None:
        """Close it from outside of its event loop, when the test is over."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.run_until_complete(self.aclose())

    # Events

    async def next(self, timeout: float | None = None) -> ReceivedEvent:
        """Return the next event.

        :arg float timeout: seconds.
        :raises AssertionError: if none comes in time, or the stream ends instead.
        """
        seconds = self.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds):
                event = await anext(self._open)
        except TimeoutError:
            raise AssertionError(f"no event within {seconds:g} s; {self._story()}") from None
        except StopAsyncIteration:
            raise AssertionError(f"the stream has ended ({self._open.ending}); {self._story()}") from None
        except ConnectionFailedError as error:
            raise AssertionError(f"{error.reason}; {self._story()}") from error
        self.events.append(event)
        return event

    async def collect(self, count: int, timeout: float | None = None) -> list[ReceivedEvent]:
        """Return the next events, so many of them; ``timeout`` is for each.

        :raises AssertionError: as `next`.
        """
        return [await self.next(timeout) for _ in range(count)]

    async def silence(self, seconds: float = 0.1) -> None:
        """Check that no event comes for so long.

        :raises AssertionError: if one does.
        """
        try:
            async with asyncio.timeout(seconds):
                event = await anext(self._open)
        except (TimeoutError, StopAsyncIteration, ConnectionFailedError):
            return
        raise AssertionError(f"there should be silence, but there is {event!r}")

    async def rest(self, timeout: float | None = None) -> list[ReceivedEvent]:
        """Return all events to the end of the stream. ``ending`` tells how it has ended.

        :raises AssertionError: if it doesn't end: no event and no end come within ``timeout`` seconds.
        """
        seconds = self.timeout if timeout is None else timeout
        begun = len(self.events)
        while True:
            try:
                async with asyncio.timeout(seconds):
                    self.events.append(await anext(self._open))
            except TimeoutError:
                raise AssertionError(f"no end within {seconds:g} s; {self._story()}") from None
            except (StopAsyncIteration, ConnectionFailedError):
                return self.events[begun:]

    @property
    def complete(self) -> bool:
        """Whether the response has ended as a complete one; False while it goes on, or if it was cut."""
        return self._open.ending is Ending.COMPLETE

    async def received(self, data: bytes, count: int = 1, timeout: float | None = None) -> None:
        """Wait until bytes have come on this connection, for what is no event: keep-alives, a primer, fields.

        What comes behind an event that was not yet taken is not looked at.

        :raises AssertionError: if they don't come so many times in so many seconds.
        """
        seconds = self.timeout if timeout is None else timeout
        source = self._open
        try:
            async with asyncio.timeout(seconds):
                while source.data.count(data) < count:
                    source.go_on()
                    source.came.clear()
                    await source.came.wait()
        except TimeoutError:
            found = source.data.count(data)
            story = f"{data!r} came {found} times within {seconds:g} s, not {count}"
            raise AssertionError(f"{story}; the stream is {bytes(source.data)!r}") from None

    # Connections

    async def reconnect(self, **options: Any) -> Self:
        """Close the connection and make another, with the last id; return the listener.

        :arg options: of `.EventSource`, instead of those it was made with.
        """
        last = self.last_event_id
        await self._open.__aexit__(None, None, None)
        await self._connect({**self._options, "last_event_id": last, **options})
        return self

    def reset(self) -> None:
        """Vanish: the server gets a reset."""
        self._open.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_AT_ONCE)
        self._open.close()

    def half_close(self) -> None:
        """Say that nothing more will be sent, and go on reading."""
        self._open.socket.shutdown(socket.SHUT_WR)

    def stall(self) -> None:
        """Read no further than the next event until one is asked for; the kernel takes little meanwhile."""
        self._open.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)

    @property
    def _open(self) -> _Source:
        if self._source is None:
            raise RuntimeError("it is not connected; use it as `async with listen(...) as it`")
        return self._source

    async def _connect(self, options: dict[str, Any]) -> None:
        source = _Source(self._url, **{"reconnect": False, "read_timeout": None, **options})
        await source.__aenter__()
        self._source = source
        try:
            async with asyncio.timeout(self.timeout):
                await source.opened()
        except TimeoutError:
            raise AssertionError(f"no response within {self.timeout:g} s") from None

    def _story(self) -> str:
        last = f", the last one {self.events[-1]!r}" if self.events else ""
        return f"there were {len(self.events)} so far{last}; the stream is {self._open.state}"


def listen(target: Application | str, path: str = "", *, timeout: float = 5.0, **options: Any) -> Listener:
    """Connect to an event stream, for a test::

        async with listen(app, "/prices/AAPL") as it:
            await broker.publish("prices.AAPL", 7)
            assert (await it.next()).payload == 7
            await it.reconnect()
            await it.silence()

    Or ``it = await listen(...)`` and ``await it.aclose()``. It works with any test runner that runs a
    coroutine on an event loop of asyncio.

    :arg target: an application, which is served on a port of its own as long as the listener is open, or a
        URL.
    :arg str path: the path and query, if the target doesn't have it.
    :arg float timeout: how long it waits for anything unless it is told otherwise, in seconds.
    :arg options: of `.EventSource`: ``headers``, ``method``, ``last_event_id``, … It makes one connection and
        does not come back by itself (``reconnect=False``), and it does not mind silence
        (``read_timeout=None``).
    """
    return Listener(target, path, timeout, options)
