"""An event stream on a connection of one's own, for servers that are no HTTPServer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, SSLIOStream

from tornado_sse.errors import StreamClosedError, UpgradeError
from tornado_sse.negotiation import allow, begin_head, describe, last_event_id, set_cors_headers, status_for
from tornado_sse.settings import Settings
from tornado_sse.stream import Stream

__all__ = ["upgrade"]


async def upgrade(
    iostream: IOStream,
    *,
    headers: dict[str, str] | None = None,
    request_timeout: float = 10.0,
    max_request_size: int = 64 * 1024,
    **settings: Any,
) -> Stream:
    """Read an HTTP request from a connection and answer it with an event stream::

        class Server(tornado.tcpserver.TCPServer):
            async def handle_stream(self, iostream, address):
                async with await tornado_sse.upgrade(iostream) as stream:
                    await stream.write({"path": stream.request.path})

    :arg iostream: a connection on which nothing has been read yet.
    :arg headers: more headers for the response.
    :arg float request_timeout: how long to wait for the request, in seconds.
    :arg int max_request_size: how many bytes its head and its body may each have.
    :arg settings: those of `tornado_sse.Settings`, by its names. ``max_streams`` is not looked at: how many
        connections there are is for the server to say.

    Returns the stream. Its head has been sent, its ``request`` is set, and the connection belongs to it.

    :raises UpgradeError: if there was no request for an event stream. What arrived whole has been answered
        (with 400, 403, 405, 406, 204 after ``finish()``, or to HEAD with the head alone), and the connection
        is closed.
    :raises SettingError: if a setting makes no sense; nothing has been read then.
    """
    answer = _Answer(headers or {}, Settings(**settings))
    connection = HTTP1Connection(
        iostream,
        is_client=False,
        params=HTTP1ConnectionParameters(
            no_keep_alive=True,
            header_timeout=request_timeout,
            body_timeout=request_timeout,
            max_header_size=max_request_size,
            max_body_size=max_request_size,
        ),
        context=_Peer(iostream),
    )
    answer.connection = connection
    try:
        await connection.read_response(answer)
    except OSError as error:
        raise UpgradeError(f"the client went away before its request was complete: {error}") from error
    except BaseException:
        iostream.close()
        raise
    if answer.stream is None:
        iostream.close()
        raise UpgradeError(answer.refusal)
    return answer.stream


class _Peer:
    """Who is at the other end; where `.HTTPServerRequest` looks for it."""

    def __init__(self, iostream: IOStream) -> None:
        self.protocol = "https" if isinstance(iostream, SSLIOStream) else "http"
        try:
            address = iostream.socket.getpeername()
        except (OSError, AttributeError):  # already gone
            address = ()
        # As HTTPServer has it for Unix sockets, whose peers have no address.
        self.remote_ip = address[0] if isinstance(address, tuple) and address else "0.0.0.0"


class _Answer(HTTPMessageDelegate):
    """Collects a request and answers it; Tornado's HTTP1Connection calls it."""

    connection: HTTP1Connection

    def __init__(self, headers: dict[str, str], settings: Settings) -> None:
        self.headers = HTTPHeaders(headers)
        self.settings = settings
        self.request: HTTPServerRequest | None = None
        self.stream: Stream | None = None
        self.refusal = "no complete HTTP request arrived"
        self.body = bytearray()

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        assert isinstance(start_line, RequestStartLine)
        self.request = HTTPServerRequest(connection=self.connection, start_line=start_line, headers=headers)

    def data_received(self, chunk: bytes) -> None:
        self.body += chunk

    def finish(self) -> None:
        request = self.request
        assert request is not None
        request.body = bytes(self.body)
        settings = self.settings
        status = status_for(request, settings.methods, settings.allowed_origins)
        if status < 400:
            set_cors_headers(self.headers, request, settings.allowed_origins)
        if status == 200 and request.method != "HEAD":
            self.stream = Stream(
                self._connect,
                settings=settings,
                last_event_id=last_event_id(request),
                description=describe(request),
            )
            self.stream.request = request
            try:
                self.stream.flush()
            except StreamClosedError:
                self.stream = None
                self.refusal = "the client went away before it was answered"
        else:
            self._refuse(status)

    def _refuse(self, status: int) -> None:
        assert self.request is not None
        reason = HTTPStatus(status).phrase
        self.refusal = f"{describe(self.request)} was answered {status} {reason}"
        if status == 405:
            self.headers["Allow"] = allow(self.settings.methods)
        if status == 200:
            begin_head(self.request, self.headers)
        elif status != 204:
            self.headers["Content-Length"] = "0"
        self.connection.write_headers(ResponseStartLine("HTTP/1.1", status, reason), self.headers)
        self.connection.finish()

    def _connect(self, first: bytes) -> tuple[IOStream, bool]:
        assert self.request is not None
        chunked = begin_head(self.request, self.headers)
        self.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), self.headers, first or None)
        return self.connection.detach(), chunked
