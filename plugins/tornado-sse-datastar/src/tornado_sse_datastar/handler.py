"""Sending Datastar's events: by a handler, on any stream, to a channel."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from tornado_sse import Broker, Event, InvalidEventError, SSEHandler, Stream
from tornado_sse_datastar.signals import read_signals

__all__ = ["DatastarHandler", "publish", "write"]


class DatastarHandler(SSEHandler):
    """A handler for Datastar's ``@get()`` and ``@post()``::

        class Search(DatastarHandler):
            async def open(self):
                found = find(self.signals.get("query", ""))
                async with self.stream:
                    await self.send(patch_elements(self.render_string("found.html", found=found)))
                    await self.send(patch_signals({"count": len(found)}))

    A stream that ends is the end of the request for the page. One that follows channels is for
    ``@get(url, {retry: 'always'})``: only so does the page come back after an orderly end.
    """

    sse_methods = ("GET", "POST")

    _signals: dict[str, Any] | None = None

    @property
    def signals(self) -> dict[str, Any]:
        """The page's signals, as they were when it sent the request.

        :raises HTTPError: 400, if they can't be read.
        """
        if self._signals is None:
            self._signals = read_signals(self.request)
        return self._signals

    def send(
        self, event: Event, *, id: str | int | None = None, retry: float | None = None, flush: bool = True
    ) -> Awaitable[None]:
        """Send an event to the page; see `write`."""
        return write(self.stream, event, id=id, retry=retry, flush=flush)


def write(
    stream: Stream,
    event: Event,
    *,
    id: str | int | None = None,
    retry: float | None = None,
    flush: bool = True,
) -> Awaitable[None]:
    """Write an event to a stream; the rest is as in `tornado_sse.Stream.write`.

    :raises InvalidEventError: if the event has an id or a codec of its own.
    """
    _check(event)
    return stream.write(event.data, event=event.type, id=id, retry=retry, serializer="text", flush=flush)


def publish(
    broker: Broker, channel: str, event: Event, *, key: str | None = None, message_id: str | None = None
) -> Awaitable[str]:
    """Publish an event to a channel; the rest is as in `tornado_sse.Broker.publish`.

    :arg str key: fits an event that says all about an element: pages that come late, or have fallen behind,
        get the last one of each key. What appends has none.

    :raises InvalidEventError: if the event has an id or a codec of its own.
    """
    _check(event)
    return broker.publish(
        channel, event.data, event=event.type, key=key, serializer="text", message_id=message_id
    )


def _check(event: Event) -> None:
    for field in ("id", "retry", "codec"):
        value = getattr(event, field)
        if value is not None:
            raise InvalidEventError(field, value, "is for the call to say, not for the event")
