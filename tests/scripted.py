"""A server that does as it is told, connection by connection, right or wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from tests.support import within

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

#: A head after which the body ends with the connection.
STREAM = HEAD + b"\r\n"

#: A head after which the body is in chunks.
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def redirect(location: str, status: int = 307) -> bytes:
    """Return an answer that sends a client elsewhere."""
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Scripted:
    """Each connection plays the next part: bytes to answer with, or a coroutine with the writer.

    The last part is played again and again.
    """

    def __init__(self, *parts: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.parts = [*parts]
        self.asked: list[Asked] = []
        self.open = 0
        self.port = 0
        self.scheme = "http"
        self.reads_body = True

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/"

    @asynccontextmanager
    async def running(self, port: int = 0, **options: Any) -> AsyncIterator[Scripted]:
        self.scheme = "https" if "ssl" in options else "http"
        self._tasks: set[asyncio.Task[Any]] = set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", port, **options)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await within(reader.readuntil(b"\r\n\r\n"))).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        fields = (line.partition(": ") for line in head[1:] if line)
        headers = {name: value for name, _, value in fields}
        length = int(headers.get("Content-Length", "0")) if self.reads_body else 0
        body = await within(reader.readexactly(length))
        self.asked.append(Asked(method, target, headers, body))
        part = self.parts.pop(0) if len(self.parts) > 1 else self.parts[0]
        if isinstance(part, bytes):
            writer.write(part)
            await writer.drain()
            return
        # Until it has been played, or the client is gone.
        tasks = [asyncio.ensure_future(part(writer)), asyncio.ensure_future(reader.read())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def then_wait(data: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    """Return a part that writes and keeps the connection open."""

    async def part(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await asyncio.Event().wait()

    return part


def endlessly(first: bytes, again: bytes, pause: float | None = None) -> Any:
    """Return a part that writes and writes."""

    async def part(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(again)
            await writer.drain()
            if pause is not None:
                await asyncio.sleep(pause)

    return part
