"""What a handler owns: a stream of events to one client."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Final, Self

from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream

from tornado_sse.encoder import encode_comment, encode_event
from tornado_sse.errors import BufferFullError, EncodeError, InvalidEventError, StreamClosedError
from tornado_sse.event import Event
from tornado_sse.negotiation import FINAL, is_final
from tornado_sse.serializers import encode, get_serializer
from tornado_sse.settings import Settings
from tornado_sse.transport import READY, Reason, Transport

__all__ = ["Stream"]

_log = logging.getLogger("tornado_sse")

# A writer that is never made to wait never lets the event loop go. Every so many events it gives the
# others a turn; the turn costs a hundred times less than the events.
_EVENTS_PER_TURN: Final = 64


class _Turn:
    """An awaitable that lets the event loop run once, as ``asyncio.sleep(0)`` does."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


_TURN: Final = _Turn()


class Stream:
    """A stream of events to one client. `SSEHandler` and `upgrade` make them; applications write to them.

    A write happens during the call, in the order of the calls; no write is ever split or mixed with another.
    What a write returns is for flow control: awaiting it waits while the client is slower than the writer.
    It may be left alone, and then ``sse_max_buffer`` limits what piles up.

    The response head is sent with the first write, by `flush`, or by ``async with``. Until then an
    exception in the handler is an ordinary HTTP error response; after that it ends the stream as
    incomplete, which makes an EventSource resume.

    After the stream has ended, all that would send raises `StreamClosedError`, while `close`, `finish` and
    `abort` do nothing. Not for use from other threads than the event loop's.
    """

    __slots__ = (
        "__weakref__", "_connect", "_gathered", "_gathered_size", "_last_id", "_opened_at",
        "_preset", "_retry", "_settings", "_transport", "description", "events", "last_event_id", "on_end",
        "request",
    )  # fmt: skip

    def __init__(
        self,
        connect: Callable[[], tuple[IOStream, bool]],
        *,
        settings: Settings,
        last_event_id: str | None = None,
        description: str = "",
    ) -> None:
        """Make a stream that is not yet started.

        :arg connect: writes the response head and returns the detached IOStream, and whether the body is
            to be chunked. Called once.
        """
        self._connect: Callable[[], tuple[IOStream, bool]] | None = connect
        self._settings = settings
        self._transport: Transport | None = None
        self._gathered: list[bytes] | None = None
        self._gathered_size = 0
        # What set_id(), set_event() and set_retry() have set. Each write takes it away before it does
        # anything else, so that what fails leaves nothing behind for the event after it.
        self._preset: dict[str, Any] | None = None
        self._retry = None if settings.retry is None else _milliseconds(settings.retry)
        self._last_id = ""
        self._opened_at = 0.0
        #: The id that the client resumes from (str), or None if it starts afresh.
        self.last_event_id = last_event_id
        #: The `.HTTPServerRequest`, if the stream comes from `upgrade`; a handler has its own.
        self.request: HTTPServerRequest | None = None
        #: What the stream is called in log lines.
        self.description = description
        #: How many events have been written.
        self.events = 0
        #: Called once, when it is all over. Belongs to whoever made the stream.
        self.on_end: Callable[[], object] | None = None

    # Events

    def write(
        self,
        payload: object,
        *,
        event: str | None = None,
        id: str | int | None = None,
        retry: float | None = None,
        serializer: str | None = None,
        flush: bool = True,
    ) -> Awaitable[None]:
        """Write an event.

        :arg payload: anything the serializer can write.
        :arg str event: the event's type; None for the default, ``"message"``.
        :arg id: what the client sends back as ``Last-Event-ID`` if it has to resume after this event.
        :arg float retry: how long the client should wait before it reconnects, in seconds.
        :arg str serializer: the name of the serializer; None for the handler's ``sse_serializer``.
        :arg bool flush: False keeps the event back until the next write that flushes, or `flush`, so that
            several leave in one piece.

        Returns an awaitable for flow control.

        :raises EncodeError: if the serializer can't write the payload.
        :raises SerializerNotFoundError: if there is no such serializer.
        :raises InvalidEventError: if ``event``, ``id`` or ``retry`` can't be put on the wire.
        :raises BufferFullError: if the client is too slow and the stream may hold no more.
        :raises StreamClosedError: if the stream has ended.

        Whatever is raised, nothing of the event has been written.
        """
        preset, self._preset = self._preset, None
        chosen = get_serializer(serializer or self._settings.serializer)
        return self._emit(preset, encode(chosen, payload), chosen.codec, event, id, retry, flush)

    def write_json(self, value: object) -> Awaitable[None]:
        """Write a value as JSON; see `write`."""
        return self.write(value, serializer="json")

    def write_text(self, text: object) -> Awaitable[None]:
        """Write text as it is, newlines included, or anything's ``str()``; see `write`."""
        return self.write(text, serializer="text")

    def write_binary(self, data: object) -> Awaitable[None]:
        """Write bytes, or an object that has ``__bytes__``, as base64; see `write`."""
        return self.write(data, serializer="binary")

    def write_bytes(self, data: bytes) -> Awaitable[None]:
        """Write bytes that are already UTF-8 text, as they are.

        :raises EncodeError: if they are not UTF-8; `write_binary` takes any bytes.
        """
        preset, self._preset = self._preset, None
        return self._emit(preset, _text_of(data))

    def write_int(self, value: int) -> Awaitable[None]:
        """Write an integer in decimal.

        :raises EncodeError: if it is no int.
        """
        preset, self._preset = self._preset, None
        if not isinstance(value, int) or isinstance(value, bool):
            raise EncodeError("int", f"{value!r} is no int")
        return self._emit(preset, str(value))

    def write_float(self, value: float, decimals: int | None = None) -> Awaitable[None]:
        """Write a number in the shortest form that reads back as the same, or with so many decimals.

        :raises EncodeError: if it is no number, or not a finite one.
        """
        preset, self._preset = self._preset, None
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise EncodeError("float", f"{value!r} is no finite number")
        return self._emit(preset, repr(float(value)) if decimals is None else f"{value:.{decimals}f}")

    def write_event(self, id: str | int | None, event: str | None, data: str | bytes) -> Awaitable[None]:
        """Write an event of an id, a type and text (str, or bytes that are UTF-8), without a serializer.

        None, or an empty type, leaves the field out.
        """
        preset, self._preset = self._preset, None
        text = data if isinstance(data, str) else _text_of(data)
        return self._emit(preset, text, None, event or None, id)

    def set_id(self, id: str | int) -> None:
        """Set the id of the next event. If that event fails, the id is dropped with it."""
        self._preset = {**(self._preset or {}), "id": id}

    def set_event(self, event: str) -> None:
        """Set the type of the next event. If that event fails, the type is dropped with it."""
        self._preset = {**(self._preset or {}), "event": event}

    def set_retry(self, retry: float) -> None:
        """Set the reconnection time, in seconds, that goes with the next event."""
        self._preset = {**(self._preset or {}), "retry": retry}

    def comment(self, text: str = "") -> Awaitable[None]:
        """Write a comment, which clients skip.

        :raises InvalidEventError: if it holds CR, LF or NUL.
        """
        return self._send(encode_comment(text))

    def flush(self) -> Awaitable[None]:
        """Send the response head, if that has not been done, and what ``flush=False`` has kept back."""
        return self._send(b"")

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
        """End the stream as incomplete, at once. A client resumes after the last event it has seen."""
        if not self.ended:
            self._start().abort(reason)

    @property
    def started(self) -> bool:
        """Whether the response head has been sent."""
        return self._transport is not None

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._transport is not None and self._transport.closed

    @property
    def ended(self) -> bool:
        """Whether it is all over: nothing is on its way any more, and the connection is gone."""
        return self._transport is not None and self._transport.ended

    @property
    def ended_by(self) -> asyncio.Task[Any] | None:
        """The task that ended the stream, for as long as ``on_end`` runs; None if it was no task."""
        return None if self._transport is None else self._transport.ended_by

    @property
    def reason(self) -> Reason | None:
        """Why the stream ended; None while it is open."""
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
        """End the stream: as complete, or after an exception as incomplete."""
        if exc_type is None:
            self.close()
        elif not self.closed:
            self.abort()

    # How it is done

    def _emit(
        self,
        preset: dict[str, Any] | None,
        data: str,
        codec: str | None = None,
        event: str | None = None,
        id: str | int | None = None,
        retry: float | None = None,
        flush: bool = True,
    ) -> Awaitable[None]:
        if preset is not None:
            event = preset.get("event") if event is None else event
            id = preset.get("id") if id is None else id
            retry = preset.get("retry") if retry is None else retry
        if id is not None and not isinstance(id, str):
            id = _id_of(id)
        if id is not None and is_final(id):
            raise InvalidEventError("id", id, f"must not end with {FINAL!r}, which finish() uses")
        milliseconds = self._retry if retry is None else _milliseconds(retry)
        frame = encode_event(Event(data, event, id, milliseconds, codec))
        if flush and self._gathered is None:
            transport = self._transport or self._start()
            transport.send(frame)
            waiting = transport.drained()
        else:
            self._gather(frame)
            waiting = self.flush() if flush else READY
        self._retry = None
        if id is not None:
            self._last_id = id
        self.events += 1
        return _TURN if waiting is READY and not self.events % _EVENTS_PER_TURN else waiting

    def _gather(self, frame: bytes) -> None:
        if self.closed:
            raise StreamClosedError(self.reason or Reason.CLOSED)
        limit = self._settings.max_buffer
        if self.pending + len(frame) > limit:
            raise BufferFullError(len(frame), self.pending, limit)
        if self._gathered is None:
            self._gathered = []
        self._gathered.append(frame)
        self._gathered_size += len(frame)

    def _send(self, data: bytes) -> Awaitable[None]:
        transport = self._start()
        if self._gathered is not None:
            data = b"".join((*self._gathered, data))
        if data:
            transport.send(data)
            self._gathered = None
            self._gathered_size = 0
        elif transport.closed:
            raise StreamClosedError(transport.reason or Reason.CLOSED)
        return transport.drained()

    def _start(self) -> Transport:
        transport = self._transport
        if transport is None:
            connect = self._connect
            assert connect is not None
            iostream, chunked = connect()
            self._connect = None
            self._opened_at = time.monotonic()
            _log.info("%s: stream opened", self.description)
            transport = self._transport = Transport(
                iostream, chunked=chunked, settings=self._settings, on_end=self._ended
            )
        return transport

    def _close(self, last: Event | None, reason: Reason) -> Awaitable[None]:
        if self.closed:
            return READY
        transport = self._start()
        try:
            self._send(b"" if last is None else encode_event(last))
        except (BufferFullError, StreamClosedError):
            # There is no room for a farewell, or nobody to hear it. The end itself needs no room.
            pass
        return transport.close(reason)

    def _ended(self) -> None:
        transport = self._transport
        assert transport is not None
        _log.info(
            "%s: stream %s after %.1f s, %d events, %d bytes",
            self.description,
            transport.reason,
            time.monotonic() - self._opened_at,
            self.events,
            transport.bytes_sent,
        )
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()


def _text_of(data: bytes) -> str:
    try:
        return str(data, "utf-8")
    except (TypeError, UnicodeDecodeError) as error:
        raise EncodeError(
            "bytes", f"{error}; write_binary() takes any bytes, write_text() takes str"
        ) from error


def _id_of(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InvalidEventError("id", value, "must be str or int")


def _milliseconds(seconds: float) -> int:
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or not math.isfinite(seconds) or seconds < 0:
        raise InvalidEventError("retry", seconds, "must be a number of seconds, zero or more")
    return round(seconds * 1000)
