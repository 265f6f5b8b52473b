"""What is compared: the same streams by `SSEHandler` and by hand.

Those in ``WRITING`` write so many events, all in one loop that is the same for all, and report what it
cost the server. Those in ``IDLE`` answer with a head and then wait.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from tornado.iostream import IOStream
from tornado.web import RequestHandler

from benchmarks.shapes import RECORD, TEXT
from tornado_sse import SSEHandler, Stream

__all__ = ["IDLE", "WRITING", "Cost"]

if sys.platform == "linux":
    import fcntl
    import termios

_TEXT_FRAME: Final = f"event: tick\ndata: {TEXT}\n\n"
_COMPACT: Final = json.dumps(RECORD, separators=(",", ":")).encode()


class Cost(NamedTuple):
    """What a burst cost the server: seconds, and packets if the system counts them."""

    cpu: float
    wall: float
    packets: int | None


async def _burst(
    handler: RequestHandler,
    iostream: IOStream,
    write: Callable[[], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
    flush: Callable[[], object] = int,
) -> None:
    """Write as many events as the request wants, end the response, and report the `Cost`.

    With ``pace=turns`` the event loop has a turn after each event. With ``pace=single`` too, and the next is
    written when the reader has acknowledged it, so that each is a packet; the time until then is not counted.
    """
    events = int(handler.get_query_argument("events"))
    pace = handler.get_query_argument("pace")
    turns = pace != "burst"
    sizes = [1] * events if pace == "single" else [events]
    assert iostream.socket is not None
    cpu = wall = 0.0
    with iostream.socket.dup() as sock:
        gc.collect()
        for size in sizes:
            if pace == "single":
                await _acknowledged(sock)
            cpu -= time.process_time()
            wall -= time.perf_counter()
            for _ in range(size):
                await write()
                if turns:
                    await asyncio.sleep(0)
            flush()
            wall += time.perf_counter()
            cpu += time.process_time()
        packets = _packets(sock)
        await end()
    handler.settings["report"](Cost(cpu, wall, packets))


def _iostream_of(handler: RequestHandler) -> IOStream:
    connection: Any = handler.request.connection
    stream: IOStream = connection.stream
    return stream


async def _acknowledged(sock: socket.socket) -> None:
    """Wait, outside of what is measured, until the reader has everything."""
    await asyncio.sleep(0)  # what the turn has gathered leaves first
    if sys.platform == "linux":
        # The kernel tells nobody when its queue is empty, so it can only be asked.
        while fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)) != bytes(4):  # noqa: ASYNC110
            await asyncio.sleep(0.0002)
    else:
        await asyncio.sleep(0.002)  # it can't be asked here; on loopback this is ample


def _packets(sock: socket.socket) -> int | None:
    """Return how many packets with data a connection has sent (tcpi_data_segs_out, linux/tcp.h)."""
    if sys.platform != "linux":
        return None
    return int(struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 156)[0])


class _BySSE(SSEHandler):
    async def open(self, *args: str, **kwargs: str) -> None:
        iostream = _iostream_of(self)
        self.stream.flush()
        await _burst(self, iostream, self._write, self.stream.close, self.stream.flush)

    def _write(self) -> Awaitable[None]:
        raise NotImplementedError


class _TextBySSE(_BySSE):
    def _write(self) -> Awaitable[None]:
        return self.stream.write(TEXT, serializer="text", event="tick")


class _JSONBySSE(_BySSE):
    def _write(self) -> Awaitable[None]:
        return self.stream.write_json(RECORD)


class _ByHand(RequestHandler):
    async def get(self) -> None:
        iostream = _iostream_of(self)
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        await self.flush()
        iostream.set_nodelay(self.get_query_argument("nodelay", "no") == "yes")
        await _burst(self, iostream, self._write, self.finish)

    def _write(self) -> Awaitable[None]:
        raise NotImplementedError


class _TextByHand(_ByHand):
    # The frame is ready made, which flatters it.
    def _write(self) -> Awaitable[None]:
        self.write(_TEXT_FRAME)
        return self.flush()


class _JSONByHand(_ByHand):
    def _write(self) -> Awaitable[None]:
        self.write(f"data: {json.dumps(RECORD)}\n\n")
        return self.flush()


class _TextBySend(RequestHandler):
    """The same bytes by ``socket.send`` and nothing else: what the kernel takes, and the loop around it."""

    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        await self.flush()
        self._iostream = self.detach()
        self._iostream.set_nodelay(True)
        self._socket = self._iostream.socket
        frame = _TEXT_FRAME.encode()
        self._chunk = b"%x\r\n%b\r\n" % (len(frame), frame)
        await _burst(self, self._iostream, self._send, self._end)

    async def _send(self) -> None:
        sent = 0
        try:
            sent = self._socket.send(self._chunk)
        except BlockingIOError:
            pass
        if sent < len(self._chunk):
            await asyncio.get_running_loop().sock_sendall(self._socket, self._chunk[sent:])

    async def _end(self) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, b"0\r\n\r\n")
        self._iostream.close()


_kept: Final[list[Stream]] = []
_never: Final = asyncio.Event()


class _IdleOpened(SSEHandler):
    def open(self, *args: str, **kwargs: str) -> None:
        _kept.append(self.stream)  # as whoever means to write to it some day does


class _IdleOnClose(_IdleOpened):
    def on_close(self) -> None:
        _kept.remove(self.stream)


class _IdleWaiting(SSEHandler):
    async def open(self, *args: str, **kwargs: str) -> None:
        async with self.stream:
            await _never.wait()


class _IdleByHand(RequestHandler):
    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        await self.flush()
        await _never.wait()


#: By path: the handler, and the one event that it writes, as it goes on the wire.
WRITING: Final[dict[str, tuple[type[RequestHandler], bytes]]] = {
    "text/sse": (_TextBySSE, _TEXT_FRAME.encode()),
    "text/hand": (_TextByHand, _TEXT_FRAME.encode()),
    "text/send": (_TextBySend, _TEXT_FRAME.encode()),
    "json/sse": (_JSONBySSE, b"codec: json\ndata: %b\n\n" % _COMPACT),
    "json/hand": (_JSONByHand, b"data: %b\n\n" % json.dumps(RECORD).encode()),
}

#: By path.
IDLE: Final[dict[str, type[RequestHandler]]] = {
    "idle/opened": _IdleOpened,
    "idle/on-close": _IdleOnClose,
    "idle/waiting": _IdleWaiting,
    "idle/hand": _IdleByHand,
}
