"""A subscriber: a cursor into the log, and the stream that is brought to its end.

It is *live* while its group sends to it, and costs nothing then. Otherwise it is behind and has a `cursor`:
whatever comes after it is sent page by page, from the logs in memory as long as they reach back so far, and
from the backend before that. A page is made when the socket has taken the one before, so one that never reads
holds one page.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from tornado.log import app_log

from tornado_sse.encoder import encode_event
from tornado_sse.errors import BackendError, StreamClosedError
from tornado_sse.event import Event
from tornado_sse.fanout import FanOut
from tornado_sse.gap import gap_event
from tornado_sse.group import merged
from tornado_sse.observer import Observer
from tornado_sse.piece import SIZE, Piece
from tornado_sse.record import with_id
from tornado_sse.stream import Stream

__all__ = ["Snapshot", "Subscriber", "preface"]

#: Returns a channel's state as an event without an id, or None if there is nothing to tell.
Snapshot = Callable[[str], Awaitable[Event | None]]

# How long to wait before a backend that failed is asked again, in seconds; up to twice as long, at random.
_RETRY: Final = 0.5

_NONE: Final[Mapping[str, int]] = {}


def preface(events: list[Event], epoch: str, position: int) -> list[bytes]:
    """Return what is said before the events of the log, as frames. The last one carries the id.

    Only the last one: a client that is cut among them has dealt with none, and is told all again.
    """
    frames = [encode_event(event) for event in events]
    if frames:
        frames[-1] = with_id(frames[-1], epoch, position)
    return frames


class Subscriber:
    """What follows some channels on behalf of a stream.

    :arg names: the channels, which the fan-out has joined. The subscriber leaves them at its end.
    :arg cursor: the client has all events up to this position.
    :arg first: what is sent before any event of the log, with the head of the response if that is not out.
    :arg rest: more of it, in frames, as the socket takes them.
    :arg skipped: by channel, up to where its events are left out, as a snapshot has them.
    :arg told: by channel, up to where the client knows that events may be missing.
    :arg user: whose stream it is.
    :arg on_end: called with the subscriber at its end.

    :raises StreamClosedError: if the stream has ended. Nothing has been left then.
    """

    __slots__ = (
        "_bytes_before", "_events_before", "_fanout", "_fetching", "_group", "_live", "_observer", "_on_end",
        "_queued", "_rest", "_skipped", "_snapshot", "_told", "cursor", "slot", "stream", "transport", "user",
    )  # fmt: skip

    def __init__(
        self,
        stream: Stream,
        fanout: FanOut,
        observer: Observer,
        names: tuple[str, ...],
        cursor: int,
        first: bytes,
        rest: Sequence[bytes] = (),
        *,
        skipped: Mapping[str, int] = _NONE,
        told: Mapping[str, int] = _NONE,
        snapshot: Snapshot | None = None,
        user: object = None,
        on_end: Callable[[Subscriber], None],
    ) -> None:
        self.stream = stream
        self.transport = stream.begin(first)
        #: The client has been sent all events up to here; not kept up to date while it is live.
        self.cursor = cursor
        #: Where the group keeps it while it is live.
        self.slot = -1
        self.user = user
        self._fanout = fanout
        self._observer = observer
        self._skipped = skipped
        self._told = told
        self._snapshot = snapshot
        self._on_end = on_end
        self._live = False
        self._queued = False
        self._rest = rest
        self._fetching: asyncio.Future[None] | None = None
        self._bytes_before = self._events_before = 0
        self._group = fanout.enter(
            names, chunked=self.transport.chunked, direct=self.transport.socket is not None
        )
        self.transport.follower = self
        observer.on_subscribe(names)
        if self.step():
            fanout.feed(self)

    @property
    def names(self) -> tuple[str, ...]:
        """The channels."""
        return self._group.names

    @property
    def live(self) -> bool:
        """Whether the client has been sent everything."""
        return self._live

    @property
    def lag(self) -> int:
        """How many positions of the log the client is behind."""
        return 0 if self._live else self._fanout.sent - self.cursor

    # Live

    def _go_live(self) -> None:
        self._live = True
        self._skipped = self._told = _NONE
        self._bytes_before, self._events_before = self._group.bytes, self._group.events
        self._group.add(self)

    def _leave_live(self) -> None:
        self.settle()
        self._live = False
        self.cursor = self._fanout.sent
        self._group.discard(self)

    def settle(self) -> None:
        """Add to the stream's figures what the group has sent."""
        if self._live:
            group = self._group
            self.transport.bytes_sent += group.bytes - self._bytes_before
            self.stream.events += group.events - self._events_before
            self._bytes_before, self._events_before = group.bytes, group.events

    def on_refused(self, piece: Piece, sent: int) -> None:
        """Go on from the log, after the piece of which so many bytes are on their way."""
        if self.transport.closed:
            return
        if self._live:
            self._leave_live()
            self._observer.on_behind(self.names)
        self.cursor = piece.upto
        if sent < len(piece.data):
            self.transport.queue(memoryview(piece.data)[sent:])

    def on_gap(self) -> None:
        """Go on from the log, which tells what is gone."""
        if self._live:
            self._leave_live()
            self.on_drained()

    def on_blocked(self) -> None:
        """Stop being live: the stream has written something else, which waits."""
        if self._live:
            self._leave_live()
            self._observer.on_behind(self.names)

    # Behind

    def on_drained(self) -> None:
        """Go on: the socket has taken everything."""
        if not (self._live or self._queued or self._fetching):
            self._queued = True
            self._fanout.feed(self)

    def step(self) -> bool:
        """Send the next page; return whether there may be another right away."""
        # Queued as long as this goes on: the socket may take it all at once and say so.
        self._queued = True
        self._queued = self._step()
        return self._queued

    def _step(self) -> bool:
        if self._live or self._fetching or not self.transport.clear:
            return False
        if self._rest:
            return self._send_rest()
        group = self._group
        page = self._fanout.page(
            group.names,
            group.logs,
            self.cursor,
            chunked=group.chunked,
            skipped=self._skipped,
            told=self._told,
        )
        if page is None:
            self._fetching = asyncio.ensure_future(self._fetch())
            return False
        self.cursor = page.upto
        if page.data:
            self.stream.events += page.events
            self.transport.transmit(page.data)
        return self.transport.clear and not self._caught_up()

    def _caught_up(self) -> bool:
        if self.cursor == self._fanout.sent:
            self._go_live()
        return self._live

    def _send_rest(self) -> bool:
        count = size = 0
        for frame in self._rest:
            if count and size + len(frame) > SIZE:
                break
            count, size = count + 1, size + len(frame)
        data, self._rest = b"".join(self._rest[:count]), self._rest[count:]
        try:
            self.transport.send(data)
        except StreamClosedError:
            pass  # on_end() has been called
        return self.transport.clear

    async def _fetch(self) -> None:
        """Send a page from the backend, and what is to be said before it."""
        try:
            frames, page = await self._read()
            if frames:
                self.transport.send(b"".join(frames))
            self.stream.events += len(frames)
            self.cursor, self._skipped, self._told = page
        except BackendError as error:
            # The stream stays open, and is kept alive; it goes on where it was when the log is back.
            app_log.warning("%s: waiting, because %s", self.stream.description, error)
            await asyncio.sleep(_RETRY * (1 + random.random()))
        except (Exception, asyncio.CancelledError) as error:
            if not self.transport.closed:
                # Not the end of the stream arriving here: snapshot() has failed, or been cancelled.
                app_log.error("%s: uncaught exception", self.stream.description, exc_info=error)
                self.stream.abort()
            return
        finally:
            self._fetching = None
        self.on_drained()

    async def _read(self) -> tuple[list[bytes], tuple[int, Mapping[str, int], Mapping[str, int]]]:
        """Return frames, and where the client is after them. Nothing is changed until they are sent."""
        fanout = self._fanout
        epoch, end = fanout.backend.epoch, fanout.sent
        skipped, told = {**self._skipped}, {**self._told}
        lost: list[Event] = []
        runs = []
        for name in self.names:
            after = max(self.cursor, skipped.get(name, 0))
            async with fanout.reads:
                page = await fanout.backend.read(name, after, max(SIZE // len(self.names), 2048))
            if page.floor > max(after, told.get(name, 0)):
                told[name] = page.floor
                lost.append(gap_event(name, "expired", epoch, after, page.floor))
                shown = None if self._snapshot is None else await self._snapshot(name)
                if shown is not None:
                    # It shows what had happened by now at least, and nothing older may follow it.
                    lost.append(shown)
                    skipped[name] = end
                    continue
            if page.more:
                end = min(end, page.records[-1].position)
            runs.append(page.records)
        records = [record for record in merged(runs) if record.position <= end]
        frames = [record.frame for record in records]
        if lost:
            begin = records[0].position - 1 if records else end
            frames = preface(lost, epoch, begin) + frames
        for name in dict(told.items() - self._told.items()):
            self._observer.on_gap(name, "expired")
        return frames, (end, skipped, told)

    # The end

    def on_end(self) -> None:
        """Leave everything."""
        if self._live:
            self.settle()
            self._live = False
            self._group.discard(self)
        if self._fetching is not None:
            self._fetching.cancel()
        self._fanout.exit(self._group)
        self._observer.on_unsubscribe(self.names)
        self._on_end(self)
