"""A visit keeps whatever comes, and ends in time."""

from __future__ import annotations

import asyncio
import ssl
import zlib

import pytest

from tests.scripted import CHUNKED, HEAD, NO_CONTENT, STREAM, Scripted, endlessly, then_wait
from tests.support import reserved_address
from tornado_sse.probe.visit import Visit
from tornado_sse.request import Request

pytestmark = pytest.mark.gen_test


async def visit(server: Scripted, seconds: float = 0.3, **options: object) -> Visit:
    async with server.running():
        it = Visit(Request.to(server.url, "GET", {}, None), **options)  # type: ignore[arg-type]
        await it.run(seconds)
    return it


async def test_a_stream_is_kept_as_it_came(io_loop: object) -> None:
    it = await visit(Scripted(then_wait(CHUNKED + b"9\r\ndata: 1\n\n\r\n")))
    assert (it.status, it.is_stream, it.ended, it.failure, it.damage) == (200, True, None, "", "")
    assert [event.data for _, event in it.transcript.events] == ["1"]
    assert 0.2 < it.listened < 5


async def test_an_end_is_told_from_a_breach(io_loop: object) -> None:
    it = await visit(Scripted(STREAM + b"data: 1\n\n"))
    assert (it.complete, it.damage) == (True, "")
    it = await visit(Scripted(CHUNKED + b"0\r\n\r\n"))
    assert (it.complete, it.damage) == (True, "")
    it = await visit(Scripted(CHUNKED + b"9\r\ndata"))
    assert (it.complete, it.damage) == (False, "the connection ends in the middle of the body")


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"", "the connection was closed without an answer"),
        (b"hello\r\n\r\n", "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nno field\r\n\r\n", "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, "the head of the answer is longer than 65,536 bytes"),
        (then_wait(b"HTTP/1.1 200 OK\r\n"), "no answer for 0.3 s"),
    ],
)
async def test_why_there_is_no_answer_is_told(io_loop: object, answer: bytes, failure: str) -> None:
    it = await visit(Scripted(answer))
    assert (it.status, it.failure) == (0, failure)


async def test_what_is_wrong_with_the_framing_is_told(io_loop: object) -> None:
    it = await visit(Scripted(HEAD + b"Transfer-Encoding: what\r\n\r\n"))
    assert it.damage == "the transfer encoding 'what' is not chunked"
    it = await visit(Scripted(CHUNKED + b"zz\r\n"))
    assert it.damage == "what should be a chunk's size is none"
    it = await visit(Scripted(HEAD + b"Content-Encoding: gzip\r\n\r\ndata: 1\n\n"))
    assert "incorrect header check" in it.damage


async def test_interim_answers_are_passed_over(io_loop: object) -> None:
    it = await visit(Scripted(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + NO_CONTENT))
    assert it.status == 204


async def test_a_flood_is_bounded_compressed_or_not(io_loop: object) -> None:
    line = b": " + b"x" * 60_000 + b"\n"
    it = await visit(Scripted(endlessly(STREAM, line)), 20)
    assert it.transcript.size < 5_000_000
    bomb = zlib.compressobj(wbits=31)
    data = bomb.compress(line * 2000) + bomb.flush()
    it = await visit(Scripted(HEAD + b"Content-Encoding: gzip\r\n\r\n" + data), 20)
    assert it.transcript.size < 5_000_000


async def test_what_is_sent_is_what_was_asked_for(io_loop: object) -> None:
    server = Scripted(NO_CONTENT)
    async with server.running():
        request = Request.to(server.url.replace("//", "//me:pass@"), "HEAD", {"X": "1"}, None)
        await Visit(request, headers={"Last-Event-ID": "…"}, version="1.0").run(1)
    (asked,) = server.asked
    assert asked.method == "HEAD"
    assert asked.headers["Last-Event-ID"].encode("latin-1").decode() == "…"
    assert asked.headers["Authorization"].startswith("Basic ")
    assert asked.headers["X"] == "1"


async def test_no_connection_is_kept_as_an_error(io_loop: object) -> None:
    with reserved_address() as (host, port):
        it = Visit(Request.to(f"http://{host}:{port}/", "GET", {}, None))
        await it.run(1)
    assert it.error is not None
    assert it.failure.startswith("no connection: ")


async def test_certificates_are_verified(
    io_loop: object, tls: tuple[ssl.SSLContext, ssl.SSLContext], logs: object
) -> None:
    theirs, ours = tls
    for options, status in ((ours, 204), (None, 0)):
        server = Scripted(NO_CONTENT)
        async with server.running(ssl=theirs):
            it = Visit(Request.to(server.url, "GET", {}, None), ssl_options=options)
            await it.run(5)
            await asyncio.sleep(0)
        assert it.status == status
    assert "certificate" in it.failure.lower()
    logs.claim("SSL Error", count=1)  # type: ignore[attr-defined]
