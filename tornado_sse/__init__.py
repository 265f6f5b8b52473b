"""Server-Sent Events for Tornado.

The package, in reading order. Each module imports only from those above it:

===============  =========================================================================
`.errors`        what is raised, all under `SSEError`
`.event`         `Event`: one event, valid from the moment it is built
`.encoder`       `encode_event`, `encode_comment`: to bytes
`.parser`        `EventParser`: from bytes
`.record`        an event in a log, and its id
`.log`           `ChannelLog`: a channel's events in memory; `Retention`: how many of them
`.plugins`       what installed distributions offer
`.serializers`   payloads to text and back: json, text, binary, msgpack, and yours
`.backends`      where the log lives: memory, SQLite, Redis, NATS; the contract
`.settings`      `Settings`: what can be set, and to what
`.ticker`        one timer for all streams of an event loop
`.watch`         one poller for all idle connections of an event loop
`.flow`          what a write returns when nobody has to wait
`.reason`        `Reason`: why a stream ended
`.follower`      who shares a connection with its transport
`.outbox`        the bytes that wait for a slow reader
`.line`          the connection itself: a bare socket, or an IOStream
`.transport`     one response: framing, sending, keeping it alive, its end
`.negotiation`   what a request asks for, and the head of the answer
`.fields`        a write call's arguments, as the fields of an event
`.writer`        the write calls
`.observer`      `Observer`: calls at what happens
`.stream`        `Stream`: what a handler owns
`.capacity`      the open streams, and how many there may be
`.draining`      ending many streams
`.rights`        whether a stream may go on
`.piece`         the bytes of several events, as one send
`.group`         subscribers that get the same bytes: the loop that sends them
`.channel`       a channel that is followed
`.fanout`        from the log to the subscribers: one turn, one send to each
`.gap`           the event that tells of lost events
`.subscriber`    a cursor into the log, and the stream that is brought to its end
`.beginning`     where a subscriber begins
`.publishing`    what is published, and what publishing returns
`.broker`        `Broker`: publish once
`.following`     a handler that follows channels: ``subscribe``, ``authorize``, ``snapshot``
`.handler`       `SSEHandler`: where to begin
`.upgrader`      `upgrade`: a stream on a connection of one's own
`.shutdown`      stopping a server: `serve_until_stopped`
`.metrics`       what happens, for Prometheus
`.received`      an event that has arrived, and what was written
`.request`       what a client asks for, and where a redirect takes it
`.inflating`     compressed bytes to plain ones, by pieces
`.framing`       where a response's body ends
`.exchange`      one request and its answer
`.asking`        asking again and again, wherever redirects lead
`.backoff`       how long to wait before a server is asked again
`.ending`        `Ending`: why a client's stream ended
`.client`        `EventSource`: the events of a server
`.browser`       the browser module, served
`.probe`         a linter for servers of event streams
`.server`        a server to run: channels over HTTP
`.cli`           the command line: ``tornado-sse serve``, ``publish``, ``tail``, ``probe`` …
`.__main__`      the same as ``python -m tornado_sse``
`.testing`       for the tests of those who use or extend this package
===============  =========================================================================

The modules as far as `.serializers` know no sockets and no event loop.
"""

from tornado_sse.broker import Broker
from tornado_sse.client import EventSource
from tornado_sse.encoder import encode_comment, encode_event
from tornado_sse.ending import Ending
from tornado_sse.errors import (
    BackendError,
    BackendNotFoundError,
    BackendPluginError,
    BrokerClosedError,
    BrokerError,
    BufferFullError,
    ConnectionFailedError,
    DecodeError,
    EncodeError,
    EventSourceError,
    EventTooLargeError,
    InvalidChannelError,
    InvalidEventError,
    RedirectError,
    ResponseError,
    SerializerError,
    SerializerNotFoundError,
    SerializerPluginError,
    SettingError,
    SSEError,
    StreamClosedError,
    SubscribeError,
    UpgradeError,
)
from tornado_sse.event import Event
from tornado_sse.gap import Gap
from tornado_sse.handler import SSEHandler
from tornado_sse.log import Retention
from tornado_sse.observer import Observer
from tornado_sse.parser import EventParser
from tornado_sse.reason import Reason
from tornado_sse.received import ReceivedEvent
from tornado_sse.serializers import (
    Serializer,
    decode,
    encode,
    get_serializer,
    list_serializers,
    register,
)
from tornado_sse.settings import Settings
from tornado_sse.shutdown import drain_application, serve_until_stopped
from tornado_sse.stream import Stream
from tornado_sse.upgrader import upgrade

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BackendNotFoundError",
    "BackendPluginError",
    "Broker",
    "BrokerClosedError",
    "BrokerError",
    "BufferFullError",
    "ConnectionFailedError",
    "DecodeError",
    "EncodeError",
    "Ending",
    "Event",
    "EventParser",
    "EventSource",
    "EventSourceError",
    "EventTooLargeError",
    "Gap",
    "InvalidChannelError",
    "InvalidEventError",
    "Observer",
    "Reason",
    "ReceivedEvent",
    "RedirectError",
    "ResponseError",
    "Retention",
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
    "SubscribeError",
    "UpgradeError",
    "__version__",
    "decode",
    "drain_application",
    "encode",
    "encode_comment",
    "encode_event",
    "get_serializer",
    "list_serializers",
    "register",
    "serve_until_stopped",
    "upgrade",
]
