"""One request and its answer, on a connection of its own.

Tornado's `.TCPClient` makes the connection, its `.HTTP1Connection` writes the request and reads the head of
the response; then the connection is detached, as for a WebSocket, and the body is read here (see
`tornado_sse.framing` for why). Nothing is read that nobody has asked for: `Exchange.read` returns a bounded
piece, and as long as it is not called the kernel's buffers fill, and the server waits.

A response that is no event stream is not read further than its first few bytes, which go into the error.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import socket
import ssl
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine
from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError
from tornado.netutil import Resolver
from tornado.tcpclient import TCPClient

from tornado_sse.errors import ConnectionFailedError, ResponseError, SettingError
from tornado_sse.framing import Framing, framing_of
from tornado_sse.inflating import SIZE, Inflater
from tornado_sse.request import REDIRECTS, Request

__all__ = ["Answer", "Exchange", "Limits"]

# How many bytes of an answer that is no event stream are kept for the error, and how long they may take, in
# seconds.
_EXCERPT: Final = 1000
_EXCERPT_TIMEOUT: Final = 1.0

# How many characters of what a server says go into a sentence.
_LONGEST: Final = 100

# What IOStream may hold at once. It reads by pieces of 64 KiB, so this is never reached by way of a body.
_READ_BUFFER: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What an exchange may take. Checked when it is built.

    :arg float connect_timeout: seconds until the connection stands, TLS included.
    :arg float read_timeout: seconds for the head of the response, and of silence after it; None for any.
    :arg int max_header_size: bytes.

    :raises SettingError: if one makes no sense.
    """

    connect_timeout: float = 10.0
    read_timeout: float | None = 90.0
    max_header_size: int = 64 * 1024

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "read_timeout", "max_header_size"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SettingError(name, f"must be more than nothing, not {value!r}")


@dataclass(slots=True)
class Answer:
    """A response; if it is no event stream, with the ``problem`` and the beginning of its ``body``."""

    status: int
    headers: HTTPHeaders
    problem: str
    body: bytes = b""

    def error(self, url: str) -> ResponseError:
        """Return what there is to raise if it is no event stream."""
        content_type = self.headers.get("Content-Type")
        return ResponseError(
            url, self.status, content_type, self.problem, self.body.decode("utf-8", "replace")
        )


class Exchange:
    """A request, a connection, a response::

        async with Exchange(request, limits) as exchange:
            answer = await exchange.open()
            while not answer.problem and (data := await exchange.read()):
                ...

    Leaving the block, or `close`, closes the socket at once.

    :arg str last_event_id: where to resume from.
    :arg ssl_options: for https; None verifies against the system's authorities.
    :arg bool compression: whether to ask for gzip. Decoded it is in any case.
    """

    def __init__(
        self,
        request: Request,
        limits: Limits,
        *,
        last_event_id: str = "",
        ssl_options: ssl.SSLContext | dict[str, Any] | None = None,
        compression: bool = False,
        resolver: Resolver | None = None,
    ) -> None:
        self.request = request
        self._limits = limits
        self._last_event_id = last_event_id
        self._ssl_options = ssl_options
        self._compression = compression
        self._resolver = resolver
        #: The connection, once there is one.
        self.iostream: IOStream | None = None
        self._framing: Framing | None = None
        self._inflater: Inflater | None = None
        self._pieces: Iterator[bytes] = iter(())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket at once."""
        if self.iostream is not None:
            self.iostream.close()

    async def open(self) -> Answer:
        """Connect, ask, and return the head of the answer.

        :raises ConnectionFailedError: if there is none.
        """
        await self._connect()
        try:
            async with asyncio.timeout(self._limits.read_timeout):
                answer = await self._ask()
        except TimeoutError:
            raise self._failure(f"not answered for {self._limits.read_timeout:g} seconds") from None
        if answer.problem and answer.status != 204 and answer.status not in REDIRECTS:
            try:
                async with asyncio.timeout(_EXCERPT_TIMEOUT):
                    while len(answer.body) < _EXCERPT and (data := await self.read()):
                        answer.body = (answer.body + data)[:_EXCERPT]
            except (TimeoutError, ConnectionFailedError):
                pass  # what there is has to do
        return answer

    async def read(self) -> bytes:
        """Return the next piece of the body, of `.inflating.SIZE` bytes at the most, or nothing at its end.

        :raises ConnectionFailedError: if it breaks off, is damaged, or silent for too long.
        """
        assert self._framing is not None
        try:
            while True:
                for piece in self._pieces:
                    # Much may come from little: others must have their turn, even if nothing comes of it.
                    await asyncio.sleep(0)
                    return piece
                if self._framing.complete:
                    break
                data = await self._read_some()
                if data is None:
                    break
                body = self._framing.feed(data)
                if self._inflater is not None:
                    self._pieces = self._inflater.pieces(body)
                elif body:
                    return body
        except (ValueError, zlib.error) as error:
            raise self._failure(f"the stream is damaged: {error}") from error
        if self._inflater is not None and not self._inflater.complete:
            raise self._failure("the compressed stream ends in the middle")
        return b""

    async def _read_some(self) -> bytes | None:
        """Return what has arrived, or None if the connection has ended where it may."""
        assert self.iostream is not None
        assert self._framing is not None
        try:
            async with asyncio.timeout(self._limits.read_timeout):
                return await self.iostream.read_bytes(SIZE, partial=True)
        except TimeoutError:
            raise self._failure(f"silent for {self._limits.read_timeout:g} seconds") from None
        except OSError as error:
            cause = _cause(error)
            if cause is error and self._framing.may_close:
                return None
            raise self._broken(cause) from cause

    async def _connect(self) -> None:
        client = TCPClient(self._resolver)
        scheme, host, port = self.request.origin
        options = None
        if scheme == "https":
            options = _system_authorities() if self._ssl_options is None else self._ssl_options
        try:
            self.iostream = await client.connect(
                host,
                port,
                ssl_options=options,
                max_buffer_size=_READ_BUFFER,
                timeout=datetime.timedelta(seconds=self._limits.connect_timeout),
            )
        except OSError as error:
            cause = _cause(error)
            raise self._failure(f"no connection: {_words(cause)}") from cause
        finally:
            client.close()
        # A peer that has vanished is found out by the kernel, if not by the timeout.
        self.iostream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    async def _ask(self) -> Answer:
        """Send the request and read the head of the response."""
        assert self.iostream is not None
        params = HTTP1ConnectionParameters(no_keep_alive=True, max_header_size=self._limits.max_header_size)
        connection = HTTP1Connection(self.iostream, is_client=True, params=params)
        request = self.request
        headers = HTTPHeaders({"Host": request.host, "Accept": "text/event-stream"})
        headers["Cache-Control"] = "no-cache"
        headers["User-Agent"] = "tornado-sse"
        for name in request.headers:
            headers[name] = request.headers[name]
        headers["Accept-Encoding"] = "gzip" if self._compression else "identity"
        if self._last_event_id:
            # "encoded as UTF-8" (HTML, section 9.2.4), where Tornado writes latin-1.
            headers["Last-Event-ID"] = self._last_event_id.encode().decode("latin-1")
        if request.body is not None or request.method != "GET":
            headers["Content-Length"] = str(len(request.body or b""))
        connection.write_headers(RequestStartLine(request.method, request.target, ""), headers, request.body)
        # Not connection.finish(): it would come back when all is written, and find nothing.
        self.iostream.set_nodelay(True)
        head = _Head(connection)
        try:
            await connection.read_response(head)
        except OSError as error:
            cause = _cause(error)
            if isinstance(cause, UnsatisfiableReadError):
                limit = self._limits.max_header_size
                raise self._failure(f"the head of the response is longer than {limit:,} bytes") from error
            raise self._broken(cause) from cause
        if head.start_line is None:
            raise self._failure("the response is not HTTP; the logger tornado.general says why")
        answer = Answer(head.start_line.code, head.headers, _problem(head.start_line, head.headers))
        try:
            self._framing = framing_of(head.headers)
        except ValueError as error:
            raise self._failure(f"the response is damaged: {error}") from None
        if not answer.problem and _encoding(head.headers) != "identity":
            self._inflater = Inflater()
        return answer

    def _broken(self, cause: BaseException) -> ConnectionFailedError:
        if isinstance(cause, StreamClosedError):
            return self._failure("the connection was closed in the middle of the response")
        return self._failure(f"the connection broke off: {_words(cause)}")

    def _failure(self, reason: str) -> ConnectionFailedError:
        return ConnectionFailedError(self.request.url, reason)


class _Head(HTTPMessageDelegate):
    """Takes the head of a response, and the connection out of its HTTP."""

    def __init__(self, connection: HTTP1Connection) -> None:
        self._connection = connection
        self.start_line: ResponseStartLine | None = None
        self.headers = HTTPHeaders()

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        assert isinstance(start_line, ResponseStartLine)
        if start_line.code >= 200:
            self.start_line = start_line
            self.headers = headers
            self._connection.detach()


@functools.cache
def _system_authorities() -> ssl.SSLContext:
    # Once: it reads a file of some hundred certificates, and meanwhile the event loop stands still.
    return ssl.create_default_context()


def _problem(start_line: ResponseStartLine, headers: HTTPHeaders) -> str:
    """Return why a response is no event stream that can be read; nothing if it is one."""
    if start_line.code != 200:
        phrase = start_line.reason or ""
        if not phrase or not phrase.isprintable():
            phrase = HTTPStatus(start_line.code).phrase if start_line.code in {*HTTPStatus} else ""
        return f"answered {start_line.code} {phrase[:_LONGEST]}".rstrip()
    # The charset, and whatever else follows, is not looked at: an event stream is UTF-8 (HTML, section
    # 9.2.6).
    content_type = headers.get("Content-Type", "")
    if content_type.partition(";")[0].strip().lower() != "text/event-stream":
        return f"is of type {content_type[:_LONGEST]!r}, not 'text/event-stream'"
    if _encoding(headers) not in ("identity", "gzip", "x-gzip"):
        return f"is encoded as {_encoding(headers)[:_LONGEST]!r}, which was not asked for"
    return ""


def _encoding(headers: HTTPHeaders) -> str:
    return headers.get("Content-Encoding", "").strip().lower() or "identity"


def _cause(error: OSError) -> BaseException:
    """Return what lies behind an IOStream's error."""
    return getattr(error, "real_error", None) or error


def _words(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
