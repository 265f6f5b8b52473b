"""Everything this package raises, under one root.

::

    SSEError
    ├── InvalidEventError      (ValueError)       a field that must not reach the wire
    ├── EventTooLargeError     (ValueError)       a peer's event is larger than the parser's limit
    ├── SerializerError
    │   ├── SerializerNotFoundError (LookupError) no serializer has that name
    │   ├── SerializerPluginError                 a plugin does not load, or clashes
    │   ├── EncodeError        (ValueError)       a payload the serializer can't write
    │   └── DecodeError        (ValueError)       data the serializer can't read
    ├── SettingError           (ValueError)       an sse_ setting makes no sense
    ├── UpgradeError                              a connection that can't become an event stream
    ├── BufferFullError                           the reader is too slow for what is written
    ├── StreamClosedError      (ConnectionError)  the stream has ended
    ├── InvalidChannelError    (ValueError)       a channel's name that can't be one
    ├── SubscribeError         (ValueError)       a subscription that makes no sense
    ├── EventSourceError
    │   ├── ConnectionFailedError (ConnectionError) no connection to a server, or one that broke off
    │   ├── ResponseError                         a server's answer that is no event stream
    │   └── RedirectError                         a redirect that is not followed
    └── BrokerError
        ├── BrokerClosedError                     the broker is closed, or takes no new subscribers
        ├── BackendError       (ConnectionError)  the log can't be reached, read or written
        ├── BackendNotFoundError (LookupError)    no backend serves that URL
        └── BackendPluginError                    a backend's plugin does not load, or clashes

An error keeps its parts as attributes and builds its sentence from them when asked, so a program
can act on ``error.field`` where a person reads the sentence.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BackendError",
    "BackendNotFoundError",
    "BackendPluginError",
    "BrokerClosedError",
    "BrokerError",
    "BufferFullError",
    "ConnectionFailedError",
    "DecodeError",
    "EncodeError",
    "EventSourceError",
    "EventTooLargeError",
    "InvalidChannelError",
    "InvalidEventError",
    "RedirectError",
    "ResponseError",
    "SSEError",
    "SerializerError",
    "SerializerNotFoundError",
    "SerializerPluginError",
    "SettingError",
    "StreamClosedError",
    "SubscribeError",
    "UpgradeError",
]


class SSEError(Exception):
    """The root of all errors of this package."""


class InvalidEventError(SSEError, ValueError):
    """A field of an event, or a comment, that can't be put on the wire as it is.

    Nothing is repaired silently: an id with its newline taken out is a different id, and would break
    the client's resume.
    """

    def __init__(self, field: str, value: object, reason: str) -> None:
        super().__init__(field, value, reason)
        self.field = field
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > 80:
            shown = f"{shown[:77]}..."
        return f"{self.field} {self.reason}: {shown}"


class EventTooLargeError(SSEError, ValueError):
    """A peer sent a line or an event of more bytes than the parser was told to hold."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"an event exceeds the limit of {self.limit:,} bytes; max_event_size allows larger ones"


class SerializerError(SSEError):
    """The root of what can go wrong with serializers."""


class SerializerNotFoundError(SerializerError, LookupError):
    """No serializer is registered or installed under the name (or, when reading, the codec) asked for."""

    def __init__(self, name: str, known: Sequence[str], *, hint: str = "") -> None:
        super().__init__(name, known)
        self.name = name
        self.known = tuple(known)
        self.hint = hint

    def __str__(self) -> str:
        known = ", ".join(self.known)
        return f"no serializer is called {self.name!r}; there are {known}{self.hint and f'. {self.hint}'}"


class SerializerPluginError(SerializerError):
    """A serializer plugin does not load, is not a serializer, or clashes with another.

    ``plugin`` names the culprit as ``distribution[entry point]``; the plugin's own exception, if there
    was one, is ``__cause__``.
    """

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(plugin, reason)
        self.plugin = plugin
        self.reason = reason

    def __str__(self) -> str:
        return f"serializer plugin {self.plugin}: {self.reason}"


class EncodeError(SerializerError, ValueError):
    """A payload that its serializer can't write. Nothing of it has reached the wire.

    The serializer's own exception, if there was one, is ``__cause__``.
    """

    def __init__(self, serializer: str, reason: str) -> None:
        super().__init__(serializer, reason)
        self.serializer = serializer
        self.reason = reason

    def __str__(self) -> str:
        return f"the {self.serializer} serializer can't write this payload: {self.reason}"


class DecodeError(SerializerError, ValueError):
    """Data that its serializer can't read: damaged, hostile, or not written by it."""

    def __init__(self, serializer: str, reason: str) -> None:
        super().__init__(serializer, reason)
        self.serializer = serializer
        self.reason = reason

    def __str__(self) -> str:
        return f"the {self.serializer} serializer can't read this data: {self.reason}"


class SettingError(SSEError, ValueError):
    """A setting that makes no sense, or that does not exist."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name} {self.reason}"


class UpgradeError(SSEError):
    """A connection, or the request on it, that can't become an event stream."""


class BufferFullError(SSEError):
    """The reader is slower than the writer, and the stream's buffer is full.

    Nothing of the refused event has been written, and the stream is still open.
    """

    def __init__(self, size: int, pending: int, limit: int) -> None:
        super().__init__(size, pending, limit)
        self.size = size
        self.pending = pending
        self.limit = limit

    def __str__(self) -> str:
        if self.size > self.limit:
            return f"an event of {self.size:,} bytes is larger than sse_max_buffer ({self.limit:,} bytes)"
        return (
            f"{self.pending:,} bytes are waiting for a slow reader, and {self.size:,} more would exceed "
            f"sse_max_buffer ({self.limit:,} bytes); await each write() to go at the reader's pace"
        )


class StreamClosedError(SSEError, ConnectionError):
    """The stream has ended: ``reason`` says how, in the words of `tornado_sse.Reason`."""

    def __init__(self, reason: str = "closed") -> None:
        super().__init__(reason)
        self.reason = str(reason)

    def __str__(self) -> str:
        return f"the stream has ended ({self.reason})"


class InvalidChannelError(SSEError, ValueError):
    """A name that no channel can have. A request that asks for such a channel is answered 400."""

    def __init__(self, name: object) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        shown = repr(self.name)
        if len(shown) > 80:
            shown = f"{shown[:77]}..."
        return (
            "a channel's name has 1 to 200 characters: letters and digits of ASCII and . _ - : @ ~ + = , "
            f"and begins with a letter or digit; {shown} does not"
        )


class SubscribeError(SSEError, ValueError):
    """A subscription that makes no sense: no channel, a second one on a stream, an unknown ``start``."""


class EventSourceError(SSEError):
    """The root of what interrupts an `EventSource`, or ends it for good.

    ``url`` is what was asked for, without user and password. Sentences leave its query out, since tokens
    travel there.
    """

    def __init__(self, url: str, *parts: object) -> None:
        super().__init__(url, *parts)
        self.url = url

    @property
    def _shown(self) -> str:
        return self.url.partition("?")[0]


class ConnectionFailedError(EventSourceError, ConnectionError):
    """There was no connection, or it broke off, or it is over. An `EventSource` tries again.

    What was raised by the system, if anything, is ``__cause__``. ``complete`` tells that nothing was wrong:
    the server has ended its response, as all do sooner or later.
    """

    def __init__(self, url: str, reason: str, complete: bool = False) -> None:
        super().__init__(url, reason, complete)
        self.reason = reason
        self.complete = complete

    def __str__(self) -> str:
        return f"{self._shown}: {self.reason}"


class ResponseError(EventSourceError):
    """A server's answer is no event stream; asking again would not make it one (HTML, section 9.2.3).

    ``status`` (int), ``content_type`` (str, or None), ``reason`` (half a sentence) and ``body`` (the first
    bytes, as str) say what came instead.
    """

    def __init__(self, url: str, status: int, content_type: str | None, reason: str, body: str = "") -> None:
        super().__init__(url, status, content_type, reason, body)
        self.status = status
        self.content_type = content_type
        self.reason = reason
        self.body = body

    def __str__(self) -> str:
        return f"{self._shown} {self.reason}"


class RedirectError(EventSourceError):
    """A server sent us elsewhere, and we did not go. ``target`` is where, as the server put it."""

    def __init__(self, url: str, target: str, reason: str) -> None:
        super().__init__(url, target, reason)
        self.target = target
        self.reason = reason

    def __str__(self) -> str:
        return f"{self._shown} redirects to {self.target.partition('?')[0][:200]!r}: {self.reason}"


class BrokerError(SSEError):
    """The root of what can go wrong between a broker and its log."""


class BrokerClosedError(BrokerError):
    """The broker has been closed, or drains and takes no new subscribers."""


class BackendError(BrokerError, ConnectionError):
    """The log can't be reached, read or written.

    Of a ``publish()``: the event is not known to be in the log. The backend's own exception, if there was
    one, is ``__cause__``.
    """

    def __init__(self, backend: str, reason: str) -> None:
        super().__init__(backend, reason)
        self.backend = backend
        self.reason = reason

    def __str__(self) -> str:
        return f"the {self.backend} log failed: {self.reason}"


class BackendNotFoundError(BrokerError, LookupError):
    """No backend serves a URL of that kind."""

    def __init__(self, url: str, known: Sequence[str]) -> None:
        super().__init__(url, known)
        self.url = url
        self.known = tuple(known)

    def __str__(self) -> str:
        return f"no backend serves {self.url!r}; there are {', '.join(self.known)}"


class BackendPluginError(BrokerError):
    """A backend's plugin does not load, makes no backend, or clashes with another.

    ``plugin`` names the culprit as ``distribution[entry point]``; the plugin's own exception, if there
    was one, is ``__cause__``.
    """

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(plugin, reason)
        self.plugin = plugin
        self.reason = reason

    def __str__(self) -> str:
        return f"backend plugin {self.plugin}: {self.reason}"
