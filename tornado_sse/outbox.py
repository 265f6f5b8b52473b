"""What the kernel has not taken yet: the bytes of one connection that wait for a slow reader.

A transport has an `Outbox` only while something waits. It hands the IOStream one piece at a time, so it
knows how much is left, and when something moved; the IOStream waits for the socket to become writable,
and deals with TLS.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Final

from tornado.iostream import IOStream

__all__ = ["Outbox"]

# What is handed over at once. Where the kernel can't be asked, it is the step in which progress is seen.
_PIECE: Final = 64 * 1024


class Outbox:
    """A queue of bytes before an IOStream.

    :arg iostream: where the bytes go.
    :arg on_drained: called when nothing waits any more; the outbox is done then.
    :arg on_lost: called with the error if the connection is gone.
    """

    __slots__ = (
        "_busy", "_iostream", "_moved_at", "_on_drained", "_on_lost", "_piece", "_progress", "_queue",
        "_waiters", "pending",
    )  # fmt: skip

    def __init__(
        self,
        iostream: IOStream,
        on_drained: Callable[[], None],
        on_lost: Callable[[BaseException], None],
    ) -> None:
        self._iostream = iostream
        self._on_drained = on_drained
        self._on_lost = on_lost
        self._queue: deque[bytes | memoryview] | None = deque()
        self._piece = 0
        self._busy = False
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._progress: tuple[int, int] | None = None
        self._moved_at = 0.0
        #: How many bytes wait.
        self.pending = 0

    def follow(self, written: asyncio.Future[None], size: int) -> None:
        """Begin behind a write to the IOStream of so many bytes that is still going on."""
        self._busy = True
        self._piece = self.pending = size
        written.add_done_callback(self._on_written)

    def push(self, data: bytes | memoryview) -> None:
        """Add bytes behind those that wait."""
        assert self._queue is not None
        self._queue.append(data)
        self.pending += len(data)
        if not self._busy:
            self._pump()

    def wait(self, low_water: int) -> Generator[Any, None, None]:
        """Wait, within an ``__await__``, until no more than so many bytes wait.

        :raises Exception: what `abandon` is given.
        """
        # One Future for each who waits: of a shared one, the first to be cancelled would cancel all.
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((low_water, waiter))
        yield from waiter

    def abandon(self, error: Exception) -> None:
        """Drop everything, and give those who wait an error."""
        self._queue = None
        self.pending = 0
        self._wake(error)

    def still_for(self, now: float) -> float:
        """Return for how many seconds the reader has taken nothing, as far as these calls have seen."""
        # A slow reader can take minutes over the megabytes in the kernel's buffer before there is room for
        # the next byte from here, so what has not moved here may yet move there.
        progress = (self.pending, _unacknowledged(self._iostream.socket))
        if progress != self._progress:
            self._progress = progress
            self._moved_at = now
        return now - self._moved_at

    def _pump(self) -> None:
        queue = self._queue
        assert queue is not None
        while queue:
            piece = queue.popleft()
            if len(piece) > _PIECE:
                view = memoryview(piece)
                queue.appendleft(view[_PIECE:])
                piece = view[:_PIECE]
            self._piece = len(piece)
            try:
                written = self._iostream.write(piece)
            except Exception as error:
                self._on_lost(error)
                return
            if not written.done():
                self._busy = True
                written.add_done_callback(self._on_written)
                return
            if (failure := written.exception()) is not None:
                self._on_lost(failure)
                return
            self.pending -= self._piece
        self._busy = False
        self._wake()
        self._on_drained()

    def _on_written(self, written: asyncio.Future[None]) -> None:
        if self._queue is None:
            return
        if (error := written.exception()) is not None:
            self._on_lost(error)
            return
        self.pending -= self._piece
        self._piece = 0
        if self._waiters:
            self._wake()
        self._pump()

    def _wake(self, error: Exception | None = None) -> None:
        still_waiting = []
        for low_water, waiter in self._waiters:
            if waiter.done():
                continue
            if error is not None:
                waiter.set_exception(error)
            elif self.pending <= low_water:
                waiter.set_result(None)
            else:
                still_waiting.append((low_water, waiter))
        self._waiters = still_waiting


if sys.platform == "linux":
    import fcntl
    import termios

    def _unacknowledged(sock: socket.socket | None) -> int:
        """Return how many bytes the peer has not acknowledged (SIOCOUTQ, tcp(7))."""
        if sock is None:
            return 0
        try:
            return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
        except OSError:
            return 0

else:

    def _unacknowledged(sock: socket.socket | None) -> int:
        """Return 0: this system can't be asked."""
        return 0
