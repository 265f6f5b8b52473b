"""A connection that can be cut: what lies between a browser and a server, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Self

from tests.support import SECOND


class Cable:
    """Carries what is sent to its own port to another one, and back.

    :arg int port: where the server listens.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._whole = True
        self._ends: set[asyncio.StreamWriter] = set()
        self._connections = 0
        self._listening: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="cable")
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._listening.result(10 * SECOND)}/"

    def cut(self) -> None:
        """Reset all connections, and every new one."""
        self._call(self._cut)

    def mend(self) -> None:
        """Carry again."""
        self._whole = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._call(self._over.set)
        self._thread.join(10 * SECOND)

    def _call(self, function: object) -> None:
        done: Future[None] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(function()))  # type: ignore[operator]
        done.result(10 * SECOND)

    def _cut(self) -> None:
        self._whole = False
        for end in self._ends:
            end.transport.abort()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self._listening.set_result(server.sockets[0].getsockname()[1])
        await self._over.wait()
        server.close()
        while self._connections:
            self._cut()
            await asyncio.sleep(0.005)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        ends = [writer]
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            ends.append(back)
            self._ends.update(ends)
            if self._whole:
                await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
        except OSError:
            pass  # one end has gone, and the other goes too
        finally:
            for end in ends:
                self._ends.discard(end)
                end.transport.abort()
            self._connections -= 1

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
