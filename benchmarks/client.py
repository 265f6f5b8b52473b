"""A child that reads streams: one as fast as it can, or many that only wait."""

from __future__ import annotations

import socket
import time
from collections import deque
from multiprocessing.connection import Connection
from typing import Any, Final

__all__ = ["read"]

# What a browser sends, more or less.
_REQUEST: Final = """\
GET /{path} HTTP/1.1
Host: 127.0.0.1:{port}
Connection: {connection}
Cache-Control: no-cache
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0
Accept: text/event-stream
Sec-Fetch-Site: same-origin
Sec-Fetch-Mode: cors
Sec-Fetch-Dest: empty
Referer: http://127.0.0.1:{port}/dashboard/overview
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-GB,en;q=0.9
Cookie: user=2|1:0|10:1700000000|4:user|44:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=|0

""".replace("\n", "\r\n")

# So many connections are being opened at any time: enough to keep the server busy, few enough for its queue.
_WINDOW: Final = 64


def read(pipe: Connection[Any, Any]) -> None:
    """Do what is asked until the pipe ends."""
    streams: list[socket.socket] = []
    while True:
        task, *arguments = pipe.recv()
        if task == "burst":
            pipe.send(_read_burst(*arguments))
        elif task == "open":
            pipe.send(_open(streams, *arguments))
        else:
            pipe.send(sum(map(_is_alive, streams)))


def _connect(port: int, path: str, connection: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(_REQUEST.format(port=port, path=path, connection=connection).encode())
    return sock


def _read_burst(port: int, path: str, event: bytes, events: int) -> float:
    """Read a response to its end, compare its body, and return what reading cost in CPU time."""
    buffer = memoryview(bytearray((len(event) + 16) * events + 4096))
    size = 0
    with _connect(port, path, "close") as sock:
        start = time.process_time()
        while count := sock.recv_into(buffer[size:]):
            size += count
        cpu = time.process_time() - start
    head, _, body = bytes(buffer[:size]).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or _unchunk(body) != event * events:
        raise RuntimeError(f"/{path} did not send {events} times {event!r}, but {len(body)} bytes")
    return cpu


def _unchunk(body: bytes) -> bytes:
    """Return what a complete body in chunks holds."""
    parts: list[bytes] = []
    position = 0
    while True:
        line = body.index(b"\r\n", position)
        size = int(body[position:line], 16)
        position = line + 2 + size + 2
        if not size:
            if position != len(body):
                raise RuntimeError(f"{len(body) - position} bytes follow the last chunk")
            return b"".join(parts)
        parts.append(body[line + 2 : position - 2])


def _open(streams: list[socket.socket], port: int, path: str, count: int) -> float:
    """Open so many streams, and return how many seconds it took until all heads were there."""
    start = time.perf_counter()
    opening: deque[socket.socket] = deque()
    for _ in range(count):
        if len(opening) == _WINDOW:
            streams.append(_read_head(opening.popleft()))
        opening.append(_connect(port, path, "keep-alive"))
    streams.extend(map(_read_head, opening))
    return time.perf_counter() - start


def _read_head(sock: socket.socket) -> socket.socket:
    head = b""
    while b"\r\n\r\n" not in head:
        received = sock.recv(4096)
        head += received
        if not received or not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"no stream, but {head!r}")
    sock.setblocking(False)
    return sock


def _is_alive(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(4096))
    except BlockingIOError:
        return True
