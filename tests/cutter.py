"""A network that fails when a test says so: a proxy that forwards bytes, or does not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

__all__ = ["Cutter"]


class Cutter:
    """Forwards whatever comes to its port to a server, until it is told otherwise.

    ::

        async with Cutter(host, port) as cutter:
            connect(cutter.host, cutter.port)
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._going = asyncio.Event()
        self._going.set()
        #: Whether new connections are reset at once.
        self.refusing = False
        self.host, self.port = "127.0.0.1", 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *args: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = [connection.task for connection in self._connections]
        self.cut()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    def cut(self) -> None:
        """Reset all connections, and new ones too, until `heal`."""
        self.refusing = True
        for connection in self._connections:
            connection.task.cancel()

    def hold(self) -> None:
        """Forward nothing, on any connection, until `heal`."""
        self._going.clear()

    def freeze(self) -> None:
        """Forward nothing on the connections there are, ever, and tell nobody; new ones are as before."""
        for connection in self._connections:
            connection.going = connection.answering = asyncio.Event()

    def mute(self) -> None:
        """Forward no answers on the connections there are, ever, and tell nobody."""
        for connection in self._connections:
            connection.answering = asyncio.Event()

    def heal(self) -> None:
        """Be a network again."""
        self.refusing = False
        self._going.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(task, self._going, self._going)
        self._connections.add(connection)
        far: asyncio.StreamWriter | None = None
        try:
            if not self.refusing:
                far_reader, far = await self._connect()
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pump(reader, far, lambda: connection.going))
                    group.create_task(_pump(far_reader, writer, lambda: connection.answering))
        except* (OSError, asyncio.CancelledError):
            pass  # nobody is there, or somebody has gone, or it is cut: whoever is left is told by a reset
        finally:
            self._connections.discard(connection)
            for each in (writer, far):
                if each is not None:
                    each.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket()
        sock.setblocking(False)
        # Little room, so that a server feels it when nothing is forwarded.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self._target)
        except BaseException:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock)


@dataclass(eq=False)
class _Connection:
    task: asyncio.Task[None]
    going: asyncio.Event
    answering: asyncio.Event


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, going: Callable[[], asyncio.Event]
) -> None:
    while data := await reader.read(65536):
        while not going().is_set():
            await going().wait()
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError
