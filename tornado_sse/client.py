"""`EventSource`: the reading side.

Theory of operation
-------------------
One task, the *reader*, makes connection after connection; the *consumer* is whoever iterates. Between them
lies one batch: the events of one piece of the stream. The reader waits until the consumer has taken the last
of them and comes back for more, and until then reads nothing. So memory is bounded by a piece and an event,
the server feels a slow consumer as it would feel a slow network, and a connection is not asked for with an id
whose event nobody has seen.

The reader ends in one of four ways (`Ending`), and the consumer is told: normally, or by an exception. What
merely interrupts a stream goes to `EventSource.on_error` with the time after which it is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Final, Literal, Self, cast

from tornado.netutil import Resolver

from tornado_sse.asking import Asker, Headers
from tornado_sse.backoff import Backoff
from tornado_sse.ending import Ending
from tornado_sse.errors import (
    ConnectionFailedError,
    EventSourceError,
    ResponseError,
    SettingError,
)
from tornado_sse.exchange import Exchange, Limits
from tornado_sse.received import ReceivedEvent, ReceivedEventParser

__all__ = ["EventSource"]

_log = logging.getLogger("tornado_sse")

# A connection that has been open for so many seconds was a good one, even if nothing happened on it.
_HEALTHY: Final = 30.0


class EventSource:
    """The events of a server, over as many connections as it takes.

    ::

        async for event in EventSource("http://localhost:8888/prices/AAPL"):
            print(event.type, event.payload)

    Each event is a `ReceivedEvent`. Lost connections are made anew, and resumed by ``Last-Event-ID``. As in a
    browser (WHATWG HTML, section 9.2.3), 204 ends it for good: so a server says that all has been said, and
    the iteration ends normally, with ``ending`` telling why. Any other answer that is no event stream ends it
    with a `ResponseError`.

    Leaving the loop, or cancelling the task in it, closes the socket at once. In ``async with`` it is the
    block that does, so that within it one may iterate more than once, or give up waiting for an event and go
    on later::

        async with EventSource(url) as source:
            async with asyncio.timeout(5):
                event = await anext(source)

    It needs a running event loop of asyncio, and no more. Proxies of the environment are not used.

    :arg str url: http or https. User and password in it are sent as ``Authorization: Basic``.
    :arg str method: what to ask with.
    :arg headers: more headers, or a function that returns them and may be a coroutine; it is called before
        each connection, for tokens that expire. To another origin they are not sent along, nor is anything
        over http after https.
    :arg body: bytes, or str for UTF-8. It is sent with each connection.
    :arg str last_event_id: the id to resume from; see the attribute.
    :arg bool reconnect: whether a response that has ended is followed by another. By default if the method is
        GET: what a POST does may not be meant to be done again. Without it a complete response ends the
        iteration normally, and a broken one raises.
    :arg float retry: the reconnection time in seconds, until the server says its own.
    :arg float max_delay: the longest wait in seconds, whatever the server says. Waits double with each
        failure in a row, and are up to half as much longer at random. An event, or half a minute of an open
        stream, makes it begin anew; a mere connection does not.
    :arg int max_failures: how many failures in a row there may be before it raises the last one; None for
        any.
    :arg int max_redirects: how many redirects in a row are followed. The next connection begins at ``url``
        again.
    :arg float connect_timeout: seconds until a connection stands.
    :arg float read_timeout: seconds for the head of the response, and of silence after it; None for any.
        Servers send a comment or an event at least every 15 to 30 seconds, ours by default every 15.
    :arg ssl_options: an `ssl.SSLContext` or Tornado's dict. Without it certificates are verified against the
        system's authorities.
    :arg bool compression: ask for gzip. It is not asked for otherwise, since what compresses on the way often
        collects before it sends; but decoded it is.
    :arg int max_event_size: bytes of one event, of a line, and of what is between two events.
    :arg int max_header_size: bytes of a response's head.
    :arg resolver: a `tornado.netutil.Resolver`.

    :raises SettingError: if an argument makes no sense.

    Iterating raises, once and then again each time it is tried:

    - `ResponseError`: the answer was no event stream (and `gives_up` agreed).
    - `RedirectError`: too many redirects, or one that is not followed.
    - `ConnectionFailedError`: the certificate is not valid, or there is to be no other connection.
    - `EventTooLargeError`: an event exceeds ``max_event_size``. The server would send it again.
    - What a hook or ``headers`` has raised.
    """

    def __init__(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Headers | None = None,
        body: bytes | str | None = None,
        last_event_id: str | None = None,
        reconnect: bool | None = None,
        retry: float = 1.0,
        max_delay: float = 300.0,
        max_failures: int | None = None,
        max_redirects: int = 10,
        connect_timeout: float = 10.0,
        read_timeout: float | None = 90.0,
        ssl_options: ssl.SSLContext | dict[str, Any] | None = None,
        compression: bool = False,
        max_event_size: int = 16 * 1024 * 1024,
        max_header_size: int = 64 * 1024,
        resolver: Resolver | None = None,
    ) -> None:
        for name, value, least in (
            ("retry", retry, 0),
            ("max_delay", max_delay, 0),
            ("max_failures", max_failures or 0, 0),
            ("max_event_size", max_event_size, 1),
        ):
            if not value >= least:
                raise SettingError(name, f"must be {least} or more, not {value!r}")
        self._asker = Asker(
            url,
            method,
            headers,
            body,
            max_redirects=max_redirects,
            limits=Limits(connect_timeout, read_timeout, max_header_size),
            ssl_options=ssl_options,
            compression=compression,
            resolver=resolver,
        )
        self._reconnect = method == "GET" if reconnect is None else reconnect
        self._max_failures = max_failures
        self._backoff = Backoff(retry, max_delay)

        #: What is asked for, without user and password.
        self.url = self._asker.request.url
        #: The id of the last event that was taken (str), or one that the server has sent after it; ""
        #: for none. Keep it to resume from here another day.
        self.last_event_id = last_event_id or ""
        #: ``"connecting"``, ``"open"`` or ``"closed"``; as in a browser it is connecting between two
        #: connections.
        self.state: Literal["connecting", "open", "closed"] = "connecting"
        #: How it has ended, or None.
        self.ending: Ending | None = None
        #: What it has failed with, or None.
        self.error: Exception | None = None

        self._parser = ReceivedEventParser(self.last_event_id, max_event_size=max_event_size)
        self._batch: deque[ReceivedEvent] = deque()
        self._arrived = asyncio.Event()  # something for the consumer: a batch, an opening, the end
        self._wanted = asyncio.Event()  # something for the reader: the batch has been taken
        self._reader: asyncio.Task[None] | None = None
        self._in_block = False
        self._opened = 0.0
        self._healthy = False

    # Hooks

    def on_open(self) -> None:
        """Override to do something each time a stream opens."""

    def on_error(self, error: EventSourceError, delay: float) -> None:
        """Override to do something each time a stream is interrupted, or can't be had.

        The server's ending its response is an interruption as well; ``error.complete`` tells it from others.

        :arg error: what happened.
        :arg float delay: after how many seconds it is tried again.

        The default writes a line to the logger ``tornado_sse``, at the level INFO.
        """
        _log.info("%s; again in %.1f s", error, delay)

    def gives_up(self, error: ResponseError) -> bool:
        """Override to return False where an answer that is no event stream shall not be the end.

        503, say, may be a server that is about to stop, and another one there in a moment. Then it is tried
        again as after a lost connection. The default is True, as in a browser.
        """
        return True

    def on_data(self, data: bytes) -> None:
        """Override to see the stream's bytes as they are read, decompressed and not yet parsed."""

    # What the consumer calls

    def __aiter__(self) -> AsyncIterator[ReceivedEvent]:
        return self if self._in_block else self._iterate()

    async def _iterate(self) -> AsyncIterator[ReceivedEvent]:
        # A generator, for its end: whoever leaves the loop drops it, and the event loop then closes it.
        try:
            while True:
                yield await anext(self)
        except StopAsyncIteration:
            pass
        finally:
            self.close()

    async def __anext__(self) -> ReceivedEvent:
        """Return the next event, and connect if that has not been done yet.

        :raises StopAsyncIteration: if it has ended normally.
        :raises Exception: as above, if not.
        """
        while not self._batch:
            if self.ending is not None:
                if self.error is not None:
                    raise self.error
                raise StopAsyncIteration
            self._start()
            self._wanted.set()
            await self._wait()
        event = self._batch.popleft()
        assert event.id is not None
        self.last_event_id = event.id
        return event

    async def opened(self) -> Self:
        """Wait until a stream is open; return the source.

        :raises Exception: as by iterating, if it has ended instead. `ConnectionFailedError` if the end was a
            normal one.
        """
        while self.state != "open":
            if self.ending is not None:
                raise self.error or ConnectionFailedError(self.url, f"it has ended ({self.ending})")
            self._start()
            await self._wait()
        return self

    async def __aenter__(self) -> Self:
        """Begin to connect, without waiting for it."""
        self._in_block = True
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._reader is not None and self._reader is not asyncio.current_task():
            await asyncio.wait({self._reader})

    def close(self) -> None:
        """Close the socket at once; iterating ends. What has arrived and was not taken is dropped.

        May be called again.
        """
        if self.ending is None:
            self._end(Ending.CLOSED)
        self._asker.close()
        if self._reader is not None:
            self._reader.cancel()

    def _start(self) -> None:
        if self._reader is None and self.ending is None:
            self._reader = asyncio.create_task(self._read(), name=f"tornado_sse {self._asker.request.host}")

    async def _wait(self) -> None:
        self._arrived.clear()
        try:
            await self._arrived.wait()
        except asyncio.CancelledError:
            if not self._in_block:
                self.close()
            raise

    # The reader

    async def _read(self) -> None:
        try:
            self._end(await self._read_all())
        except asyncio.CancelledError:
            self._end(Ending.CLOSED)
            raise
        except Exception as error:
            if self.ending is None:
                self.error = error
            self._end(Ending.FAILED)

    def _end(self, ending: Ending) -> None:
        if self.ending is None:
            self.ending = ending
            if ending is Ending.CLOSED:
                self._batch.clear()
        self.state = "closed"
        self._arrived.set()

    async def _read_all(self) -> Ending:
        while True:
            try:
                if await self._connect():
                    return Ending.FINISHED
                error: EventSourceError = ConnectionFailedError(
                    self.url, "the response has ended", complete=True
                )
                if not self._reconnect:
                    return Ending.COMPLETE
            except (ConnectionFailedError, ResponseError) as failed:
                error = failed
                if not self._reconnect or self._is_final(failed):
                    raise
            if self.state == "open" and asyncio.get_running_loop().time() - self._opened >= _HEALTHY:
                self._healthy = True
            self.state = "connecting"
            delay = self._backoff.wait(healthy=self._healthy)
            if self._max_failures is not None and self._backoff.failures > self._max_failures:
                raise error
            self.on_error(error, delay)
            await asyncio.sleep(delay)

    def _is_final(self, error: EventSourceError) -> bool:
        if isinstance(error, ResponseError):
            return self.gives_up(error)
        return isinstance(error.__cause__, ssl.SSLCertVerificationError)

    async def _connect(self) -> bool:
        """Read one response to its end; return whether it said that there is nothing more to come."""
        self._healthy = False
        # An event that was not ended by a blank line does not count: its beginning goes with the parser.
        self._parser = ReceivedEventParser(
            self._parser.last_event_id, max_event_size=self._parser.max_event_size
        )
        exchange, answer = await self._asker.ask(self._parser.last_event_id)
        async with exchange:
            if not answer.problem:
                await self._read_stream(exchange)
            elif answer.status != 204:
                raise answer.error(exchange.request.url)
        return answer.status == 204

    async def _read_stream(self, exchange: Exchange) -> None:
        """Hand on what a response makes complete, each batch when the one before has been taken."""
        self.state = "open"
        self._opened = asyncio.get_running_loop().time()
        self._arrived.set()
        self.on_open()
        while data := await exchange.read():
            self.on_data(data)
            events = cast(list[ReceivedEvent], self._parser.feed(data))
            if self._parser.retry is not None:
                self._backoff.retry = self._parser.retry / 1000
            if events:
                self._healthy = True
                self._batch.extend(events)
                self._wanted.clear()
                self._arrived.set()
                await self._wanted.wait()
                self._parser.feed(b"")  # raises if what followed them was too large
            self.last_event_id = self._parser.last_event_id
