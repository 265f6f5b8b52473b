"""A handler that follows channels: asking for leave, subscribing, showing the present state."""

from __future__ import annotations

from collections.abc import Awaitable
from inspect import isawaitable
from typing import Any

from tornado.web import HTTPError, RequestHandler

from tornado_sse.broker import Broker
from tornado_sse.errors import (
    BrokerError,
    InvalidChannelError,
    InvalidEventError,
    SettingError,
    StreamClosedError,
    SubscribeError,
)
from tornado_sse.event import Event
from tornado_sse.reason import Reason
from tornado_sse.rights import Rights
from tornado_sse.serializers import encode, get_serializer
from tornado_sse.settings import lookup
from tornado_sse.stream import Stream

__all__ = ["FollowingHandler"]


class FollowingHandler(RequestHandler):
    """What `SSEHandler` knows of channels."""

    #: The stream that is to follow them.
    stream: Stream

    #: Asks again whether it may, while it does.
    _rights: Rights | None = None

    async def subscribe(self, *channels: str, start: str = "new") -> None:
        """Have the stream follow channels of ``sse_broker``, each after `authorize` has allowed it.

        Call it in `open`, before the stream is used, so that a refusal is an ordinary response: 400 for a
        name that no channel can have, for no channel or too many, or a ``start`` that is none of these, 403
        if `authorize` says no, 503 if the log is out of reach or the server is about to stop. The stream
        stays open when ``open()`` returns.

        A client that comes back is sent what it has missed, once and in order; to others ``start`` applies.
        If some of it is gone, or the client's id means nothing here, it is told by one ``gap`` event for each
        channel (see `tornado_sse.gap`), then gets what `snapshot` returns if that is overridden.

        :arg channels: their names, up to a hundred. A stream subscribes once.
        :arg str start: ``"new"``: what comes from now on. ``"earliest"``: all that is retained. ``"state"``:
            what `snapshot` returns or else the latest event of every key, then what comes. Or an event's id:
            what came after it.

        :raises HTTPError: as above.
        :raises SubscribeError: if the stream has subscribed before.
        :raises SettingError: if there is no ``sse_broker``.
        """
        broker: Broker | None = lookup(self, "broker")
        if not isinstance(broker, Broker):
            raise SettingError(
                "sse_broker", f"must be a Broker, as in Application(..., sse_broker=Broker()), not {broker!r}"
            )
        asked = _overridden(self, "authorize")
        try:
            await broker.subscribe(
                self.stream,
                *channels,
                start=start,
                authorize=self.authorize if asked else None,
                snapshot=self._snapshot if _overridden(self, "snapshot") else None,
                user=self.current_user,
            )
        except PermissionError:
            raise HTTPError(403) from None
        except InvalidChannelError as error:
            raise HTTPError(400, "%s", error) from None
        except SubscribeError as error:
            # How many channels, and where to start, often comes from the request.
            if self.stream.follows:
                raise
            raise HTTPError(400, "%s", error) from None
        except StreamClosedError as error:
            if self.stream.started or error.reason != Reason.REVOKED:
                raise
            raise HTTPError(403) from None  # the user was revoked meanwhile
        except BrokerError as error:
            raise HTTPError(503, "%s", error) from error
        period = self.stream.settings.reauthorize
        if asked and period is not None and not self.stream.closed:
            names = tuple(dict.fromkeys(channels))
            self._rights = Rights(self.stream, names, self.authorize, period)

    def authorize(self, channel: str) -> bool | Awaitable[bool]:
        """Override to say whether this request may follow a channel. The default allows it.

        May be a coroutine. It is asked at every `subscribe`, and again every ``sse_reauthorize`` seconds as
        long as the stream is open; anything but True ends the stream then, and nothing more of the channel
        is sent. A handler that overrides it is kept with its request for as long as its stream.
        """
        return True

    def snapshot(self, channel: str) -> Any:
        """Override to return a channel's present state, for clients that can't be brought up to it by events.

        May be a coroutine. Sent to clients that begin with ``start="state"``, and after a ``gap``; the
        channel's events from that moment on follow. Those that happen while it is made may be both in it
        and after it; so may older ones, if a stream of several channels is cut while it catches up.

        Return a payload, which goes by ``sse_serializer`` as an event of type ``snapshot``; or an `Event`
        without an id, as it is; or None if there is nothing to tell.
        """

    async def _snapshot(self, channel: str) -> Event | None:
        shown = self.snapshot(channel)
        if isawaitable(shown):
            shown = await shown
        if shown is None or isinstance(shown, Event):
            if shown is not None and shown.id is not None:
                raise InvalidEventError("id", shown.id, "is the broker's to give to a snapshot")
            return shown
        chosen = get_serializer(self.stream.settings.serializer)
        return Event(encode(chosen, shown), "snapshot", codec=chosen.codec)


def _overridden(handler: FollowingHandler, method: str) -> bool:
    return getattr(getattr(handler, method), "__func__", None) is not getattr(FollowingHandler, method)
