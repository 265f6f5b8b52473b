"""`Broker`: publish an event once, and it reaches whoever follows its channel.

Everything hangs on one idea: a broker is one totally ordered log. Each event gets the next position in it,
whichever channel it is published to, and a channel is the log filtered by name. The event's id is
``<epoch>-<position>``, so a client needs to remember one id whatever it follows, and whoever answers its
reconnect knows from the id alone what it lacks. Where the log lives is the backend's affair.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Self

from tornado_sse.backends import Backend, open_backend
from tornado_sse.beginning import STARTS, Beginning, begin, primer
from tornado_sse.draining import drain
from tornado_sse.errors import (
    BackendError,
    BrokerClosedError,
    StreamClosedError,
    SubscribeError,
)
from tornado_sse.fanout import FanOut
from tornado_sse.log import ChannelLog, Retention
from tornado_sse.observer import Observer, Stats, guarded
from tornado_sse.piece import SIZE
from tornado_sse.publishing import Published, Publishing, make_draft
from tornado_sse.reason import Reason
from tornado_sse.record import Record, check_channel, format_id
from tornado_sse.rights import Authorize, allowed
from tornado_sse.stream import Stream
from tornado_sse.subscriber import Snapshot, Subscriber

__all__ = ["Broker"]

#: How many channels one stream may follow.
_MOST_CHANNELS: Final = 100

# When a client is to come back, in seconds, unless `sse_retry` says otherwise. Each is told a time of its own
# around it: those whose server has died together must not return together.
_RETRY: Final = 2.0

# How long close() waits for what has been published to be written and told, in seconds.
_PATIENCE: Final = 5.0

# A publisher that never waits lets the others have a turn after so many events.
_CALLS_PER_TURN: Final = 64


class Broker:
    """Channels over one log::

        broker = Broker()                           # in memory
        broker = Broker("sqlite:///events.db")      # durable, and shared by the processes of a host

        app = Application([...], sse_broker=broker)
        await broker.publish("prices.AAPL", {"price": 226.5}, event="quote")

    It begins to work when it is first used, on the event loop that runs then, and belongs to that loop.

    :arg url: where the log lives; None is this process's memory. See `tornado_sse.backends`.
    :arg retention: how much of each channel is kept: a `Retention`, or a function that returns one for a
        channel's name.
    :arg str serializer: the serializer of a `publish` that names none.
    :arg observer: is told of what happens; see `Observer`.

    :raises BackendNotFoundError: if no backend serves the URL.
    :raises SettingError: if the URL makes no sense.
    """

    def __init__(
        self,
        url: str | Backend | None = None,
        *,
        retention: Retention | Callable[[str], Retention] | None = None,
        serializer: str = "json",
        observer: Observer | None = None,
    ) -> None:
        if retention is None:
            retention = Retention()
        if isinstance(retention, Retention):
            same = retention
            retention = lambda channel: same  # noqa: E731 - a name for it would say no more
        self._backend = url if isinstance(url, Backend) else open_backend(url, retention)
        self._serializer = serializer
        self._fanout: FanOut | None = None
        self._draining = False
        self._closed = False
        self._unpaced = 0
        self._subscribers: dict[Subscriber, None] = {}
        self._on_end = self._left  # one for all, rather than one made for each
        # Streams that are about to be subscribers, with whose they are: they can be revoked already.
        self._arriving: dict[Stream, object] = {}
        #: Who is told of what happens.
        self.observer = guarded(observer)
        self.observer.on_broker(self)

    # Publishing

    def publish(
        self,
        channel: str,
        payload: object,
        *,
        event: str | None = None,
        key: str | None = None,
        serializer: str | None = None,
        message_id: str | None = None,
    ) -> Awaitable[str]:
        """Publish an event to a channel.

        :arg str channel: its name: 1 to 200 letters and digits of ASCII and ``. _ - : @ ~ + = ,``.
        :arg payload: anything the serializer can write.
        :arg str event: the event's type; None for the default, ``"message"``.
        :arg str key: says that this event replaces the last one of the same key: who is behind gets only the
            latest, and ``start="state"`` begins with the latest of every key.
        :arg str serializer: the name of the serializer; None for the broker's.
        :arg str message_id: makes it safe to try again after an error, or without an answer: an event with
            the message id of one that was published to the channel in the last two minutes is the same event.
            It is not published again, and what is returned is the id of the first. Up to 200 characters.

        The order of the calls is the order of the events. Returns an awaitable of the event's id, done
        when the event is as safe as the backend promises. It may be left alone; that the log could not be
        written is logged then. It never waits for a subscriber.

        :raises InvalidChannelError: if no channel can have that name.
        :raises EncodeError: if the serializer can't write the payload.
        :raises SerializerNotFoundError: if there is no such serializer.
        :raises InvalidEventError: if ``event`` can't be put on the wire, or ``key`` or ``message_id`` is not
            one line of text.
        :raises BrokerClosedError: if the broker has been closed.
        :raises BackendError: when awaited, if the log can't be written.
        """
        draft = make_draft(channel, payload, event, key, serializer or self._serializer, message_id)
        self._started()
        self.observer.on_publish(channel, len(draft.frame))
        position = self._backend.append(draft)
        if isinstance(position, int):
            self._unpaced = (self._unpaced + 1) % _CALLS_PER_TURN
            return Published(format_id(self._backend.epoch, position), wait=not self._unpaced)
        return Publishing(self._backend, position)

    # Subscribing

    async def subscribe(
        self,
        stream: Stream,
        *channels: str,
        start: str = "new",
        authorize: Authorize | None = None,
        snapshot: Snapshot | None = None,
        user: object = None,
    ) -> None:
        """Have a stream follow channels. `SSEHandler.subscribe` is the way for handlers; it asks first.

        A client that resumes is sent what it has missed, from its ``stream.last_event_id`` on. To others
        ``start`` applies; to a client whose id means nothing here it applies after a ``gap`` event for each
        channel.

        :arg channels: their names. A stream subscribes once, to up to a hundred.
        :arg str start: ``"new"`` begins with what comes after this call, ``"earliest"`` with all that is
            retained, ``"state"`` with what ``snapshot`` returns, or without it with the latest event of every
            key. An event's id begins after that event.
        :arg authorize: says whether a channel may be followed; asked for each. None allows all.
        :arg snapshot: returns the state of a channel as an event without an id; also sent after a ``gap``.
        :arg user: whose stream it is, for `revoke`.

        Returns when the stream has begun; what is missed may still be on its way.

        :raises InvalidChannelError: if no channel can have that name.
        :raises PermissionError: if ``authorize`` says no.
        :raises SubscribeError: if there is no channel or there are too many, the stream subscribes a second
            time, or ``start`` is none of these.
        :raises BrokerClosedError: if the broker drains or has been closed.
        :raises BackendError: if the log can't be read.
        :raises StreamClosedError: if the stream has ended, or its user has been revoked meanwhile.
        """
        names = tuple(dict.fromkeys(map(check_channel, channels)))
        if not 0 < len(names) <= _MOST_CHANNELS:
            raise SubscribeError(f"a stream follows 1 to {_MOST_CHANNELS} channels, not {len(names)}")
        if start not in STARTS and start.isalpha():
            raise SubscribeError(f"start must be 'new', 'earliest', 'state' or an event's id, not {start!r}")
        if stream.follows:
            raise SubscribeError("a stream subscribes once; name all channels in one call")
        self._check_open()
        fanout = self._started()
        stream.follows = True
        self._arriving[stream] = user
        logs: list[ChannelLog] = []
        try:
            if authorize is not None:
                for name in names:
                    if not await allowed(authorize, name):
                        raise PermissionError(f"authorize({name!r}) says no")
            await self._opened()
            for name in names:
                logs += [await fanout.join(name)]  # one after the other: those joined are left if one fails
            beginning = await begin(names, stream.last_event_id, start, snapshot, fanout, self.observer)
            self._check_open()
            if stream not in self._arriving:
                raise StreamClosedError(Reason.REVOKED)
            skipped, told = beginning.skipped, beginning.told
            cursor = beginning.cursor
            frames: Sequence[bytes] = self._first(stream, beginning)
            stream.events += len(beginning.frames)
            first = b""
            if sum(map(len, frames)) <= SIZE:
                first, frames = b"".join(frames), ()
                # Most who come back lack little, and have it with the head of the response.
                missed = fanout.page(names, tuple(logs), cursor, chunked=False, skipped=skipped, told=told)
                if missed is not None:
                    cursor, first = missed.upto, first + missed.data
                    stream.events += missed.events
            subscriber = Subscriber(
                stream,
                fanout,
                self.observer,
                names,
                cursor,
                first,
                frames,
                skipped=skipped,
                told=told,
                snapshot=snapshot,
                user=user,
                on_end=self._on_end,
            )
        except BaseException:
            stream.follows = False
            for name in names[: len(logs)]:
                fanout.leave(name)
            raise
        finally:
            self._arriving.pop(stream, None)
        if not stream.ended:
            self._subscribers[subscriber] = None

    def _first(self, stream: Stream, beginning: Beginning) -> list[bytes]:
        """Return what a subscriber's stream begins with, before the events that its client lacks."""
        retry = stream.take_retry()
        frames = [*beginning.frames]
        if stream.settings.primer or retry is not None:
            base = _RETRY * 1000 if retry is None else retry
            spread = round(base * random.uniform(0.5, 1.5))
            alone = stream.settings.primer and not frames
            frames.insert(0, primer(beginning.cursor, self._backend.epoch, spread, alone=alone))
        if stream.settings.primer:
            frames.append(beginning.marker)
        return frames

    def revoke(self, user: object) -> int:
        """End all streams of a user in this process, so that nothing more is sent to them.

        Their clients come back, and are asked for their rights again.

        :arg user: what ``current_user`` was when they subscribed; compared by ``==``.

        Returns how many there were.
        """
        if user is None:
            return 0  # None is nobody, not everybody
        theirs = [subscriber.stream for subscriber in self._subscribers if subscriber.user == user]
        arriving = [stream for stream, whose in self._arriving.items() if whose == user]
        for stream in arriving:
            del self._arriving[stream]
        for stream in theirs + arriving:
            stream.revoke()
        return len(theirs) + len(arriving)

    @property
    def stats(self) -> Stats:
        """What is going on in this process."""
        lags = [subscriber.lag for subscriber in self._subscribers]
        return Stats(
            subscribers=len(lags),
            behind=sum(not subscriber.live for subscriber in self._subscribers),
            lag=max(lags, default=0),
            channels=0 if self._fanout is None else len(self._fanout.channels),
            position=self._backend.position,
        )

    # Life

    async def start(self) -> Self:
        """Open the log now, rather than with the first publish or subscribe.

        :raises BackendError: if it can't be opened.
        """
        self._check_open()
        self._started()
        await self._opened()
        return self

    async def drain(self, deadline: float = 10.0) -> None:
        """End all streams that follow channels, one after the other over half of so many seconds.

        Each is told to come back after a time of its own, and ends as complete; those that can't take their
        last bytes by the deadline are cut. Who subscribes from now on is refused. Publishing goes on: what is
        published meanwhile is in the log for those who resume.
        """
        self._draining = True
        await drain([subscriber.stream for subscriber in self._subscribers], deadline)

    async def close(self) -> None:
        """End all streams, write what has been published, and let go of the log.

        What is published or subscribed later raises `BrokerClosedError`.
        """
        if not self._closed:
            self._closed = self._draining = True
            try:
                if self._fanout is not None:
                    async with asyncio.timeout(_PATIENCE):
                        await self._backend.sync()
            except (BackendError, TimeoutError):
                pass  # those who wait for an acknowledgement are told; others can't be
            finally:
                if self._fanout is not None:
                    self._fanout.flush()
                for subscriber in list(self._subscribers):
                    subscriber.stream.expire(Reason.DRAINED)
        await self._backend.close()

    async def __aenter__(self) -> Self:
        """Open the log."""
        return await self.start()

    async def __aexit__(self, *exception: object) -> None:
        """Close."""
        await self.close()

    # How it is done

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerClosedError("the broker has been closed")
        if self._draining:
            raise BrokerClosedError("the broker drains, and takes no new subscribers")

    def _started(self) -> FanOut:
        if self._closed:
            raise BrokerClosedError("the broker has been closed")
        if self._fanout is None:
            self._fanout = FanOut(self._backend, self.observer)
            self._backend.start(self)
        return self._fanout

    async def _opened(self) -> None:
        if not self._backend.epoch:
            await self._backend.sync()

    def on_records(self, records: Sequence[Record], position: int) -> None:
        """Take new events; called by the backend."""
        assert self._fanout is not None
        self._fanout.on_records(records, position)

    def on_gap(self, channel: str) -> None:
        """Have the subscribers of a channel told that events are gone; called by the backend."""
        assert self._fanout is not None
        self._fanout.interrupt(channel)

    def on_epoch(self) -> None:
        """End all streams, because the log has begun anew; called by the backend.

        Their clients come back with ids that mean nothing any more, and are told so.
        """
        assert self._fanout is not None
        self._fanout.restart()
        for subscriber in list(self._subscribers):
            subscriber.stream.expire(Reason.RESET)

    def _left(self, subscriber: Subscriber) -> None:
        self._subscribers.pop(subscriber, None)
