"""The connection below a transport: hearing from the client, and hanging up.

Theory of operation
-------------------
*Bare or not.* A plain connection on which nothing waits needs no IOStream: the transport writes to its
socket, and a `Watch` hears of the rest. So the socket is taken out of the IOStream that it came with, which
is most of what an idle connection costs. When the kernel first refuses bytes, somebody has to wait until it
takes more: an IOStream is made for that, and stays. TLS needs its IOStream always, and where there is no
`Watch` all do.

*The other direction.* A client has nothing more to say after its request. Somebody reads all the same, and
always: that tells of a disconnect at once, half-closed connections included. What does arrive is thrown away,
up to a limit; unread it would pile up, and hide the end of the connection behind it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

from tornado.iostream import IOStream, SSLIOStream
from tornado.iostream import StreamClosedError as IOStreamClosedError

from tornado_sse.ticker import Ticker
from tornado_sse.watch import Watch

__all__ = ["Line"]

# How much a client may send after its request before it is taken for broken. A browser sends nothing; a
# pipelining client sends a request or two, which will never be answered here.
_MAX_INPUT: Final = 64 * 1024

# Where it goes: nobody looks at it, so one place serves all.
_thrown_away: Final = bytearray(4096)

_CLOSE_AT_ONCE: Final = struct.pack("ii", 1, 0)  # struct linger: on, zero seconds


class Line:
    """A connection. A subclass says in `lose` and `on_flood` what becomes of its end.

    :arg iostream: the connection, detached from its server. It may be of no use afterwards.
    """

    __slots__ = ("_descriptor", "_input", "_iostream", "_loop", "_ticker", "_watch", "ended", "socket")

    def __init__(self, iostream: IOStream) -> None:
        self._loop = asyncio.get_running_loop()
        self._ticker = Ticker.of(self._loop)
        self._iostream: IOStream | None = iostream
        #: The plain socket, to be written to while nothing waits; None if there is none, or not any more.
        self.socket: socket.socket | None = None if isinstance(iostream, SSLIOStream) else iostream.socket
        #: Whether it is all over: nothing is pending and the connection is gone.
        self.ended = False
        self._watch: Watch | None = None
        self._descriptor = -1
        self._input = 0

    def lose(self, error: BaseException) -> None:
        """Take note that the connection is gone."""
        raise NotImplementedError

    def on_flood(self) -> None:
        """Take note that the client does not stop talking."""
        raise NotImplementedError

    def _listen(self) -> None:
        """Begin to hear from the client."""
        iostream = self._iostream
        if type(iostream) is IOStream and not (iostream.reading() or iostream.writing()):
            watch = Watch.of(self._loop)
            if watch is not None:
                self._bare(iostream, watch)
                return
        self._read()

    def _bare(self, iostream: IOStream, watch: Watch) -> None:
        iostream.io_loop.remove_handler(iostream.socket)
        # Taken from it rather than shared: whoever still holds the IOStream may close it.
        self._descriptor = iostream.socket.detach()
        self.socket = socket.socket(fileno=self._descriptor)
        self.socket.setblocking(False)
        self._iostream = None
        self._watch = watch
        try:
            watch.add(self._descriptor, self)
        except OSError as error:  # the kernel has no room for more
            self.lose(error)

    def _stream(self) -> IOStream:
        """Return an IOStream to write to, for when somebody has to wait."""
        if self._iostream is None:
            assert self.socket is not None
            self._leave_watch()
            self._iostream = IOStream(self.socket)
            # Not in the context of the writer, which would be kept.
            self._ticker.context.copy().run(self._read)
        return self._iostream

    # In a watch

    def on_readable(self) -> None:
        """Throw away what the client says."""
        assert self.socket is not None
        try:
            size = self.socket.recv_into(_thrown_away)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.lose(error)
            return
        if not size:
            self.lose(IOStreamClosedError())
        elif self._is_too_much(size):
            self.on_flood()

    def on_loop_closed(self) -> None:
        """Close the socket."""
        self._hang_up()

    # In an IOStream

    def _read(self) -> None:
        assert self._iostream is not None
        try:
            future = self._iostream.read_bytes(_MAX_INPUT, partial=True)
        except OSError as error:
            self.lose(error)
            return
        asyncio.ensure_future(future).add_done_callback(self._on_input, context=self._ticker.context)

    def _on_input(self, future: asyncio.Future[bytes]) -> None:
        if self.ended:
            return
        if (error := future.exception()) is not None:
            self.lose(error)
        elif self._is_too_much(len(future.result())):
            self.on_flood()
        else:
            self._read()

    def _is_too_much(self, size: int) -> bool:
        self._input += size
        return self._input > _MAX_INPUT

    # The end

    def _drop_unsent(self) -> None:
        """Have the kernel send a reset when we hang up, rather than what it still holds."""
        sock = self.socket if self._iostream is None else self._iostream.socket
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_AT_ONCE)

    def _hang_up(self) -> None:
        if self._iostream is not None:
            self._iostream.close()
        elif self.socket is not None:
            self._leave_watch()
            self.socket.close()
        self.socket = None

    def _leave_watch(self) -> None:
        if self._watch is not None:
            self._watch.discard(self._descriptor)
            self._watch = None
