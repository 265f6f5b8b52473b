"""One response, taken out of its HTTP connection: framing, sending, keeping it alive, and its end.

Theory of operation
-------------------
A `Transport` owns a connection, its `Line`, to which the response head has been written. It has one place
that writes, `transmit`, and two modes:

*Direct.* Nothing is waiting, so the bytes go straight to ``socket.send``. That is the whole cost of an
event: no Future, no buffer, no callback. Going through ``IOStream.write`` costs two to three times as much,
because it makes a Future for each write and may change the poller's registration.

*Queued.* The kernel took a part or nothing. The rest goes into an `Outbox`, and so does all that follows,
until it is empty. TLS connections pass through it always: their records must be made by one hand.

Events are queued whole, so what a cancelled or failing writer leaves behind is whole events, and a stream
can be closed cleanly at any moment. `Transport.pending` says how much waits; the `Stream` bounds it.

*Time.* The shared `Ticker` asks every so often. A transport that sent something since needs no keep-alive;
one whose reader has taken nothing for ``stall_timeout`` is aborted.

*Beside it.* A `Follower` may send whole frames on the plain socket by itself, as long as nothing waits: that
is how thousands of transports are sent the same bytes in one loop. It is told when it has to stop.

*The end.* It comes once, for one `Reason`: cleanly (`close`: what waits is sent, then the final chunk) or
not (`abort`: no final chunk, so that a client can tell and resume). ``on_end`` is called from the event
loop, never from within a write, so that nobody's loop over its streams is changed underneath it.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final

from tornado.iostream import IOStream
from tornado.iostream import StreamClosedError as IOStreamClosedError

from tornado_sse.errors import StreamClosedError
from tornado_sse.flow import READY
from tornado_sse.follower import Follower
from tornado_sse.line import Line
from tornado_sse.outbox import Outbox
from tornado_sse.reason import Reason
from tornado_sse.settings import Settings
from tornado_sse.ticker import SLOT

__all__ = ["Transport", "chunk"]

# A writer that awaits goes on while less than this is pending. The kernel has its own buffer behind ours,
# so a low number costs no throughput; it is what one slow stream holds while its writer is well-behaved.
_LOW_WATER: Final = 64 * 1024

_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)


def chunk(data: bytes) -> bytes:
    """Return bytes as a chunk of a body (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Transport(Line):
    """The sending side of one event stream.

    :arg iostream: the connection, detached, with the response head written to it.
    :arg chunked: whether the body is framed by chunks (HTTP/1.1) or ends with the connection.
    :arg settings: ``keepalive``, ``keepalive_frame``, ``stall_timeout`` and ``max_age`` apply.
    :arg int begun: how many bytes of the body went with the head.
    :arg on_end: called once when all is over, from the event loop.
    :arg on_expiry: called at ``max_age`` to close the transport; None closes it as it is.
    """

    __slots__ = (
        "_deadline", "_on_end", "_on_expiry", "_outbox", "_seen", "_settings", "bytes_sent", "chunked",
        "closed", "follower", "reason", "tick_slot",
    )  # fmt: skip

    def __init__(
        self,
        iostream: IOStream,
        *,
        chunked: bool,
        settings: Settings,
        begun: int = 0,
        on_end: Callable[[], None],
        on_expiry: Callable[[], object] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(iostream)
        #: Whether the body is framed by chunks.
        self.chunked = chunked
        self._settings = settings
        self._on_end = on_end
        self._on_expiry = on_expiry or _nothing
        #: Whether nothing can be sent any more; what is pending may still be on its way.
        self.closed = False
        #: Why the stream ended, or is about to (`Reason`); None while it is open.
        self.reason: Reason | None = None
        #: Bytes of the body so far, framing and what is still pending included.
        self.bytes_sent = begun
        self._outbox: Outbox | None = None
        #: Who else sends, or None.
        self.follower: Follower | None = None
        self._seen = -1  # what bytes_sent was at the last tick
        self.tick_slot: int | None = None
        now = self._ticker.now()
        self._deadline = None if settings.max_age is None else now + settings.max_age * (1 - 0.1 * jitter())
        self._start(iostream, now)

    def _start(self, iostream: IOStream, now: float) -> None:
        try:
            self._tune(iostream.socket)
            if iostream.writing():
                # The head is still on its way. An empty write is done when all before it are.
                self._outbox = Outbox(iostream, self._on_drained, self.lose)
                self._outbox.follow(iostream.write(b""), self.bytes_sent)
        except OSError as error:
            self.lose(error)
            return
        self._listen()
        self._schedule(now)

    def _tune(self, sock: socket.socket | None) -> None:
        if sock is None:
            raise IOStreamClosedError
        if sock.family not in _INTERNET:
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        timeout = self._settings.stall_timeout
        if timeout and hasattr(socket, "TCP_USER_TIMEOUT"):
            # RFC 5482: gives up on a peer that acknowledges nothing, as after a pulled cable.
            milliseconds = min(max(1, int(timeout * 1000)), 2**31 - 1)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            except OSError:
                pass  # a stream is as good without it, but for that cable

    # Sending

    @property
    def pending(self) -> int:
        """How many bytes the kernel has not taken yet."""
        return 0 if self._outbox is None else self._outbox.pending

    @property
    def clear(self) -> bool:
        """Whether nothing waits and more can be sent: what is sent now is next on the wire."""
        return self._outbox is None and not self.closed

    def send(self, data: bytes) -> None:
        """Send whole events, in the order of the calls. Never waits; see `drained`.

        How much may wait for a slow reader is for the caller to decide; see `pending`.

        :raises StreamClosedError: if the stream has ended, or the client turns out to be gone.
        """
        if self.closed:
            raise StreamClosedError(self.reason or Reason.CLOSED)
        self.transmit(self._framed(data))
        if self.ended:
            raise StreamClosedError(self.reason or Reason.CLOSED)

    def _framed(self, data: bytes) -> bytes:
        return chunk(data) if self.chunked else data

    def transmit(self, data: bytes) -> None:
        """Send what is framed already. For a `Follower`; to anybody else `send` is the way."""
        size = len(data)
        self.bytes_sent += size
        if self._outbox is not None:
            self._outbox.push(data)
            return
        rest: bytes | memoryview = data
        if self.socket is not None:
            try:
                sent = self.socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self.lose(error)
                return
            if sent == size:
                return
            rest = memoryview(data)[sent:]
        self.queue(rest)

    def queue(self, rest: bytes | memoryview) -> None:
        """Have bytes that are counted already wait for the socket, which has refused them."""
        iostream = self._stream()
        if self.ended:
            return
        outbox = self._outbox = Outbox(iostream, self._on_drained, self.lose)
        outbox.push(rest)
        if self._outbox is not None:
            now = self._ticker.now()
            outbox.still_for(now)
            self._schedule(now)
            if self.follower is not None:
                self.follower.on_blocked()

    def _on_drained(self) -> None:
        self._outbox = None
        if self.closed:
            self._end(self.reason or Reason.CLOSED)
        else:
            self._schedule(self._ticker.now())
            if self.follower is not None:
                self.follower.on_drained()

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Have something called at the end of this turn of the event loop."""
        self._loop.call_soon(callback, context=self._ticker.context)

    # Backpressure

    def drained(self, low_water: int | None = None) -> Awaitable[None]:
        """Return an awaitable that is done when no more than ``low_water`` bytes are pending.

        Awaiting it raises `StreamClosedError` if the stream ends otherwise than by ``close()`` before that.
        Not awaiting it is fine.
        """
        if self._outbox is None:
            return READY
        if low_water is None:
            low_water = min(_LOW_WATER, self._settings.max_buffer // 4)
        if self._outbox.pending <= low_water:
            return READY
        return _Drained(self, low_water)

    # Time

    def on_tick(self, now: float) -> float | None:
        """Send what keeps the connection alive, and end what is stalled or too old."""
        if self.ended:
            return None
        settings = self._settings
        if self.follower is not None:
            self.follower.settle()
        seen, self._seen = self._seen, self.bytes_sent
        if self._outbox is not None:
            if settings.stall_timeout is not None and self._outbox.still_for(now) >= settings.stall_timeout:
                self.abort(Reason.STALLED)
        elif not self.closed and seen == self._seen and settings.keepalive is not None:
            self.transmit(self._framed(settings.keepalive_frame))
        if not self.closed and self._deadline is not None and now >= self._deadline:
            self._on_expiry()
            self.close(Reason.EXPIRED)
        return None if self.ended else self._next_tick(now)

    def _next_tick(self, now: float) -> float | None:
        # Half the period, so that a silence is found before it has lasted the whole; and a tick may be late.
        settings = self._settings
        period = settings.keepalive
        delay = None if period is None else max(period / 2 - SLOT, period / 4)
        if self._outbox is not None and settings.stall_timeout is not None:
            delay = settings.stall_timeout / 4
        if not self.closed and self._deadline is not None:
            left = max(0.0, self._deadline - now)
            delay = left if delay is None else min(delay, left)
        return delay

    def _schedule(self, now: float) -> None:
        if not self.ended and (delay := self._next_tick(now)) is not None:
            self._ticker.schedule(self, delay)

    # The end

    def close(self, reason: Reason = Reason.CLOSED) -> Awaitable[None]:
        """End the response as complete, after what is pending. What comes later does nothing.

        Returns an awaitable that is done when everything is in the kernel's hands.
        """
        if not self.closed:
            self.closed = True
            self.reason = reason
            if self.chunked:
                self.transmit(b"0\r\n\r\n")
            if self._outbox is None:
                self._end(reason)
        return self.drained(0)

    def abort(self, reason: Reason = Reason.FAILED) -> None:
        """End the response as incomplete, at once; what is pending is lost."""
        if not self.ended:
            reset = reason in (Reason.STALLED, Reason.REVOKED) or not self.chunked
            if reset:
                # The kernel would keep megabytes for a reader that does not read, and go on to send them; and
                # without chunks an orderly close is how a complete body ends.
                self._drop_unsent()
            self._end(reason)

    def on_flood(self) -> None:
        """End, because the client does not stop talking."""
        self.abort(Reason.FLOODED)

    def lose(self, error: BaseException) -> None:
        """End because of what the socket or the IOStream has said. For a `Follower`."""
        cause = getattr(error, "real_error", None) or error
        # The kernel gave up on a peer that acknowledges nothing, or opens no window: TCP_USER_TIMEOUT.
        timed_out = getattr(cause, "errno", None) == errno.ETIMEDOUT
        self._end(Reason.STALLED if timed_out else Reason.DISCONNECTED)

    def _end(self, reason: Reason) -> None:
        if self.ended:
            return
        outbox, self._outbox = self._outbox, None
        if not self.closed or outbox is not None:
            # Not the end of a close() that went well; what cut it short is what there is to tell.
            self.reason = reason
        self.closed = True
        self.ended = True
        follower, self.follower = self.follower, None
        if follower is not None:
            follower.on_end()
        self._ticker.discard(self)
        self._hang_up()
        if outbox is not None:
            outbox.abandon(StreamClosedError(reason))
        # In a context of its own: what an application's on_close() sets there is nobody else's to see.
        self._loop.call_soon(self._on_end, context=self._ticker.context.copy())
        self._on_end = self._on_expiry = _nothing


def _nothing() -> None:
    """Stand in for a callback that has been called."""


class _Drained:
    """What a writer awaits. It waits only if it is awaited, so a writer may ignore it."""

    __slots__ = ("_low_water", "_transport")

    def __init__(self, transport: Transport, low_water: int) -> None:
        self._transport = transport
        self._low_water = low_water

    def __await__(self) -> Generator[Any, None, None]:
        transport = self._transport
        if transport._outbox is not None:
            if transport._outbox.pending > self._low_water:
                yield from transport._outbox.wait(self._low_water)
        elif transport.reason is not None and not transport.reason.clean:
            raise StreamClosedError(transport.reason)
