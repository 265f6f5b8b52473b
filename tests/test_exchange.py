from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from typing import Any

import pytest
import tornado

from tests.scripted import CHUNKED, HEAD, NO_CONTENT, STREAM, Scripted, endlessly, redirect, then_wait
from tests.support import Logs, until, within
from tornado_sse import ConnectionFailedError, SettingError
from tornado_sse.exchange import Answer, Exchange, Limits
from tornado_sse.request import Request

pytestmark = pytest.mark.gen_test


async def play(
    part: Any, *, limits: Limits | None = None, pause: float = 0, **options: Any
) -> tuple[Answer, bytes]:
    """Return the answer of a server that plays a part, and the body if it is a stream."""
    async with Scripted(part).running() as server:
        result = await within(fetch(server.url, limits, pause, **options))
        await until(lambda: not server.open)
    return result


async def fetch(
    url: str, limits: Limits | None = None, pause: float = 0, **options: Any
) -> tuple[Answer, bytes]:
    body = b""
    async with Exchange(Request.to(url, "GET", {}, None), limits or Limits(), **options) as exchange:
        answer = await exchange.open()
        while not answer.problem and (data := await exchange.read()):
            body += data
            await asyncio.sleep(pause)
    return answer, body


@pytest.mark.parametrize(
    "response",
    [
        STREAM + b"data: x\n\n",
        CHUNKED + b"4\r\ndata\r\n5\r\n: x\n\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 9\r\n\r\ndata: x\n\n",
        HEAD.replace(b"1.1", b"1.0") + b"\r\ndata: x\n\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + STREAM + b"data: x\n\n",
        HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"data: x\n\n"),
    ],
    ids=["until it closes", "chunked", "of a length", "HTTP/1.0", "after hints", "gzip"],
)
async def test_a_stream_that_is_complete(io_loop: object, response: bytes) -> None:
    answer, body = await play(response)
    assert (answer.status, answer.problem, body) == (200, "", b"data: x\n\n")


async def test_what_came_before_the_cut_is_not_lost(io_loop: object) -> None:
    async with Scripted(CHUNKED + b"9\r\ndata: x\n\n\r\n").running() as server:
        exchange = Exchange(Request.to(server.url, "GET", {}, None), Limits())
        async with exchange:
            await exchange.open()
            await until(lambda: not server.open)  # all is there, and so is the end
            assert await exchange.read() == b"data: x\n\n"
            with pytest.raises(ConnectionFailedError):
                await exchange.read()


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nContent-Ty", "in the middle"),
        (CHUNKED + b"9\r\ndata: x", "in the middle"),
        (HEAD + b"Content-Length: 900\r\n\r\ndata: x\n\n", "in the middle"),
        (b"220 mail.example ESMTP\r\n\r\n", "not HTTP"),
        (CHUNKED + b"zz\r\n", "damaged"),
        (HEAD + b"Content-Length: x\r\n\r\n", "damaged"),
        (HEAD + b"Content-Encoding: gzip\r\n\r\nplain", "damaged"),
        (HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"x" * 99)[:-9], "ends in the middle"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "longer than 65,536 bytes"),
    ],
    ids=[
        "nothing",
        "head",
        "chunk",
        "length",
        "smtp",
        "chunk size",
        "length of letters",
        "no gzip",
        "gzip cut",
        "huge head",
    ],
)
async def test_a_stream_that_is_not(io_loop: object, response: bytes, reason: str) -> None:
    with pytest.raises(ConnectionFailedError, match=reason) as caught:
        await play(response)
    assert not caught.value.complete


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (NO_CONTENT, "answered 204 No Content"),
        (b"HTTP/1.1 204 \r\nContent-Length: 5\r\n\r\nhello", "answered 204 No Content"),
        (b"HTTP/1.1 599 \r\n\r\n", "answered 599"),
        (b"HTTP/1.1 503 \x9b31m\r\n\r\n", "answered 503 Service Unavailable"),
        (b"HTTP/1.1 404 Not Here\r\nContent-Length: 5\r\n\r\nhello", "answered 404 Not Here"),
        (redirect("/elsewhere"), "answered 307 Moved"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nhello", "is of type 'text/html'"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "is of type ''"),
        (HEAD + b"Content-Encoding: br\r\n\r\nhello", "is encoded as 'br'"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_no_stream(io_loop: object, response: bytes, reason: str) -> None:
    answer, body = await play(response)
    error = answer.error("http://a/")
    assert error.reason.startswith(reason)
    assert error.body == ("hello" if b"hello" in response and error.status != 204 else "")
    assert body == b""


async def test_an_answer_without_end_is_not_read_to_it(io_loop: object) -> None:
    answer, _ = await play(endlessly(b"HTTP/1.1 500 Oh\r\n\r\n", b"x" * 1000))
    assert len(answer.body) == 1000
    answer, _ = await play(then_wait(b"HTTP/1.1 500 Oh\r\n\r\nhalf"))
    assert answer.body == b"half"


async def test_what_stays_silent_is_left(io_loop: object) -> None:
    limits = Limits(read_timeout=0.2)
    with pytest.raises(ConnectionFailedError, match=r"not answered for 0\.2 seconds"):
        await play(then_wait(b""), limits=limits)
    with pytest.raises(ConnectionFailedError, match=r"not answered for 0\.2 seconds"):
        await play(endlessly(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", pause=0.03), limits=limits)
    with pytest.raises(ConnectionFailedError, match=r"silent for 0\.2 seconds"):
        await play(then_wait(STREAM + b"data: x\n\n"), limits=limits)


async def test_comments_are_no_silence_and_a_slow_reader_is_not_the_servers(io_loop: object) -> None:
    async def part(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        for _ in range(8):
            writer.write(b":\n")
            await asyncio.sleep(0.05)

    limits = Limits(read_timeout=0.2)
    assert (await play(part, limits=limits))[1] == b":\n" * 8
    assert (await play(STREAM + b"data: x\n\n", limits=limits, pause=0.5))[1] == b"data: x\n\n"


async def test_nothing_is_read_unless_it_is_asked_for(io_loop: object) -> None:
    written = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(STREAM)
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    async with Scripted(flood).running() as server:
        async with Exchange(Request.to(server.url, "GET", {}, None), Limits()) as exchange:
            await exchange.open()
            before = -1
            while before != written:  # until the kernel's buffers are full
                before = written
                await asyncio.sleep(0.2)
            assert written < 30_000_000
            assert len(await exchange.read()) <= 65536
        await until(lambda: not server.open)


async def test_close_ends_it_at_once(io_loop: object) -> None:
    async with Scripted(then_wait(STREAM + b"data: x\n\n")).running() as server:
        exchange = Exchange(Request.to(server.url, "GET", {}, None), Limits())
        async with exchange:
            await exchange.open()
            assert await exchange.read() == b"data: x\n\n"
            reading = asyncio.ensure_future(exchange.read())
            await asyncio.sleep(0)
            exchange.close()
            await until(lambda: not server.open)
            assert await within(reading) == b""


async def test_a_large_body_that_is_answered_before_it_is_read(io_loop: object) -> None:
    async def part(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + b"data: x\n\n")

    server = Scripted(part)
    server.reads_body = False
    async with server.running():
        exchange = Exchange(Request.to(server.url, "POST", {}, bytes(20_000_000)), Limits())
        async with exchange:
            await within(exchange.open())
            assert await within(exchange.read()) == b"data: x\n\n"


async def test_what_it_sends(io_loop: object) -> None:
    async with Scripted(STREAM).running() as server:
        for method, body, options in (
            ("GET", None, {}),
            ("POST", b"{}", {"last_event_id": "…", "compression": True}),
            ("POST", None, {}),
        ):
            request = Request.to(f"{server.url}a?b", method, {"X-Mine": "1", "Accept": "*/*"}, body)
            async with Exchange(request, Limits(), **options) as exchange:
                await exchange.open()
        first, second, third = server.asked
        assert first.headers == {
            "Host": f"127.0.0.1:{server.port}",
            "Accept": "*/*",
            "Cache-Control": "no-cache",
            "User-Agent": "tornado-sse",
            "X-Mine": "1",
            "Accept-Encoding": "identity",
        }
        assert (first.method, first.target, first.body) == ("GET", "/a?b", b"")
        assert (second.headers["Last-Event-Id"], second.headers["Accept-Encoding"]) == (
            "…".encode().decode("latin-1"),
            "gzip",
        )
        assert (second.method, second.body) == ("POST", b"{}")
        assert third.headers["Content-Length"] == "0"


async def test_nobody_listens(io_loop: object) -> None:
    async with Scripted(b"").running() as server:
        url = server.url
    with pytest.raises(ConnectionFailedError, match="no connection: ") as caught:
        await fetch(url)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_certificates_are_verified(
    io_loop: object, tls: tuple[ssl.SSLContext, ssl.SSLContext], logs: Logs
) -> None:
    async with Scripted(STREAM + b"data: x\n\n").running(ssl=tls[0]) as server:
        assert (await within(fetch(server.url, ssl_options=tls[1])))[1] == b"data: x\n\n"
        with pytest.raises(ConnectionFailedError, match="no connection") as caught:
            await within(fetch(server.url))
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    logs.claim("SSL Error")


async def test_a_handshake_that_does_not_come_about(io_loop: object, logs: Logs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(ConnectionFailedError, match="no connection"):
            await within(fetch(url, Limits(connect_timeout=0.3)))
    if tornado.version_info < (
        6,
        6,
    ):  # it complains of what becomes of the handshake
        await until(lambda: logs.messages("tornado.application"))
        logs.claim("after timeout")


@pytest.mark.parametrize("name", ["connect_timeout", "read_timeout", "max_header_size"])
async def test_limits_that_make_no_sense(io_loop: object, name: str) -> None:
    with pytest.raises(SettingError, match=name):
        Limits(**{name: 0})
