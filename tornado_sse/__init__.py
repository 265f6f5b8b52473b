"""Server-Sent Events for Tornado.

The package, in reading order. Each module imports only from those above it:

===============  =========================================================================
`.errors`        what is raised, all under `SSEError`
`.event`         `Event`: one event, valid from the moment it is built
`.encoder`       `encode_event`, `encode_comment`: to bytes
`.parser`        `EventParser`: from bytes
`.serializers`   payloads to text and back: json, text, binary, msgpack, and yours
`.settings`      `Settings`: what can be set, and to what
`.ticker`        one timer for all streams of an event loop
`.flow`          what a write returns when nobody has to wait
`.reason`        `Reason`: why a stream ended
`.outbox`        the bytes that wait for a slow reader
`.transport`     one connection: framing, sending, keeping it alive, its end
`.negotiation`   what a request asks for, and the head of the answer
`.capacity`      how many streams there may be
`.fields`        a write call's arguments, as the fields of an event
`.writer`        the write calls
`.stream`        `Stream`: what a handler owns
`.handler`       `SSEHandler`: where to begin
`.upgrader`      `upgrade`: a stream on a connection of one's own
`.testing`       for the tests of those who use or extend this package
===============  =========================================================================

The modules as far as `.serializers` know no sockets and no event loop.
"""

from tornado_sse.encoder import encode_comment, encode_event
from tornado_sse.errors import (
    BufferFullError,
    DecodeError,
    EncodeError,
    EventTooLargeError,
    InvalidEventError,
    SerializerError,
    SerializerNotFoundError,
    SerializerPluginError,
    SettingError,
    SSEError,
    StreamClosedError,
    UpgradeError,
)
from tornado_sse.event import Event
from tornado_sse.handler import SSEHandler
from tornado_sse.parser import EventParser
from tornado_sse.reason import Reason
from tornado_sse.serializers import (
    Serializer,
    decode,
    encode,
    get_serializer,
    list_serializers,
    register,
)
from tornado_sse.settings import Settings
from tornado_sse.stream import Stream
from tornado_sse.upgrader import upgrade

__version__ = "0.1.0"

__all__ = [
    "BufferFullError",
    "DecodeError",
    "EncodeError",
    "Event",
    "EventParser",
    "EventTooLargeError",
    "InvalidEventError",
    "Reason",
    "SSEError",
    "SSEHandler",
    "Serializer",
    "SerializerError",
    "SerializerNotFoundError",
    "SerializerPluginError",
    "SettingError",
    "Settings",
    "Stream",
    "StreamClosedError",
    "UpgradeError",
    "__version__",
    "decode",
    "encode",
    "encode_comment",
    "encode_event",
    "get_serializer",
    "list_serializers",
    "register",
    "upgrade",
]
