"""From payloads to frames: the write calls, and the fields that go with an event."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from tornado_sse.encoder import encode_event
from tornado_sse.errors import InvalidEventError
from tornado_sse.event import Event
from tornado_sse.fields import float_text, id_of, int_text, milliseconds, utf8_text
from tornado_sse.serializers import encode, get_serializer
from tornado_sse.settings import Settings

__all__ = ["Writer"]


class Writer:
    """The write calls of a stream. A subclass says in `_send` what becomes of a frame."""

    __slots__ = ("_last_id", "_preset", "_retry", "_settings", "events", "follows")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # What set_id(), set_event() and set_retry() have set. Each write takes it away before it does
        # anything else, so that what fails leaves nothing behind for the event after it.
        self._preset: dict[str, Any] | None = None
        self._retry = None if settings.retry is None else milliseconds(settings.retry)
        self._last_id = ""
        #: Whether the stream follows channels, whose events carry the ids then.
        self.follows = False
        #: How many events have been written.
        self.events = 0

    def _send(self, frame: bytes, *, flush: bool) -> Awaitable[None]:
        """Take an event's bytes, or raise without having taken any."""
        raise NotImplementedError

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
        :arg bool flush: False has the event wait for the next write without it, for `flush`, or until there
            is no more room to wait in.

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
        return self._emit(preset, utf8_text(data))

    def write_int(self, value: int) -> Awaitable[None]:
        """Write an integer in decimal.

        :raises EncodeError: if it is no int.
        """
        preset, self._preset = self._preset, None
        return self._emit(preset, int_text(value))

    def write_float(self, value: float, decimals: int | None = None) -> Awaitable[None]:
        """Write a number in the shortest form that reads back as the same, or with so many decimals.

        :raises EncodeError: if it is no number, or not a finite one.
        """
        preset, self._preset = self._preset, None
        return self._emit(preset, float_text(value, decimals))

    def write_event(self, id: str | int | None, event: str | None, data: str | bytes) -> Awaitable[None]:
        """Write an event of an id, a type and text (str, or bytes that are UTF-8), without a serializer.

        None, or an empty type, leaves the field out.
        """
        preset, self._preset = self._preset, None
        text = data if isinstance(data, str) else utf8_text(data)
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

    def take_retry(self) -> int | None:
        """Return the reconnection time that would go with the first event, in milliseconds; once."""
        retry, self._retry = self._retry, None
        return retry

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
        if id is not None:
            if self.follows:
                raise InvalidEventError(
                    "id", id, "is not for events written to a stream that follows channels; a client resumes "
                    "by the channels' ids, and this would take their place"
                )  # fmt: skip
            id = id_of(id)
        reconnect = self._retry if retry is None else milliseconds(retry)
        frame = encode_event(Event(data, event, id, reconnect, codec))
        waiting = self._send(frame, flush=flush)
        self._retry = None
        if id is not None:
            self._last_id = id
        self.events += 1
        return waiting
