"""`Visit`: one request, sent as it is, and what comes back and when.

An `.Exchange` refuses what it should not read; a probe wants to know what there is instead. So this one takes
whatever has the shape of HTTP/1, and keeps what is wrong with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from tornado.httputil import HTTPHeaders, HTTPInputError, ResponseStartLine, parse_response_start_line
from tornado.iostream import IOStream, UnsatisfiableReadError
from tornado.tcpclient import TCPClient

from tornado_sse.errors import ConnectionFailedError, EventTooLargeError
from tornado_sse.framing import Framing, UntilClose, framing_of
from tornado_sse.inflating import Inflater
from tornado_sse.probe.transcript import Transcript
from tornado_sse.request import Request

__all__ = ["Visit"]

_MAX_HEAD: Final = 64 * 1024

# A stream that has sent so many bytes has shown what it is.
_MAX_BODY: Final = 4 * 1024 * 1024

_PIECE: Final = 64 * 1024


class Visit:
    """A request and what comes of it. It may be looked at while it runs.

    :arg Request request: where to go, and the headers that each visit has.
    :arg headers: those of this one.
    :arg ssl_options: for https.
    """

    def __init__(
        self,
        request: Request,
        *,
        ssl_options: ssl.SSLContext | dict[str, Any] | None = None,
        version: str = "1.1",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.request = request
        self._ssl_options = ssl_options
        self._version = version
        self._headers = headers or {}
        #: Why there was no answer, or nothing; if there was not even a connection, ``error`` says so too.
        self.failure = ""
        self.error: ConnectionFailedError | None = None
        #: What is wrong with the framing of the answer, or nothing.
        self.damage = ""
        self.start_line = ResponseStartLine("", 0, "")
        self.headers = HTTPHeaders()
        #: Seconds from the request to the end of the answer's head.
        self.answered = 0.0
        #: The body, decompressed; times are in seconds from the request.
        self.transcript = Transcript()
        #: Seconds from the request to the end of the body, and how it ended; None while it is open.
        self.ended: float | None = None
        self.complete = False
        #: For how many seconds it has been listened to.
        self.listened = 0.0
        self._changed = asyncio.Event()
        self._sent = asyncio.get_running_loop().time()

    @property
    def status(self) -> int:
        """The status of the answer; 0 as long as there is none."""
        return self.start_line.code

    @property
    def is_stream(self) -> bool:
        """Whether the answer is one that a standard client would read."""
        return self.status == 200 and self.content_type == "text/event-stream"

    @property
    def content_type(self) -> str:
        """The type of the body, without parameters, in small letters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def now(self) -> float:
        """Seconds from the request, or from before it."""
        return asyncio.get_running_loop().time() - self._sent

    def after(self, other: Visit) -> float:
        """Return by how many seconds this request was sent after another one."""
        return self._sent - other._sent

    async def changed(self, seconds: float) -> None:
        """Wait until something has happened, for so many seconds at the most."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def run(self, seconds: float, enough: Callable[[Visit], bool] = lambda visit: False) -> None:
        """Go there, and listen for so many seconds, or until it is enough. Whatever goes wrong is kept.

        :arg enough: asked whenever something has come.
        """
        stream = None
        try:
            stream = await self._connect(seconds)
            async with asyncio.timeout(seconds):
                await self._ask(stream)
                await self._listen(stream, enough)
        except ConnectionFailedError as error:
            self.error, self.failure = error, error.reason
        except TimeoutError:
            if not self.status:
                self.failure = self.failure or f"no answer for {seconds:g} s"
        finally:
            self.listened = self.now
            if stream is not None:
                stream.close()
            self._changed.set()

    async def _connect(self, seconds: float) -> IOStream:
        client = TCPClient()
        scheme, host, port = self.request.origin
        options = (self._ssl_options or ssl.create_default_context()) if scheme == "https" else None
        try:
            stream = await client.connect(
                host, port, ssl_options=options, timeout=datetime.timedelta(seconds=seconds)
            )
        except OSError as error:
            cause = getattr(error, "real_error", None) or error
            reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
            raise ConnectionFailedError(self.request.url, f"no connection: {reason}") from cause
        finally:
            client.close()
        stream.set_nodelay(True)
        return stream

    async def _ask(self, stream: IOStream) -> None:
        request = self.request
        headers = {
            "Host": request.host,
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "Cache-Control": "no-cache",
            "User-Agent": "tornado-sse",
            **request.headers,
            **self._headers,
        }
        lines = [f"{request.method} {request.target} HTTP/{self._version}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value]
        self._sent = asyncio.get_running_loop().time()
        try:
            # Ids are sent as UTF-8 (HTML, section 9.2.4), and what else there may be is ASCII.
            await stream.write("\r\n".join([*lines, "", ""]).encode())
            code = 100
            while 100 <= code < 200:
                head = await stream.read_until_regex(rb"\r?\n\r?\n", max_bytes=_MAX_HEAD)
                first, _, rest = head.decode("latin-1").lstrip().partition("\n")
                start_line = parse_response_start_line(first.rstrip("\r"))
                code = start_line.code
                self.headers = HTTPHeaders.parse(rest)
        except OSError as error:
            self.failure = "the connection was closed without an answer"
            if isinstance(getattr(error, "real_error", None), UnsatisfiableReadError):
                self.failure = f"the head of the answer is longer than {_MAX_HEAD:,} bytes"
        except (HTTPInputError, ValueError):
            self.failure = "the answer is no HTTP"
        else:
            self.start_line = start_line
            self.answered = self.now
        self._changed.set()

    async def _listen(self, stream: IOStream, enough: Callable[[Visit], bool]) -> None:
        if self.failure:
            return
        framing = self._framing()
        inflater = Inflater() if "gzip" in self.headers.get("Content-Encoding", "").lower() else None
        try:
            while not framing.complete and self.transcript.size < _MAX_BODY and not enough(self):
                data = framing.feed(await stream.read_bytes(_PIECE, partial=True))
                at = self.now
                for piece in inflater.pieces(data) if inflater else [data]:
                    if piece:
                        self.transcript.feed(at, piece)
                    if self.transcript.size >= _MAX_BODY:
                        break
                self._changed.set()
        except (ValueError, zlib.error, EventTooLargeError) as error:
            self.damage = str(error)
        except OSError:
            self.ended = self.now
            self.complete = framing.may_close
            if not self.complete:
                self.damage = "the connection ends in the middle of the body"
        else:
            if framing.complete:
                self.ended, self.complete = self.now, True

    def _framing(self) -> Framing:
        # What should have no body, or none in chunks, is read as it comes: that there is something is the
        # finding.
        if self.request.method == "HEAD" or self.status in (204, 304) or self._version == "1.0":
            return UntilClose()
        try:
            return framing_of(self.headers)
        except ValueError as error:
            self.damage = str(error)
            return UntilClose()
