from __future__ import annotations

import asyncio
import gc
import gzip
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.scripted import CHUNKED, HEAD, NO_CONTENT, STREAM, Scripted, endlessly, redirect, then_wait
from tests.support import Logs, Recorder, until, within
from tornado_sse import (
    Broker,
    ConnectionFailedError,
    Ending,
    Event,
    EventSource,
    EventSourceError,
    EventTooLargeError,
    RedirectError,
    ResponseError,
    SettingError,
    SSEHandler,
)
from tornado_sse.testing import Relay

pytestmark = pytest.mark.gen_test


class Noting(EventSource):
    """Notes what its hooks are told."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **{"retry": 0.01, **options})
        self.notes: list[str] = []
        self.errors: list[EventSourceError] = []
        self.delays: list[float] = []

    def on_open(self) -> None:
        self.notes.append(f"open {self.state}")

    def on_error(self, error: EventSourceError, delay: float) -> None:
        self.notes.append(f"error {self.state}")
        self.errors.append(error)
        self.delays.append(delay)


@asynccontextmanager
async def reading(*parts: Any, **options: Any) -> AsyncIterator[tuple[Scripted, Noting]]:
    """Read from a server that plays these parts."""
    async with Scripted(*parts).running() as server, Noting(server.url, **options) as source:
        yield server, source


async def data(source: EventSource, count: int | None = None) -> list[str]:
    """Return the data of the next events, or of all."""
    found: list[str] = []
    while len(found) != count:
        try:
            found.append((await within(anext(source))).data)
        except StopAsyncIteration:
            assert count is None, found
            break
    return found


def event(text: str) -> bytes:
    return f"data: {text}\n\n".encode()


# Reconnecting (HTML, section 9.2.3)


async def test_it_reconnects_with_the_last_id_until_it_is_told_204(io_loop: object) -> None:
    parts = (
        CHUNKED + b"1a\r\nid: \xe2\x80\xa6\nretry: 5\ndata: a\n\n\r\n0\r\n\r\n",
        STREAM + event("b") + b"id: 9\n\ndata: never finished",
        CHUNKED + b"9\r\n" + event("c") + b"\r\n2\r\nda",
        b"",
        NO_CONTENT,
    )
    async with reading(*parts) as (server, source):
        assert source.state == "connecting"
        assert await data(source) == ["a", "b", "c"]
        assert [asked.headers.get("Last-Event-Id") for asked in server.asked] == [
            None,
            "…".encode().decode("latin-1"),
            "9",
            "9",
            "9",
        ]
        assert (source.state, source.ending, source.error) == ("closed", Ending.FINISHED, None)
        assert [getattr(error, "complete", None) for error in source.errors] == [True, True, False, False]
        assert source.notes == ["open open", "error connecting"] * 3 + ["error connecting"]
        assert 0.005 <= source.delays[0] <= 0.0075
        with pytest.raises(StopAsyncIteration):
            await anext(source)


async def test_the_id_is_that_of_the_event_that_was_taken(io_loop: object) -> None:
    stream = STREAM + b"id: 1\n\nid: 2\ndata: a\n\nid: 3\ndata: b\n\nid: 4\n\n"
    async with reading(then_wait(stream), last_event_id="0") as (server, source):
        assert source.last_event_id == "0"
        await source.opened()
        assert (await within(anext(source))).id == "2"
        assert source.last_event_id == "2"
        assert (await within(anext(source))).id == "3"
        assert source.last_event_id == "3"
        waiting = asyncio.ensure_future(anext(source))
        await until(lambda: source.last_event_id == "4")
        waiting.cancel()
        assert server.asked[0].headers["Last-Event-Id"] == "0"


async def test_an_empty_id_makes_it_forget(io_loop: object) -> None:
    async with reading(STREAM + b"id\ndata: a\n\n", NO_CONTENT, last_event_id="7") as (server, source):
        assert await data(source) == ["a"]
        assert "Last-Event-Id" not in server.asked[1].headers


async def test_backoff_grows_while_connections_bring_nothing(io_loop: object) -> None:
    async with reading(STREAM + b": hello\n", max_failures=4) as (_, source):
        with pytest.raises(ConnectionFailedError, match="has ended"):
            await data(source)
        assert source.notes.count("open open") == 5
        assert len(source.delays) == 4
        assert source.delays[0] <= 0.015
        assert [delay >= least for delay, least in zip(source.delays[1:], (0.2, 0.4, 0.8), strict=True)]
        assert source.ending is Ending.FAILED


async def test_backoff_begins_anew_with_an_event(io_loop: object) -> None:
    async with reading(b"", b"", STREAM + event("a"), NO_CONTENT) as (_, source):
        assert await data(source) == ["a"]
        assert source.delays[1] >= 0.2
        assert source.delays[2] <= 0.015


async def test_a_retry_of_a_million_years_is_not_waited_for(io_loop: object) -> None:
    parts = (STREAM + b"retry: 31536000000000000\ndata: a\n\n", NO_CONTENT)
    async with reading(*parts, max_delay=0.05) as (_, source):
        assert await data(source) == ["a"]
        assert source.delays[0] <= 0.05


async def test_a_server_that_comes_up_late(io_loop: object) -> None:
    async with Scripted(b"").running() as server:
        port = server.port
    source = Noting(f"http://127.0.0.1:{port}/")
    first = asyncio.ensure_future(anext(source))
    await until(lambda: source.errors)
    assert isinstance(source.errors[0], ConnectionFailedError)
    async with Scripted(then_wait(STREAM + event("a"))).running(port=port):
        assert (await within(first)).data == "a"
    source.close()


async def test_a_post_is_not_repeated_unless_that_is_wanted(io_loop: object) -> None:
    async with reading(STREAM + event("a"), method="POST", body="ü") as (server, source):
        assert await data(source) == ["a"]
        assert source.ending is Ending.COMPLETE
        assert [asked.body for asked in server.asked] == ["ü".encode()]
    async with reading(CHUNKED + b"9\r\n" + event("a"), method="POST", body="x") as (_, source):
        with pytest.raises(ConnectionFailedError) as caught:
            await data(source)
        assert not caught.value.complete
    parts = (STREAM + event("a"), NO_CONTENT)
    async with reading(*parts, method="POST", body=b"x", reconnect=True) as (server, source):
        assert await data(source) == ["a"]
        assert [asked.body for asked in server.asked] == [b"x", b"x"]


# What ends it for good


@pytest.mark.parametrize("status", [205, 210, 299, 301, 304, 400, 401, 403, 404, 410, 429, 500, 503])
async def test_any_other_status_ends_it(io_loop: object, status: int) -> None:
    answer = f"HTTP/1.1 {status} Phrase\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n"
    async with reading(answer.encode()) as (server, source):
        for _ in range(2):
            with pytest.raises(ResponseError) as caught:
                await within(anext(source))
        assert caught.value.status == status
        assert len(server.asked) == 1
        assert (source.ending, source.error, source.errors) == (Ending.FAILED, caught.value, [])


async def test_one_may_decide_not_to_give_up(io_loop: object) -> None:
    class Patient(Noting):
        def gives_up(self, error: ResponseError) -> bool:
            return error.status != 503

    unavailable = b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n"
    refused = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
    async with Scripted(unavailable, STREAM + event("a"), refused).running() as server:
        source = Patient(server.url)
        assert await data(source, 1) == ["a"]
        with pytest.raises(ResponseError, match="403"):
            await data(source, 1)
        assert isinstance(source.errors[0], ResponseError)


@pytest.mark.parametrize(
    ("content_type", "good"),
    [("text/event-stream;", True), ("TEXT/Event-Stream; charset=latin-1", True), ("x bogus", False),
     ("text/x-bogus", False), ("text/event-streams", False), ("", False)],
)  # fmt: skip
async def test_the_type_decides(io_loop: object, content_type: str, good: bool) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n".encode()
    async with reading(head + event("ü"), NO_CONTENT) as (_, source):
        if good:
            assert await data(source) == ["ü"]
        else:
            with pytest.raises(ResponseError, match="not 'text/event-stream'") as caught:
                await data(source)
            assert caught.value.body == "data: ü\n\n"


async def test_204_at_once_is_an_end_without_events(io_loop: object) -> None:
    async with reading(NO_CONTENT) as (_, source):
        assert await data(source) == []
        with pytest.raises(ConnectionFailedError, match="finished"):
            await source.opened()


async def test_what_a_hook_raises_is_not_swallowed(io_loop: object) -> None:
    class Failing(EventSource):
        def on_open(self) -> None:
            raise LookupError("mine")

    async with Scripted(STREAM).running() as server:
        source = Failing(server.url)
        with pytest.raises(LookupError, match="mine"):
            await within(anext(source))
        assert isinstance(source.error, LookupError)


# Redirects and secrets


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_and_each_connection_begins_at_the_url(
    io_loop: object, status: int
) -> None:
    parts = (redirect("/b?c", status), STREAM + b"id: 1\ndata: a\n\n", NO_CONTENT)
    async with reading(*parts) as (server, source):
        assert await data(source) == ["a"]
        assert [asked.target for asked in server.asked] == ["/", "/b?c", "/"]


async def test_redirects_without_end(io_loop: object) -> None:
    async with reading(redirect("/"), max_redirects=3) as (server, source):
        with pytest.raises(RedirectError, match="redirect 4 in a row"):
            await within(anext(source))
        assert len(server.asked) == 4


async def test_secrets_do_not_cross_origins(io_loop: object) -> None:
    async with Scripted(then_wait(STREAM + event("a"))).running() as other:
        parts = (redirect("/same"), redirect(other.url))
        secrets = {"Cookie": "a=b", "X-Api-Key": "c", "Authorization": "d"}
        async with reading(*parts, headers=secrets) as (server, source):
            assert await data(source, 1) == ["a"]
            assert server.asked[1].headers.items() >= secrets.items()
            assert not {*other.asked[0].headers} & {*secrets}


async def test_from_tls_to_none_it_does_not_go(
    io_loop: object, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async with Scripted(redirect("http://127.0.0.1/")).running(ssl=tls[0]) as server:
        with pytest.raises(RedirectError, match="from https to http"):
            await within(anext(EventSource(server.url, ssl_options=tls[1])))


async def test_a_bad_certificate_is_not_tried_again(
    io_loop: object, tls: tuple[ssl.SSLContext, ssl.SSLContext], logs: Logs
) -> None:
    async with Scripted(STREAM).running(ssl=tls[0]) as server:
        source = Noting(server.url)
        with pytest.raises(ConnectionFailedError, match="certificate"):
            await within(anext(source))
        assert (source.errors, source.ending) == ([], Ending.FAILED)
    logs.claim("SSL Error")


async def test_headers_may_be_asked_for_each_time(io_loop: object) -> None:
    tokens = iter("abc")

    async def headers() -> dict[str, str]:
        return {"Authorization": next(tokens)}

    async with reading(STREAM + event("x"), NO_CONTENT, headers=headers) as (server, source):
        await data(source)
        assert [asked.headers["Authorization"] for asked in server.asked] == ["a", "b"]
    async with reading(STREAM, headers=lambda: {"a": "b\nc"}) as (_, source):
        with pytest.raises(SettingError):
            await data(source)


# Its end


async def test_leaving_the_loop_closes_the_socket(io_loop: object) -> None:
    async with Scripted(then_wait(STREAM + event("a"))).running() as server:
        async for received in EventSource(server.url):
            assert received == Event("a", "message", "")
            assert server.open == 1
            break
        await until(lambda: not server.open)


async def test_cancelling_the_consumer_closes_the_socket(io_loop: object) -> None:
    got = asyncio.Event()

    async def consume(source: EventSource, pause: float) -> None:
        async for _ in source:
            got.set()
            await asyncio.sleep(pause)

    for pause in (0, 3600):
        async with Scripted(then_wait(STREAM + event("a"))).running() as server:
            source = EventSource(server.url)
            got.clear()
            task = asyncio.create_task(consume(source, pause))
            await within(got.wait())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda server=server: not server.open)
            assert source.ending is Ending.CLOSED


async def test_in_a_block_one_may_give_up_waiting_and_go_on(io_loop: object) -> None:
    go_on = asyncio.Event()

    async def part(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        await go_on.wait()
        writer.write(event("a") + event("b"))
        await asyncio.Event().wait()

    async with reading(part) as (server, source):
        with pytest.raises(TimeoutError):
            await within(anext(source), 0.1)
        go_on.set()
        async for received in source:
            assert received.data == "a"
            break
        async for received in source:
            assert received.data == "b"
            break
        assert len(server.asked) == 1
    await until(lambda: not server.open)
    assert source.ending is Ending.CLOSED
    assert await data(source) == []


async def test_close_from_anywhere_and_at_any_time(io_loop: object) -> None:
    class Closing(EventSource):
        def on_open(self) -> None:
            self.close()

        def on_error(self, error: EventSourceError, delay: float) -> None:
            self.close()

    async with Scripted(then_wait(STREAM)).running() as server:
        source = EventSource(server.url)
        source.close()
        assert await data(source) == []
        assert server.asked == []

        source = EventSource(server.url)
        waiting = asyncio.ensure_future(data(source))
        await asyncio.sleep(0)  # it has begun to connect
        source.close()
        assert await within(waiting) == []

        source = EventSource(server.url)
        await source.opened()
        source.close()
        source.close()
        assert await data(source) == []

        assert await data(Closing(server.url)) == []
        await until(lambda: not server.open)
    assert await data(Closing(server.url, retry=1000)) == []


async def test_ten_connections_leave_no_task_behind(io_loop: object) -> None:
    before = asyncio.all_tasks()
    async with Scripted(then_wait(STREAM + event("a"))).running() as server:
        for _ in range(10):
            async with EventSource(server.url) as source:
                await data(source, 1)
        await until(lambda: not server.open)
    assert asyncio.all_tasks() == before
    gc.collect()


# Servers that mean no good


@pytest.mark.parametrize(
    "again",
    [b"x" * 5000, b"data: " + b"x" * 5000 + b"\n", b"id: " + b"x" * 5000],
    ids=["line", "lines", "id"],
)
async def test_an_event_without_end(io_loop: object, again: bytes) -> None:
    first = STREAM + event("a")
    async with reading(endlessly(first, again), max_event_size=50_000) as (server, source):
        assert await data(source, 1) == ["a"]
        with pytest.raises(EventTooLargeError):
            await data(source, 1)
        assert len(server.asked) == 1
        await until(lambda: not server.open)


async def test_a_gzip_bomb(io_loop: object) -> None:
    zeros = HEAD + b"Content-Encoding: gzip\r\n\r\n"
    async with reading(zeros + gzip.compress(bytes(30_000_000)), max_event_size=100_000) as (_, source):
        with pytest.raises(EventTooLargeError):
            await data(source, 1)
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    bomb = gzip.compress(b"\n" * 4_000_000)
    async with reading(zeros + bomb, NO_CONTENT) as (_, source):
        ticking = asyncio.create_task(tick())
        assert await data(source) == []
        assert turns > 50  # others had their turns meanwhile
        ticking.cancel()


async def test_a_flood_and_a_slow_consumer(io_loop: object) -> None:
    written = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(STREAM)
        while True:
            writer.write(event("x" * 100) * 500)
            written += 500
            await writer.drain()

    async with reading(flood) as (_, source):
        await data(source, 1)
        before = -1
        while before != written:
            before = written
            await asyncio.sleep(0.2)
        assert len(source._batch) * 100 < 2**17
        assert await data(source, before) == ["x" * 100] * before  # nothing was lost


async def test_a_half_open_connection(io_loop: object) -> None:
    parts = (then_wait(STREAM + event("a")), then_wait(b""), NO_CONTENT)
    async with reading(*parts, read_timeout=0.2) as (_, source):
        assert await data(source) == ["a"]
        assert [str(error).split(": ")[1] for error in source.errors] == [
            "silent for 0.2 seconds",
            "not answered for 0.2 seconds",
        ]


async def test_gzip(io_loop: object) -> None:
    stream = HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(event("a") + event("b"))
    async with reading(stream, NO_CONTENT, compression=True) as (server, source):
        assert await data(source) == ["a", "b"]
        assert server.asked[0].headers["Accept-Encoding"] == "gzip"


# With our own server


class Numbers(Recorder):
    async def body(self) -> None:
        start = int(self.stream.last_event_id or 0)
        for number in range(start + 1, 6):
            await self.stream.write({"n": number}, id=number, event="number")
            if number == 3 and not start:
                self.stream.flush()
                self.stream.abort()
                return
        self.stream.finish()


async def test_our_own_server_to_its_finish(
    serve: Callable[..., None], http_port: int, http_server: object
) -> None:
    serve(Numbers)
    source = Noting(f"http://127.0.0.1:{http_port}/numbers")
    received = [each async for each in source]
    assert [each.payload["n"] for each in received if each.type == "number"] == [1, 2, 3, 4, 5]
    assert received[-1].type == "finish"
    assert source.ending is Ending.FINISHED


class Follow(SSEHandler):
    async def open(self) -> None:
        await self.subscribe("news")


async def test_our_own_channels_exactly_once_over_a_bad_network(
    serve: Callable[..., None], http_server: object, base_url: str
) -> None:
    broker = Broker()
    serve(Follow, sse_broker=broker, sse_retry=0.01)

    async def publish() -> None:
        for number in range(300):
            await broker.publish("news", number)
            if number % 40 == 20:
                relay.cut()
            await asyncio.sleep(0.002)

    async with Relay(f"{base_url}/follow", piece=50) as relay, Noting(relay.url) as source:
        await source.opened()
        await until(lambda: source.last_event_id)  # the primer: from here on nothing may be missed
        publishing = asyncio.create_task(publish())
        assert [(await within(anext(source))).payload for _ in range(300)] == [*range(300)]
        await publishing
        assert len(source.errors) >= 3
    await broker.close()


async def test_a_gap_of_our_own_channels(
    serve: Callable[..., None], http_server: object, base_url: str
) -> None:
    broker = Broker()
    serve(Follow, sse_broker=broker)
    async with EventSource(f"{base_url}/follow", last_event_id="other-7") as source:
        gap = (await within(anext(source))).gap
        assert gap is not None
        assert (gap.channel, gap.reason, gap.after) == ("news", "epoch", None)
        assert source.last_event_id == gap.until
    await broker.close()


def test_any_asyncio_program_will_do() -> None:
    program = """
import asyncio
from tornado_sse import EventSource

async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n\\r\\ndata: hello\\n\\n")
    await reader.read()
    writer.close()
    gone.set()

gone = asyncio.Event()

async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async for event in EventSource(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"):
        print(event.payload)
        break
    await gone.wait()
    server.close()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("hello\n", "")


@pytest.mark.parametrize(
    ("name", "options"),
    [("retry", {"retry": -1}), ("max_delay", {"max_delay": -1}), ("max_event_size", {"max_event_size": 0}),
     ("max_redirects", {"max_redirects": -1}), ("max_failures", {"max_failures": -1}),
     ("method", {"method": "GE T"}), ("method", {"method": "HEAD"}), ("body", {"body": b""}),
     ("headers", {"headers": {"a": "b\n"}}), ("read_timeout", {"read_timeout": 0})],
)  # fmt: skip
def test_arguments_that_make_no_sense(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=name):
        EventSource("http://a/", **options)
    with pytest.raises(SettingError, match="url"):
        EventSource("a")


async def test_the_default_hook_writes_a_line(io_loop: object, logs: Logs) -> None:
    async with Scripted(STREAM + event("a"), NO_CONTENT).running() as server:
        async for _ in EventSource(f"{server.url}b?token=c", retry=0.01):
            pass
    (line,) = logs.messages()
    assert line == f"{server.url}b: the response has ended; again in 0.0 s"
