"""Servers of event streams that are right but for one thing, and what a probe must find in each.

`Right` is written by hand, since ours can't be made to do any of this. Its events are a log that grows with
time, so that each connection is told of the same ones.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from tests.scripted import Asked, Scripted
from tests.support import within

__all__ = ["FAULTS", "PACE", "Right", "broken"]

#: Seconds from an event to the next.
PACE = 0.1


class Right:
    """A server with nothing wrong. A fault overrides what it is about."""

    status = "200 OK"
    fields: ClassVar[dict[str, str]] = {}
    retry = "2000"
    prefix = b""

    def __init__(self) -> None:
        self.begun = time.monotonic()

    async def answer(self, asked: Asked, version: str, writer: asyncio.StreamWriter) -> None:
        fields = self.head(asked, version)
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in fields.items() if value)]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if asked.method == "HEAD":
            return
        async for piece in self.sent(asked):
            chunked = fields.get("Transfer-Encoding")
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
        if fields.get("Transfer-Encoding"):
            writer.write(b"0\r\n\r\n")
        await writer.drain()

    def head(self, asked: Asked, version: str) -> dict[str, str]:
        return {
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-cache, no-transform",
            "X-Accel-Buffering": "no",
            "Connection": "close",
            "Transfer-Encoding": "chunked" if version == "HTTP/1.1" else "",
            **self.fields,
        }

    async def sent(self, asked: Asked) -> AsyncIterator[bytes]:
        yield self.prefix + f"id: {self.begin(asked) - 1}\nretry: {self.retry}\n\n".encode()
        async for piece in self.body(asked):
            yield piece

    async def body(self, asked: Asked) -> AsyncIterator[bytes]:
        number = self.begin(asked)
        while True:
            await asyncio.sleep(max(0, self.begun + number * PACE - time.monotonic()))
            yield self.event(number)
            number += 1

    def begin(self, asked: Asked) -> int:
        """Return the number of the first event."""
        last = asked.headers.get("Last-Event-ID", "")
        return int(last) + 1 if last.isdigit() else int((time.monotonic() - self.begun) / PACE) + 1

    def event(self, number: int) -> bytes:
        return f"id: {number}\ndata: event {number}\n\n".encode()


class _Server(Scripted):
    """Has each connection answered by what is broken."""

    def __init__(self, right: Right) -> None:
        super().__init__(b"")
        self._right = right

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await within(reader.readuntil(b"\r\n\r\n"))).decode("latin-1").split("\r\n")
        method, target, version = head[0].split(" ")
        fields = (line.partition(": ") for line in head[1:] if line)
        asked = Asked(method, target, {name: value for name, _, value in fields}, b"")
        # Until it has been answered, or the client is gone.
        tasks = [
            asyncio.ensure_future(self._right.answer(asked, version, writer)),
            asyncio.ensure_future(reader.read()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def broken(right: Right) -> AsyncIterator[str]:
    """Run a server; return its URL."""
    server = _Server(right)
    async with server.running():
        yield server.url


class NotFound(Right):
    status = "404 Not Found"


class Finished(Right):
    status = "204 No Content"
    fields: ClassVar = {"Transfer-Encoding": ""}

    async def sent(self, asked: Asked) -> AsyncIterator[bytes]:
        return
        yield


class FinishedWithBody(Right):
    status = "204 No Content"


class Mute(Right):
    async def answer(self, asked: Asked, version: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()


class NoHTTP(Right):
    async def answer(self, asked: Asked, version: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")


class PlainText(Right):
    fields: ClassVar = {"Content-Type": "text/plain"}


class NoType(Right):
    fields: ClassVar = {"Content-Type": ""}


class Latin(Right):
    fields: ClassVar = {"Content-Type": "text/event-stream; charset=iso-8859-1"}


class Cacheable(Right):
    fields: ClassVar = {"Cache-Control": "max-age=60"}


class Transformable(Right):
    fields: ClassVar = {"Cache-Control": "no-cache"}


class Unmarked(Right):
    fields: ClassVar = {"X-Accel-Buffering": ""}


class AsksToBuffer(Right):
    fields: ClassVar = {"X-Accel-Buffering": "yes"}


class WithLength(Right):
    fields: ClassVar = {"Content-Length": "100000", "Transfer-Encoding": ""}


class BadChunk(Right):
    async def answer(self, asked: Asked, version: str, writer: asyncio.StreamWriter) -> None:
        await super().answer(asked, version, _Raw(writer))  # type: ignore[arg-type]


class _Raw:
    """A connection on which chunks are not framed."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def write(self, data: bytes) -> None:
        self._writer.write(data if data.startswith(b"HTTP") else data.partition(b"\r\n")[2])

    async def drain(self) -> None:
        await self._writer.drain()


class Dies(Right):
    async def answer(self, asked: Asked, version: str, writer: asyncio.StreamWriter) -> None:
        self.begun -= 1
        async with asyncio.timeout(3 * PACE):
            await super().answer(asked, version, writer)


class Unsplit(Right):
    def event(self, number: int) -> bytes:
        return f'id: {number}\ndata: {{"a":\n{number}}}\n\n'.encode()


class Capitals(Right):
    def event(self, number: int) -> bytes:
        return f"ID: {number}\ndata: event {number}\n\n".encode()


class Injected(Right):
    def event(self, number: int) -> bytes:
        return f"id: {number}\nevent: chat\nevent: admin\ndata: event {number}\n\n".encode()


class LatinData(Right):
    def event(self, number: int) -> bytes:
        return f"id: {number}\ndata: \xe9v\xe9nement {number}\n\n".encode("latin-1")


class OneLineEnd(Right):
    def event(self, number: int) -> bytes:
        return f"id: {number}\ndata: event {number}\n".encode()


class Nul(Right):
    def event(self, number: int) -> bytes:
        return f"id: {number}\0\ndata: event {number}\n\n".encode()


class OneID(Right):
    def event(self, number: int) -> bytes:
        return f"id: 0\ndata: event {number}\n\n".encode()


class RetryInWords(Right):
    retry = "2s"


class RetryInYears(Right):
    retry = "31536000000"


class RetryInSeconds(Right):
    retry = "3"


class RetryAlone(Right):
    prefix = b"retry: 2000\n\n"


class BOM(Right):
    prefix = b"\xef\xbb\xbf"


class CommentBlock(Right):
    prefix = b": hello\n\n"


class SlowHead(Right):
    async def answer(self, asked: Asked, version: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.6)
        await super().answer(asked, version, writer)


class AllAtEnd(Right):
    async def sent(self, asked: Asked) -> AsyncIterator[bytes]:
        collected = []
        async for piece in super().sent(asked):
            collected.append(piece)
            if len(collected) == 7:
                break
        yield b"".join(collected)


class Blocks(Right):
    """Collects until there is a block of so many bytes, as many a proxy does."""

    size = 100

    async def sent(self, asked: Asked) -> AsyncIterator[bytes]:
        collected = b""
        async for piece in super().sent(asked):
            collected += piece
            while len(collected) >= self.size:
                yield collected[: self.size]
                collected = collected[self.size :]


class BlocksOfOne(Right):
    """Collects whole events, on the way to some."""

    async def sent(self, asked: Asked) -> AsyncIterator[bytes]:
        size = 1 if "gzip" in asked.headers["Accept-Encoding"] else 5
        collected: list[bytes] = []
        async for piece in super().sent(asked):
            collected.append(piece)
            if len(collected) == size:
                yield b"".join(collected)
                collected.clear()


class Silent(Right):
    async def body(self, asked: Asked) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""


class Compressing(Right):
    """Compresses for who asks for it."""

    encoding = "gzip"

    def head(self, asked: Asked, version: str) -> dict[str, str]:
        encoding = self.encoding if "gzip" in asked.headers["Accept-Encoding"] else ""
        return {**super().head(asked, version), "Content-Encoding": encoding, "Vary": "Accept-Encoding"}

    async def sent(self, asked: Asked) -> AsyncIterator[bytes]:
        compressor = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
        async for piece in super().sent(asked):
            if "gzip" not in asked.headers["Accept-Encoding"]:
                yield piece
            elif compressed := self.compress(compressor, piece):
                yield compressed

    def compress(self, compressor: zlib._Compress, piece: bytes) -> bytes:
        return compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH)


class Unflushed(Compressing):
    def compress(self, compressor: zlib._Compress, piece: bytes) -> bytes:
        return compressor.compress(piece)


class OtherEncoding(Compressing):
    encoding = "br"


class NoGzip(Compressing):
    def compress(self, compressor: zlib._Compress, piece: bytes) -> bytes:
        return piece


class UnaskedGzip(Right):
    fields: ClassVar = {"Content-Encoding": "gzip"}


class FromTheStart(Right):
    def begin(self, asked: Asked) -> int:
        return 1


class CountsAnew(Right):
    """Each connection has ids of its own."""

    async def body(self, asked: Asked) -> AsyncIterator[bytes]:
        begun = time.monotonic()
        for number in range(1, 1000):
            yield f"id: {number}\ndata: {begun + number}\n\n".encode()
            await asyncio.sleep(PACE)


class LiveOnly(Right):
    def begin(self, asked: Asked) -> int:
        return int((time.monotonic() - self.begun) / PACE) + 2


class NothingMore(Right):
    """Is silent to who comes back."""

    async def body(self, asked: Asked) -> AsyncIterator[bytes]:
        if "Last-Event-ID" in asked.headers:
            await asyncio.Event().wait()
        async for piece in super().body(asked):
            yield piece


class RefusesIDs(Right):
    async def answer(self, asked: Asked, version: str, writer: asyncio.StreamWriter) -> None:
        self.status = "400 Bad Request" if "Last-Event-ID" in asked.headers else "200 OK"
        await super().answer(asked, version, writer)


class Repeats(Right):
    async def sent(self, asked: Asked) -> AsyncIterator[bytes]:
        for number in (1, 2, 3):
            yield f"data: word {number}\n\n".encode()


class HeadWithBody(Right):
    async def answer(self, asked: Asked, version: str, writer: asyncio.StreamWriter) -> None:
        await super().answer(asked._replace(method="GET"), version, writer)


class HeadUnanswered(Right):
    async def answer(self, asked: Asked, version: str, writer: asyncio.StreamWriter) -> None:
        if asked.method == "HEAD":
            await asyncio.Event().wait()
        await super().answer(asked, version, writer)


class HeadOfAnotherType(Right):
    def head(self, asked: Asked, version: str) -> dict[str, str]:
        other = {"Content-Type": "text/html"} if asked.method == "HEAD" else {}
        return {**super().head(asked, version), **other}


class WantsTheType(Right):
    async def answer(self, asked: Asked, version: str, writer: asyncio.StreamWriter) -> None:
        accepted = asked.headers["Accept"] == "text/event-stream"
        self.status = "200 OK" if accepted else "406 Not Acceptable"
        await super().answer(asked, version, writer)


class AlwaysChunks(Right):
    fields: ClassVar = {"Transfer-Encoding": "chunked"}


class PromisesToStay(Right):
    fields: ClassVar = {"Connection": "keep-alive"}


class OpenToAll(Right):
    credentials = "true"

    def head(self, asked: Asked, version: str) -> dict[str, str]:
        origin = asked.headers.get("Origin", "")
        cors = {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": origin and self.credentials,
        }
        return {**super().head(asked, version), **cors}


class StarWithCredentials(Right):
    fields: ClassVar = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"}


class NoVary(OpenToAll):
    credentials = ""


#: What is wrong, and the findings by their codes; all of them.
FAULTS: dict[type[Right], tuple[str, ...]] = {
    NotFound: ("status",),
    Finished: ("status",),
    FinishedWithBody: ("status", "body-of-204"),
    Mute: ("no-answer",),
    NoHTTP: ("no-answer",),
    PlainText: ("content-type",),
    NoType: ("content-type",),
    Latin: ("charset",),
    Cacheable: ("cacheable",),
    Transformable: ("transformable",),
    Unmarked: ("proxy-buffering",),
    AsksToBuffer: ("proxy-buffering",),
    WithLength: ("content-length",),
    BadChunk: ("framing",),
    Dies: ("framing",),
    UnaskedGzip: ("unasked-encoding", "framing"),
    Unsplit: ("unknown-field",),
    Capitals: ("unknown-field",),
    Injected: ("repeated-field",),
    LatinData: ("not-utf8",),
    OneLineEnd: ("unfinished-event",),
    Nul: ("id-with-nul",),
    OneID: ("same-id",),
    RetryInWords: ("retry-ignored",),
    RetryInYears: ("retry-long",),
    RetryInSeconds: ("retry-short",),
    RetryAlone: ("retry-alone",),
    BOM: ("bom",),
    CommentBlock: ("comment-block",),
    SlowHead: ("slow-head",),
    AllAtEnd: ("all-at-end",),
    Blocks: ("cut-event",),
    BlocksOfOne: ("buffered",),
    Silent: ("silence",),
    Unflushed: ("compression",),
    OtherEncoding: ("compression",),
    NoGzip: ("compression",),
    FromTheStart: ("resume-double",),
    CountsAnew: ("resume-double",),
    LiveOnly: ("resume-hole",),
    NothingMore: ("resume-hole",),
    RefusesIDs: ("resume-refused",),
    Repeats: ("repetition",),
    HeadWithBody: ("head",),
    HeadUnanswered: ("head",),
    HeadOfAnotherType: ("head",),
    WantsTheType: ("accept",),
    AlwaysChunks: ("http10-chunked",),
    PromisesToStay: ("http10-keep-alive",),
    OpenToAll: ("cors-credentials",),
    StarWithCredentials: ("cors-credentials",),
    NoVary: ("cors-vary",),
}
