"""What tests share: a client that sees every byte, logs, conditions with a deadline, a clock of our own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Self, TypeVar

import tornado_sse
from tornado_sse import Event, EventParser

T = TypeVar("T")

#: The one unit of all deadlines, in seconds. A slow machine sets TORNADO_SSE_TEST_SCALE.
SECOND = float(os.environ.get("TORNADO_SSE_TEST_SCALE", "1"))

#: How long a test waits for what should happen at once.
DEADLINE = 10 * SECOND


async def until(condition: Callable[[], object], deadline: float = DEADLINE) -> None:
    """Wait for a condition; fail when the deadline passes."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"not within {deadline} s: {condition}"
        await asyncio.sleep(0.005)


async def within(awaitable: Awaitable[T], deadline: float = DEADLINE) -> T:
    """Await something for so many seconds at the most.

    Not asyncio.wait_for(): before Python 3.12 it loses a cancellation that comes when the awaited is done, so
    that a task which is cancelled while it reads goes on for ever.
    """
    async with asyncio.timeout(deadline):
        return await awaitable


@contextlib.contextmanager
def reserved_address() -> Iterator[tuple[str, int]]:
    """Keep an address for servers that come and go; they bind it with SO_REUSEADDR and SO_REUSEPORT.

    Somebody has to: the kernel gives a port that nobody holds to whoever connects, and one that connects to
    the very port it was given is connected to itself.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()


class Logs(logging.Handler):
    """Collects log records; a test claims those it expects."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def messages(self, logger: str = "tornado_sse") -> list[str]:
        """Return what a logger has said so far."""
        return [record.getMessage() for record in self.records if record.name == logger]

    def claim(self, pattern: str, *, count: int = 1) -> list[logging.LogRecord]:
        """Expect exactly so many records that match; they do not count as stray."""
        claimed = [record for record in self.records if re.search(pattern, record.getMessage(), re.DOTALL)]
        assert len(claimed) == count, (pattern, [record.getMessage() for record in self.records])
        self.records = [record for record in self.records if record not in claimed]
        return claimed


class Connection:
    """One connection to a server, byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        #: What the client takes the server's name for.
        self.host = "test"
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete: bool | None = None
        self._parser = EventParser()
        self._events: list[Event] = []

    @classmethod
    async def open(cls, host: str, port: int, **options: Any) -> Self:
        return cls(*await asyncio.open_connection(host, port, **options))

    async def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def request(
        self,
        path: str,
        *,
        method: str = "GET",
        version: str = "1.1",
        headers: Iterable[tuple[str, str | bytes]] = (),
        body: bytes = b"",
    ) -> Self:
        """Send a request and read the head of the response."""
        lines = [f"{method} {path} HTTP/{version}".encode(), b"Host: " + self.host.encode()]
        lines += [
            name.encode() + b": " + (value.encode() if isinstance(value, str) else value)
            for name, value in headers
        ]
        if body:
            lines.append(b"Content-Length: %d" % len(body))
        await self.send(b"\r\n".join([*lines, b"", body]))
        return await self.read_head()

    async def read_head(self) -> Self:
        head = await within(self.reader.readuntil(b"\r\n\r\n"))
        status, *fields = head.decode("latin-1").split("\r\n")[:-2]
        self.status = int(status.split()[1])
        self.headers = {}
        for field in fields:
            name, _, value = field.partition(": ")
            name = name.title()  # some proxies write it in small letters, as HTTP/2 does
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        return self

    @property
    def chunked(self) -> bool:
        return self.headers.get("Transfer-Encoding") == "chunked"

    async def read_some(self) -> bytes:
        """Return the next piece of the body as it was framed; b"" at its end (see `complete`)."""
        try:
            if not self.chunked:
                piece = await self.reader.read(65536)
                self.complete = None if piece else True
            else:
                size = int(await self.reader.readuntil(b"\r\n"), 16)
                piece = (await self.reader.readexactly(size + 2))[:-2]
                if not size:
                    self.complete = True
        except (asyncio.IncompleteReadError, ConnectionError):
            self.complete = False
            return b""
        self.body += piece
        return piece

    async def event(self) -> Event:
        """Return the next event."""
        while not self._events:
            piece = await within(self.read_some())
            assert piece, f"the stream ended instead; so far: {self.body!r}"
            self._events += self._parser.feed(piece)
        return self._events.pop(0)

    async def events(self, count: int) -> list[Event]:
        return [await self.event() for _ in range(count)]

    async def rest(self) -> bytes:
        """Read to the end of the body; return all of it. `complete` says how it ended."""
        while await within(self.read_some()):
            pass
        return self.body

    def reset(self) -> None:
        """Vanish without a word: the peer gets a reset."""
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


Connect = Callable[[], Awaitable[Connection]]


def short(value: object) -> str:
    """Return the beginning of a value's repr, the same in each process: an id for a parametrized test."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))[:40]


class VirtualLoop:
    """An event loop's clock and timers, without the waiting. Time passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[VirtualTimer] = []

    def time(self) -> float:
        return self.now

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: object = None
    ) -> VirtualTimer:
        timer = VirtualTimer(self, when, lambda: callback(*args))
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass, calling what falls due at its time."""
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.when <= end]:
            timer = min(due, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = max(self.now, timer.when)
            timer.callback()
        self.now = end


class VirtualTimer:
    def __init__(self, loop: VirtualLoop, when: float, callback: Callable[[], object]) -> None:
        self.loop = loop
        self.when = when
        self.callback = callback

    def cancel(self) -> None:
        if self in self.loop.timers:
            self.loop.timers.remove(self)


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Yield every way a test cuts bytes: whole, byte by byte, in two at every place, with empty pieces."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]
    yield [b"", data, b""]


def parse(pieces: Iterable[bytes], parser: EventParser | None = None) -> list[Event]:
    """Return all the events in some pieces of a stream."""
    parser = parser or EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


class Recorder(tornado_sse.SSEHandler):
    """A handler that notes what happens to it, in the order in which it happens."""

    notes: list[str]
    handlers: list[Recorder]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.notes = []
        cls.handlers = []

    def initialize(self) -> None:
        self.handlers.append(self)

    async def open(self, *args: str) -> None:
        self.notes.append("open")
        try:
            await self.body(*args)
        except BaseException as error:
            self.notes.append(type(error).__name__)
            raise
        else:
            self.notes.append("returned")

    async def body(self, *args: str) -> None:
        """Override instead of open()."""

    def on_close(self) -> None:
        self.notes.append(f"on_close {getattr(self.stream, 'reason', None)}")
