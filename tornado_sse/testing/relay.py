"""A bad network between a client and a server."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

__all__ = ["Relay"]

_CLOSE_AT_ONCE: Final = struct.pack("ii", 1, 0)  # struct linger: on, zero seconds


class Relay:
    """Passes bytes on, both ways, as badly as a test wants it::

        async with Relay("http://127.0.0.1:8888/clock", piece=1) as relay:
            async with listen(relay.url) as it:
                await it.next()
                relay.freeze()  # a pulled cable: nothing passes, and nobody is told

    :arg str url: where to. Only its host and port matter here; TLS passes as it is.
    :arg int piece: how many bytes are passed on at a time, so that everything is cut everywhere; None for as
        they come.
    :arg float delay: seconds before each piece.
    """

    def __init__(self, url: str, *, piece: int | None = None, delay: float = 0.0) -> None:
        self._parts = urlsplit(url)
        self._piece = piece
        self._delay = delay
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        #: The URL to use instead (str).
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = urlunsplit(self._parts._replace(netloc=f"127.0.0.1:{port}"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        if self._pumps:
            await asyncio.wait(self._pumps)

    def freeze(self) -> None:
        """Pass nothing on, and close nothing, until `thaw`: both sides see a silent peer."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Pass on again, beginning with what was held."""
        self._flowing.set()

    def cut(self) -> None:
        """Reset all connections, on both sides. New ones are passed on."""
        for writer in self._writers:
            _reset(writer)
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        port = self._parts.port or (443 if self._parts.scheme == "https" else 80)
        try:
            there, back = await asyncio.open_connection(self._parts.hostname, port)
        except OSError:
            _reset(writer)
            self._pumps.discard(task)
            return
        pair = {writer, back}
        self._writers |= pair
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        finally:
            self._writers -= pair
            self._pumps.discard(task)
            for each in pair:
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                size = self._piece or len(data)
                for start in range(0, len(data), size):
                    await asyncio.sleep(self._delay)
                    await self._flowing.wait()
                    writer.write(data[start : start + size])
                    await writer.drain()
            await self._flowing.wait()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection so that the peer gets a reset."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() != -1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_AT_ONCE)
    writer.transport.abort()
