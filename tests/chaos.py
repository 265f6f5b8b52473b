"""Readers that are cut at any byte, stall, and come back: what exactly-once has to stand."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from typing import Any
from urllib.parse import quote

from tests.support import DEADLINE, Connection
from tornado_sse import Event, EventParser

__all__ = ["ChaoticReader", "Dechunker", "finish"]


class ChaoticReader:
    """Follows a URL's channels as an EventSource would, on a connection that is cut all the time.

    What it has of a stream is what it has read of it, to the byte: the rest is lost with the connection.
    """

    def __init__(self, address: tuple[str, int], path: str, rng: random.Random) -> None:
        self.address = address
        self.path = path
        self.rng = rng
        #: The types, ids and data of whole events, in the order of their arrival, over all connections.
        self.events: list[tuple[str | None, str | None, str]] = []
        #: The id of the first block of the first connection that got so far.
        self.first_id: str | None = None
        self.last_id = ""
        self.connections = 0
        #: When true, it is not cut any more.
        self.calm = False
        #: Whether the log may be out of reach, for which the server has a 503.
        self.patient = False
        self.by_query = rng.random() < 0.3

    async def run(self) -> None:
        """Read, be cut, come back; until cancelled."""
        while True:
            try:
                await self._read_once()
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await asyncio.sleep(0.01)  # nobody listens: a server that is being restarted

    async def _read_once(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        if self.rng.random() < 0.5:
            # Little room, so that the server feels a reader that pauses.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self.address)
            connection = Connection(*await asyncio.open_connection(sock=sock, limit=4096))
        except BaseException:
            sock.close()
            raise
        try:
            path, headers = self.path, []
            if self.last_id and self.by_query:
                path += f"{'&' if '?' in path else '?'}last_event_id={quote(self.last_id)}"
            elif self.last_id:
                headers.append(("Last-Event-ID", self.last_id))
            await connection.request(path, headers=headers)
            if connection.status == 503 and self.patient:
                raise ConnectionRefusedError
            assert connection.status == 200, connection.status
            self.connections += 1
            await self._follow(connection)
        finally:
            connection.reset()
            with contextlib.suppress(OSError):
                await connection.writer.wait_closed()

    async def _follow(self, connection: Connection) -> None:
        parser = EventParser(self.last_id)
        # Bytes of the body as it is on the wire, chunks' sizes included, until this connection is cut.
        left = self.rng.choice([0, 10, 40, 100, 1_000, 10_000, 100_000])
        dechunk = Dechunker()
        while self.calm or left > 0:
            data = await connection.reader.read(65536 if self.calm else min(left, self.rng.randint(1, 8192)))
            if not data:
                return
            left -= len(data)
            body = dechunk.feed(data)
            while self.first_id is None and body:
                # Line by line: what it is owed begins with the very first id.
                line, newline, body = body.partition(b"\n")
                self._keep(parser.feed(line + newline))
                self.first_id = parser.last_event_id or None
            self._keep(parser.feed(body))
            self.last_id = parser.last_event_id
            if not self.calm and self.rng.random() < 0.02:
                await asyncio.sleep(self.rng.random() * 0.1)

    def _keep(self, events: list[Event]) -> None:
        # As tuples, which the garbage collector need not look through: there are many.
        self.events += [(event.type, event.id, event.data) for event in events]


class Dechunker:
    """The data of a chunked body, as far as it has come."""

    def __init__(self) -> None:
        self.rest = b""
        self.left = 0
        self.trailer = 0

    def feed(self, data: bytes) -> bytes:
        out = []
        self.rest += data
        while self.rest:
            if self.left:
                piece, self.rest = self.rest[: self.left], self.rest[self.left :]
                self.left -= len(piece)
                out.append(piece)
                if not self.left:
                    self.trailer = 2
            elif self.trailer:
                cut = min(self.trailer, len(self.rest))
                self.rest = self.rest[cut:]
                self.trailer -= cut
            else:
                line, newline, rest = self.rest.partition(b"\r\n")
                if not newline:
                    break
                self.rest, self.left = rest, int(line, 16)
                if not self.left:
                    break
        return b"".join(out)


async def finish(readers: list[ChaoticReader], done: Any) -> None:
    """Let all readers come to the end of the log in peace: `done` says whether one has."""
    for reader in readers:
        reader.calm = True
    end = asyncio.get_running_loop().time() + 6 * DEADLINE
    while not all(map(done, readers)):
        assert asyncio.get_running_loop().time() < end, (
            f"{sum(map(done, readers))} of {len(readers)} readers are done"
        )
        await asyncio.sleep(0.02)
