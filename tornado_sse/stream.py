"""What a handler owns: a stream of events to one client."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Self

from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream
from tornado.web import Finish

from tornado_sse.encoder import encode_comment, encode_event
from tornado_sse.errors import BufferFullError, StreamClosedError
from tornado_sse.event import Event
from tornado_sse.fields import milliseconds
from tornado_sse.flow import READY, TURN
from tornado_sse.negotiation import FINAL
from tornado_sse.observer import Observer, guarded
from tornado_sse.reason import Reason
from tornado_sse.settings import Settings
from tornado_sse.transport import Transport, chunk
from tornado_sse.writer import Writer

__all__ = ["Stream", "within"]

_log = logging.getLogger("tornado_sse")

# A writer that is never made to wait never lets the event loop go. Every so many calls it gives the others
# a turn; the turn costs a hundred times less than the events.
_CALLS_PER_TURN: Final = 64

# From here on what a turn has gathered is sent before its end: a larger send costs no less for each byte,
# and a writer should feel a slow reader before it has written much more.
_FULL: Final = 16 * 1024


#: The stream on whose behalf code runs: a handler's open(), and the tasks it has made.
within: ContextVar[Stream | None] = ContextVar("within", default=None)


class Stream(Writer):
    """A stream of events to one client. `SSEHandler` and `upgrade` make them; applications write to them.

    A write is accepted or refused during the call, whole, and in the order of the calls. What is written in
    one turn of the event loop leaves together at its end, or as soon as there is much of it: a burst costs
    one system call and few packets, and nobody waits for the sake of it. `flush` sends at once.

    What a write returns is for flow control: awaiting it waits while the client is slower than the writer.
    It may be left alone, and then ``sse_max_buffer`` limits what piles up.

    The response head is sent with the first write, by `flush`, or by ``async with``. Until then an
    exception in the handler is an ordinary HTTP error response; after that it ends the stream as
    incomplete, which makes an EventSource resume.

    After the stream has ended, all that would send raises `StreamClosedError`, while `close`, `finish` and
    `abort` do nothing. Not for use from other threads than the event loop's.
    """

    __slots__ = (
        "__weakref__", "_connect", "_gathered", "_gathered_size", "_opened_at", "_scheduled", "_transport",
        "_unpaced", "description", "ended_by", "last_event_id", "observer", "on_end", "request",
    )  # fmt: skip

    def __init__(
        self,
        connect: Callable[[bytes], tuple[IOStream, bool]],
        *,
        settings: Settings,
        last_event_id: str | None = None,
        description: str = "",
        observer: Observer | None = None,
    ) -> None:
        """Make a stream that is not yet started.

        :arg connect: writes the response head, and the first bytes of the body that it is given (there may
            be none), and returns the detached IOStream, and whether the body is chunked. Called until it
            succeeds.
        """
        super().__init__(settings)
        self._connect: Callable[[bytes], tuple[IOStream, bool]] | None = connect
        self._transport: Transport | None = None
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self._scheduled = False
        self._unpaced = 0
        self._opened_at = 0.0
        #: The id that the client resumes from (str), or None if it starts afresh.
        self.last_event_id = last_event_id
        #: The `.HTTPServerRequest`, if the stream comes from `upgrade`; a handler has its own.
        self.request: HTTPServerRequest | None = None
        #: What the stream is called in log lines.
        self.description = description
        #: Who is told when it begins and ends.
        self.observer = guarded(observer)
        #: Called with the stream, once, when it is all over. Belongs to whoever made the stream.
        self.on_end: Callable[[Stream], object] | None = None
        #: The task that ended it `within` it, while ``on_end`` is called; None if it was anything else.
        self.ended_by: asyncio.Task[object] | None = None

    def comment(self, text: str = "") -> Awaitable[None]:
        """Write a comment, which clients skip.

        :raises InvalidEventError: if it holds CR, LF or NUL.
        """
        comment = encode_comment(text)
        self._gather(comment, self.start())
        return self._pace(self._flush())

    def flush(self) -> Awaitable[None]:
        """Send what has been written, now, and the response head before it if that has not been done."""
        return self._pace(self._flush())

    # The end

    def close(self, event: str | None = None, data: str = "") -> Awaitable[None]:
        """End the stream as complete; an EventSource will reconnect, with the last id it has seen.

        :arg str event: the type of a farewell event, sent before the end; None sends none.
        :arg str data: the farewell event's text.

        Returns an awaitable that is done when all is on its way. Does nothing if the stream has ended.
        """
        farewell = None if event is None else Event(data, event)
        return self._close(farewell, Reason.CLOSED)

    def finish(self, event: str = "finish", data: str = "") -> Awaitable[None]:
        """End the stream for good: the client is told not to come back.

        A last event is sent whose id says so. An EventSource reconnects once, sends that id, and is answered
        204 by any `SSEHandler`, which ends it (WHATWG HTML, section 9.2.3); nothing is remembered for it.

        :arg str event: the last event's type.
        :arg str data: the last event's text.
        """
        return self._close(Event(data, event, self._last_id + FINAL), Reason.FINISHED)

    def abort(self, reason: Reason = Reason.FAILED) -> None:
        """End the stream as incomplete, at once; what the client has not taken is lost.

        A client resumes after the last event it has seen.
        """
        if not self.ended:
            transport = self.start()
            self._note_who()
            self._end_of_turn()
            transport.abort(reason)

    def expire(self, reason: Reason = Reason.EXPIRED, retry: float | None = None) -> Awaitable[None]:
        """End the stream as complete, for a reason that is not the application's.

        :arg float retry: when the client should come back, in seconds.
        """
        if retry is not None and not self.closed:
            # On a line of its own it takes effect at once, and is no event. A blank line would make it one to
            # some readers.
            self._gathered.append(b"retry: %d\n" % milliseconds(retry))
        return self._close(None, reason)

    def revoke(self) -> None:
        """End the stream so that nothing more of it is sent, not even what waits for a slow client."""
        if self.ended or not self.started:
            return
        self._gathered = []
        self._gathered_size = 0
        if self.pending:
            self.abort(Reason.REVOKED)
        else:
            self.expire(Reason.REVOKED)

    def dismiss(self) -> None:
        """End a stream that has not started, and now never will: the request is answered by other means.

        For whoever made the stream. What would send raises `StreamClosedError` from here on.
        """
        assert self._transport is None
        self._connect = None
        self.on_end = None
        self._gathered = []
        self._gathered_size = 0

    @property
    def settings(self) -> Settings:
        """The settings that apply to it."""
        return self._settings

    @property
    def started(self) -> bool:
        """Whether the response head has been sent."""
        return self._transport is not None

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._connect is None if self._transport is None else self._transport.closed

    @property
    def ended(self) -> bool:
        """Whether it is all over: nothing is on its way any more, and the connection is gone."""
        return self._connect is None if self._transport is None else self._transport.ended

    @property
    def reason(self) -> Reason | None:
        """Why the stream ended; None while it is open, or if it never started."""
        return None if self._transport is None else self._transport.reason

    @property
    def pending(self) -> int:
        """How many bytes wait for the client to take them."""
        return self._gathered_size + (0 if self._transport is None else self._transport.pending)

    async def __aenter__(self) -> Self:
        """Send the response head."""
        self.flush()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the stream: as complete, or after an exception (but Tornado's Finish) as incomplete."""
        if exc_type is None or issubclass(exc_type, Finish):
            self.close()
        elif not self.closed:
            self.abort()

    # How it is done

    def _send(self, frame: bytes, *, flush: bool) -> Awaitable[None]:
        transport = self._transport
        if transport is None and flush:
            transport = self.start()
        self._gather(frame, transport)
        if not flush or transport is None:
            return READY
        # A quarter of what may wait, so that with what a writer leaves behind there is room for half.
        if self._gathered_size >= _FULL or self._gathered_size * 4 >= self._settings.max_buffer:
            return self._pace(self._flush())
        if not self._scheduled:
            self._scheduled = True
            transport.call_soon(self._end_of_turn)
        return self._pace(transport.drained() if transport.pending else READY)

    def _pace(self, waiting: Awaitable[None]) -> Awaitable[None]:
        if waiting is READY:
            self._unpaced += 1
            if self._unpaced < _CALLS_PER_TURN:
                return READY
            waiting = TURN
        self._unpaced = 0
        return waiting

    def _gather(self, frame: bytes, transport: Transport | None) -> None:
        size = len(frame)
        pending = self._gathered_size
        if transport is not None:
            if transport.closed:
                raise StreamClosedError(transport.reason or Reason.CLOSED)
            pending += transport.pending
        elif self._connect is None:
            raise StreamClosedError("never started")
        if pending + size > self._settings.max_buffer:
            if self._gathered and transport is not None:
                # What has been gathered may not have to wait at all.
                self._flush()
                self._gather(frame, transport)
                return
            raise BufferFullError(size, pending, self._settings.max_buffer)
        self._gathered.append(frame)
        self._gathered_size += size

    def _flush(self) -> Awaitable[None]:
        transport = self.start()
        gathered = self._gathered
        if gathered:
            self._gathered = []
            self._gathered_size = 0
            transport.send(b"".join(gathered) if len(gathered) > 1 else gathered[0])
        elif transport.closed:
            raise StreamClosedError(transport.reason or Reason.CLOSED)
        return transport.drained()

    def _end_of_turn(self) -> None:
        self._scheduled = False
        try:
            if self._gathered:
                self._flush()
        except StreamClosedError:
            pass  # the transport tells of the end by itself

    def begin(self, first: bytes) -> Transport:
        """Send some first bytes, with the response head if that has not been done, and return the connection.

        For whoever sends on it directly, whole events at a time, as a broker does.

        :raises StreamClosedError: if the stream has ended.
        """
        if self._transport is None and not self._gathered:
            transport = self.start(first)  # in one send, which is felt when thousands come at once
            if transport.closed:
                raise StreamClosedError(transport.reason or Reason.CLOSED)
        else:
            self._flush()
            transport = self.start()
            if first:
                transport.send(first)
        return transport

    def start(self, first: bytes = b"") -> Transport:
        """Send the response head, if that has not been done, and return the connection.

        :arg bytes first: what is sent with the head, whole events.

        :raises StreamClosedError: if the stream never started and won't.
        """
        transport = self._transport
        if transport is None:
            if self._connect is None:
                raise StreamClosedError("never started")
            iostream, chunked = self._connect(first)
            try:
                transport = Transport(
                    iostream,
                    chunked=chunked,
                    settings=self._settings,
                    begun=len(chunk(first) if first and chunked else first),
                    on_end=self._ended,
                    on_expiry=None if self._settings.max_age is None else self.expire,
                )
            except BaseException:
                iostream.close()
                raise
            self._transport = transport
            self._connect = None
            self._opened_at = time.monotonic()
            _log.info("%s: stream opened", self.description)
            self.observer.on_open(self.description)
        return transport

    def _close(self, last: Event | None, reason: Reason) -> Awaitable[None]:
        if self.closed:
            return READY
        transport = self.start()
        self._note_who()
        if last is not None:
            # The last word needs no room: it is one, and without it a finish() would not be one.
            self._gathered.append(encode_event(last))
        self._end_of_turn()
        return transport.close(reason)

    def _note_who(self) -> None:
        if within.get() is self:
            self.ended_by = asyncio.current_task()

    def _ended(self) -> None:
        transport = self._transport
        assert transport is not None
        seconds = time.monotonic() - self._opened_at
        ended = (self.description, str(transport.reason), seconds, self.events, transport.bytes_sent)
        _log.info("%s: stream %s after %.1f s, %d events, %d bytes", *ended)
        self.observer.on_close(*ended)
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end(self)
        self.ended_by = None
