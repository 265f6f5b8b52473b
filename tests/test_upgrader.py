from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.tcpserver import TCPServer

import tornado_sse
from tests.support import Connection, Logs, until
from tornado_sse import Reason, SettingError, UpgradeError

pytestmark = pytest.mark.gen_test


class Server(TCPServer):
    """A server of one's own, with nothing of HTTPServer in it."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options
        self.refusals: list[str] = []
        self.streams: list[tornado_sse.Stream] = []

    async def handle_stream(self, stream: IOStream, address: object) -> None:
        try:
            async with await tornado_sse.upgrade(stream, **self.options) as events:
                self.streams.append(events)
                assert events.request is not None
                await events.write({"path": events.request.path, "body": events.request.body.decode()}, id=1)
                await events.write(events.last_event_id)
        except UpgradeError as error:
            self.refusals.append(str(error))


Start = Callable[..., tuple[Server, Callable[[], Any]]]


@pytest.fixture
def start(io_loop: IOLoop) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> tuple[Server, Callable[[], Any]]:
            server = Server(**options)
            (listener,) = bind_sockets(0, "127.0.0.1")
            server.add_socket(listener)
            stack.callback(server.stop)

            async def connect() -> Connection:
                connection = await Connection.open(*listener.getsockname())
                stack.callback(connection.close)
                return connection

            return server, connect

        yield start


async def test_a_stream_over_any_iostream(start: Start) -> None:
    server, connect = start(headers={"X-Mine": "1"}, keepalive=5)
    it = await (await connect()).request("/where?a=b", headers=[("Last-Event-ID", "…".encode())])
    assert (it.status, it.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert (it.headers["X-Mine"], it.headers["Connection"], it.chunked) == ("1", "close", True)
    assert (
        await it.rest()
        == 'id: 1\ncodec: json\ndata: {"path":"/where","body":""}\n\ncodec: json\ndata: "…"\n\n'.encode()
    )
    assert it.complete
    assert server.streams[0].reason is Reason.CLOSED
    assert server.streams[0].description == "GET /where?a from 127.0.0.1"


async def test_http_1_0_and_a_post_with_a_body(start: Start) -> None:
    _, connect = start(methods=("POST",))
    it = await (await connect()).request(
        "/x", method="POST", version="1.0", headers=[("Connection", "keep-alive")], body=b"prompt"
    )
    assert (it.chunked, it.headers["Connection"]) == (False, "close")
    assert (await it.event()).data == '{"path":"/x","body":"prompt"}'


@pytest.mark.parametrize(
    ("request_options", "status", "refusal"),
    [
        ({"method": "DELETE"}, 405, "DELETE /x from 127.0.0.1 was answered 405 Method Not Allowed"),
        ({"headers": [("Accept", "text/html")]}, 406, "406 Not Acceptable"),
        ({"headers": [("Origin", "https://evil.example")]}, 403, "403 Forbidden"),
        ({"headers": [("Last-Event-ID", "9~final")]}, 204, "204 No Content"),
    ],
)
async def test_what_is_no_request_for_a_stream_is_answered_and_told(
    start: Start, request_options: dict[str, Any], status: int, refusal: str
) -> None:
    server, connect = start(allowed_origins=("https://app.example",))
    it = await (await connect()).request("/x", **request_options)
    assert it.status == status
    assert await it.reader.read() == b""
    await until(lambda: server.refusals)
    assert refusal in server.refusals[0]
    assert not server.streams


async def test_head_is_answered_with_the_head_alone(start: Start) -> None:
    server, connect = start()
    it = await (await connect()).request("/x", method="HEAD")
    assert (it.status, it.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert await it.reader.read() == b""
    await until(lambda: server.refusals)
    assert not server.streams


async def test_an_upgrade_that_is_given_up_closes_its_connection(io_loop: IOLoop) -> None:
    ours, peer = socket.socketpair()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await tornado_sse.upgrade(IOStream(ours))
    assert peer.recv(1) == b""
    peer.close()


async def test_what_is_no_http_at_all_is_told_too(start: Start, logs: Logs) -> None:
    server, connect = start()
    it = await connect()
    await it.send("what?\r\n\r\n")
    assert (await it.read_head()).status == 400
    await until(lambda: server.refusals)
    it = await connect()
    await it.send("GET / HTTP")
    it.close()
    await until(lambda: len(server.refusals) == 2)
    assert "no complete HTTP request" in server.refusals[0]
    assert "the client went away before its request was complete" in server.refusals[1]


async def test_a_client_that_does_not_wait_for_the_answer_is_told_of_without_a_traceback(
    start: Start,
) -> None:
    server, connect = start()
    for _ in range(5):
        it = await connect()
        await it.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        it.reset()
    await until(lambda: len(server.refusals) + len(server.streams) == 5)


async def test_a_client_that_sends_no_request_is_not_waited_for_long(start: Start) -> None:
    server, connect = start(request_timeout=0.1)
    it = await connect()
    assert await it.reader.read() == b""
    await until(lambda: server.refusals)
    it = await connect()
    await it.send("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
    assert await it.reader.read() == b""
    await until(lambda: len(server.refusals) == 2)


async def test_a_request_has_a_size(start: Start, logs: Logs) -> None:
    server, connect = start(max_request_size=1000)
    it = await connect()
    await it.send(b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\n\r\n")
    await until(lambda: server.refusals)
    it = await connect()
    await it.send("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
    await until(lambda: len(server.refusals) == 2)
    assert not server.streams


async def test_settings_are_checked_before_anything_is_read(io_loop: IOLoop) -> None:
    with pytest.raises(SettingError, match="sse_keepalive must"):
        await tornado_sse.upgrade(None, keepalive=-1)  # type: ignore[arg-type]


async def test_a_client_that_goes_ends_the_block(start: Start) -> None:
    class Endless(Server):
        async def handle_stream(self, stream: IOStream, address: object) -> None:
            async with await tornado_sse.upgrade(stream) as events:
                self.streams.append(events)
                with pytest.raises(tornado_sse.StreamClosedError):
                    while True:
                        await events.write(1)
                        await asyncio.sleep(0)

    server = Endless()
    (listener,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(listener)
    it = await (await Connection.open(*listener.getsockname())).request("/")
    it.reset()
    await until(lambda: server.streams[0].ended)
    assert server.streams[0].reason is Reason.DISCONNECTED
    server.stop()
