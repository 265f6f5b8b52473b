from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import gzip
import logging
import os
import socket
import ssl
import struct
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tornado
import tornado.httpserver
import tornado.web
from tornado.httputil import HTTPConnection
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

import tornado_sse
from tests.support import Connect, Connection, Logs, Recorder, until, within
from tornado_sse import Event, Reason, SettingError, SSEHandler, StreamClosedError
from tornado_sse.capacity import Capacity
from tornado_sse.ticker import Ticker

pytestmark = pytest.mark.gen_test

Serve = Callable[..., None]


class Greeting(SSEHandler):
    async def open(self, name: str | None = None) -> None:
        async with self.stream:
            await self.stream.write({"hello": name}, event="greeting", id=1)


class Idle(SSEHandler):
    """Sends its head and nothing else."""


HEAD = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "Connection": "close",
}


# The response


async def test_a_stream_is_answered_with_this_head_and_chunks(serve: Serve, connect: Connect) -> None:
    serve(Greeting)
    it = await (await connect()).request("/greeting/you")
    assert it.status == 200
    assert {name: it.headers.get(name) for name in HEAD} == HEAD
    assert it.chunked
    assert await it.rest() == b'event: greeting\nid: 1\ncodec: json\ndata: {"hello":"you"}\n\n'
    assert it.complete


async def test_the_head_arrives_before_the_first_event(serve: Serve, connect: Connect) -> None:
    serve(Idle)
    it = await within((await connect()).request("/idle"))
    assert it.status == 200


async def test_the_first_bytes_of_a_body_are_never_a_bom(serve: Serve, connect: Connect) -> None:
    class Bom(SSEHandler):
        async def open(self) -> None:
            async with self.stream:
                self.stream.write_text("\ufeff")

    serve(Bom)
    it = await (await connect()).request("/bom")
    assert await it.rest() == b"data: \xef\xbb\xbf\n\n"
    assert await (await (await connect()).request("/bom")).event() == Event("\ufeff", "message", "")


async def test_headers_and_cookies_of_the_application_are_kept(serve: Serve, connect: Connect) -> None:
    class Mine(SSEHandler):
        def prepare(self) -> None:
            self.set_header("Cache-Control", "no-store")
            self.set_header("X-Mine", "1")
            self.set_cookie("seen", "yes")

        async def open(self) -> None:
            self.set_header("X-Late", "still in time")

    serve(Mine)
    it = await (await connect()).request("/mine")
    assert it.headers["Cache-Control"] == "no-store"
    assert (it.headers["X-Mine"], it.headers["X-Late"]) == ("1", "still in time")
    assert it.headers["Set-Cookie"].startswith("seen=yes")


async def test_http_1_0_gets_a_body_that_ends_with_the_connection(serve: Serve, connect: Connect) -> None:
    serve(Greeting)
    for headers in ([], [("Connection", "keep-alive")]):
        it = await (await connect()).request("/greeting/you", version="1.0", headers=headers)
        assert "Transfer-Encoding" not in it.headers
        assert it.headers["Connection"] == "close"
        assert (await it.event()).data == '{"hello":"you"}'
        await it.rest()
        assert it.complete


async def test_head_is_answered_like_get_without_a_body(serve: Serve, connect: Connect) -> None:
    serve(Greeting)
    it = await (await connect()).request("/greeting/you", method="HEAD")
    assert it.status == 200
    # There is no stream after which it would be closed.
    assert {name: it.headers.get(name) for name in HEAD} == {**HEAD, "Connection": None}
    assert "Content-Length" not in it.headers
    # The connection is as good as new: what follows is the next response, not a body.
    await it.request("/greeting/you")
    assert (await it.event()).type == "greeting"


async def test_compress_response_does_not_touch_a_stream(serve: Serve, io_loop: IOLoop) -> None:
    app = tornado.web.Application([("/greeting(/)?", Greeting)], compress_response=True)
    server = tornado.httpserver.HTTPServer(app)
    (listener,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(listener)
    it = await Connection.open(*listener.getsockname())
    await it.request("/greeting", headers=[("Accept-Encoding", "gzip")])
    assert "Content-Encoding" not in it.headers
    body = await it.rest()
    assert body.startswith(b"event: greeting\n")
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(body)
    it.close()
    server.stop()


async def test_open_need_not_be_a_coroutine_and_the_stream_outlives_it(
    serve: Serve, connect: Connect
) -> None:
    streams: list[tornado_sse.Stream] = []

    class Outlive(SSEHandler):
        def open(self) -> None:
            streams.append(self.stream)

    serve(Outlive)
    it = await (await connect()).request("/outlive")
    assert len(asyncio.all_tasks()) == 1, "an idle stream has no task"
    await streams[0].write(1)
    assert (await it.event()).data == "1"
    streams[0].close()
    await it.rest()
    assert it.complete


async def test_a_stream_starts_with_its_first_write_even_if_open_goes_on(
    serve: Serve, connect: Connect
) -> None:
    go_on = asyncio.Event()

    class Slow(SSEHandler):
        async def open(self) -> None:
            await self.stream.write(1)
            await go_on.wait()
            await self.stream.write(2)
            await self.stream.close()

    serve(Slow)
    it = await (await connect()).request("/slow")
    assert (await it.event()).data == "1"
    go_on.set()
    assert (await it.event()).data == "2"


# What is refused


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_other_methods_are_told_which_there_are(
    serve: Serve, connect: Connect, logs: Logs, method: str
) -> None:
    serve(Greeting)
    it = await (await connect()).request("/greeting", method=method, body=b"x")
    assert (it.status, it.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    logs.claim("^405 ")


async def test_post_may_stream_if_it_is_allowed(serve: Serve, connect: Connect, logs: Logs) -> None:
    class Complete(SSEHandler):
        sse_methods = ("POST",)

        async def open(self) -> None:
            async with self.stream:
                for word in self.request.body.decode().split():
                    await self.stream.write(word, serializer="text")

    serve(Complete)
    it = await (await connect()).request("/complete", method="POST", body=b"say this back")
    assert [event.data for event in await it.events(3)] == ["say", "this", "back"]
    for method, allow in [("GET", "OPTIONS, POST"), ("HEAD", "OPTIONS, POST")]:
        it = await (await connect()).request("/complete", method=method)
        assert (it.status, it.headers["Allow"]) == (405, allow)
    logs.claim("^405 ", count=2)


async def test_a_client_that_wants_something_else_gets_406(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    serve(Greeting)
    it = await (await connect()).request("/greeting", headers=[("Accept", "text/html")])
    assert it.status == 406
    logs.claim("^406 ")


async def test_there_is_no_cors_header_unless_it_is_asked_for(serve: Serve, connect: Connect) -> None:
    serve(Greeting)
    it = await (await connect()).request("/greeting", headers=[("Origin", "https://evil.example")])
    assert it.status == 200
    assert not [name for name in it.headers if name.startswith("Access-Control")]


async def test_an_allowed_origin_may_read_and_others_get_403_before_any_stream(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    class Guarded(Recorder):
        sse_allowed_origins = ("https://app.example",)

    serve(Guarded)
    it = await (await connect()).request("/guarded", headers=[("Origin", "https://app.example")])
    assert (it.status, it.headers["Access-Control-Allow-Origin"]) == (200, "https://app.example")
    assert (it.headers["Access-Control-Allow-Credentials"], it.headers["Vary"]) == ("true", "Origin")
    Guarded.notes.clear()
    for headers in (
        [("Origin", "https://evil.example")],
        [("Origin", "null")],
        [("Sec-Fetch-Site", "cross-site")],
    ):
        for method in ("GET", "HEAD", "OPTIONS"):
            it = await (await connect()).request("/guarded", method=method, headers=headers)
            assert it.status == 403
    assert Guarded.notes == []
    logs.claim("^403 ", count=9)


async def test_a_preflight_is_answered(serve: Serve, connect: Connect) -> None:
    class Preflight(SSEHandler):
        sse_allowed_origins = ("https://app.example",)
        sse_methods = ("GET", "POST")

    serve(Preflight, Greeting)
    asked = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type,last-event-id"),
    ]
    it = await (await connect()).request("/preflight", method="OPTIONS", headers=asked)
    assert it.status == 204
    assert it.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert it.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS, POST"
    assert it.headers["Access-Control-Allow-Headers"] == "content-type,last-event-id"
    it = await (await connect()).request("/greeting", method="OPTIONS", headers=asked)
    assert (it.status, it.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
    assert not [name for name in it.headers if name.startswith("Access-Control")]


async def test_a_stream_too_many_gets_503_and_a_place_comes_free(
    serve: Serve, connect: Connect, logs: Logs, app: tornado.web.Application
) -> None:
    serve(Idle, Greeting, sse_max_streams=2)
    first = await (await connect()).request("/idle")
    await (await connect()).request("/idle")
    it = await (await connect()).request("/greeting")
    assert it.status == 503
    assert int(it.headers["Retry-After"]) > 0
    logs.claim("^503 ")
    first.reset()
    await until(lambda: Capacity.of(app).used == 1)
    assert (await (await connect()).request("/greeting")).status == 200


async def test_a_place_comes_free_however_a_stream_ends(
    serve: Serve, connect: Connect, logs: Logs, app: tornado.web.Application
) -> None:
    class Fails(SSEHandler):
        async def open(self) -> None:
            raise ZeroDivisionError

    class FailsLate(SSEHandler):
        async def open(self) -> None:
            await self.stream.write(1)
            raise ZeroDivisionError

    class Refuses(SSEHandler):
        async def open(self) -> None:
            raise tornado.web.HTTPError(404)

    serve(Greeting, Fails, FailsLate, Refuses, Idle)
    for path, status in [("greeting", 200), ("fails", 500), ("fails-late", 200), ("refuses", 404)]:
        it = await (await connect()).request(f"/{path}")
        assert it.status == status
        it.close()
    (await (await connect()).request("/idle")).reset()
    await until(lambda: Capacity.of(app).used == 0)
    logs.claim("Uncaught exception|^[45]0[04] ", count=4)


async def test_a_setting_that_makes_no_sense_is_a_500_that_says_so(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    serve(Greeting, sse_keepalive="often")
    assert (await (await connect()).request("/greeting")).status == 500
    (record,) = logs.claim("Uncaught exception")
    assert record.exc_info is not None
    assert "sse_keepalive must be a positive number of seconds" in str(record.exc_info[1])
    logs.claim("^500 ")


async def test_a_connection_that_can_not_be_detached_is_a_clear_error(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    class Foreign(SSEHandler):
        def prepare(self) -> None:
            self.request.connection, self.real = HTTPConnection(), self.request.connection

        def write_error(self, status_code: int, **kwargs: Any) -> None:
            self.request.connection = self.real
            super().write_error(status_code, **kwargs)

    serve(Foreign)
    assert (await (await connect()).request("/foreign")).status == 500
    (record,) = logs.claim("Uncaught exception")
    assert record.exc_info is not None
    assert "HTTPConnection can't be detached" in str(record.exc_info[1])
    logs.claim("^500 ")


# Errors


async def test_an_error_before_the_stream_starts_is_an_ordinary_response(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    class Missing(Recorder):
        async def body(self) -> None:
            raise tornado.web.HTTPError(404, "no such thing")

    serve(Missing)
    it = await (await connect()).request("/missing")
    assert it.status == 404
    assert Missing.notes == ["open", "HTTPError", "on_close None"]
    logs.claim("404", count=2)


async def test_an_error_after_it_ends_the_stream_as_incomplete_and_is_logged_once(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    class Breaks(Recorder):
        async def body(self) -> None:
            async with self.stream:
                await self.stream.write(1, id=1)
                raise ZeroDivisionError("application bug")

    class BreaksBare(Recorder):
        async def body(self) -> None:
            await self.stream.write(1, id=1)
            raise ZeroDivisionError("application bug")

    serve(Breaks, BreaksBare)
    for handler, path in [(Breaks, "/breaks"), (BreaksBare, "/breaks-bare")]:
        it = await (await connect()).request(path)
        assert (await it.event()).id == "1"
        await it.rest()
        assert it.complete is False
        assert handler.notes == ["open", "ZeroDivisionError", "on_close failed"]
    assert len(logs.claim("Uncaught exception", count=2)) == 2


async def test_tornados_finish_ends_a_stream_cleanly(serve: Serve, connect: Connect) -> None:
    class Finishes(SSEHandler):
        async def open(self) -> None:
            if not self.get_query_argument("early", None):
                await self.stream.write(1)
            raise tornado.web.Finish("done")

    serve(Finishes)
    it = await (await connect()).request("/finishes")
    await it.rest()
    assert it.complete
    it = await (await connect()).request("/finishes?early=1")
    assert (it.status, it.headers["Content-Length"]) == (200, "4")


async def test_the_error_of_another_stream_is_an_error_here(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    class Other(SSEHandler):
        async def open(self) -> None:
            await self.stream.write(1)
            raise StreamClosedError("disconnected")

    serve(Other)
    it = await (await connect()).request("/other")
    await it.rest()
    assert it.complete is False
    logs.claim("Uncaught exception")


async def test_a_failing_on_close_is_logged_and_harms_nobody(
    serve: Serve, connect: Connect, logs: Logs, app: tornado.web.Application
) -> None:
    class Sloppy(Greeting):
        def on_close(self) -> None:
            raise ZeroDivisionError

    serve(Sloppy)
    it = await (await connect()).request("/sloppy")
    await it.rest()
    assert it.complete
    await until(lambda: Capacity.of(app).used == 0)
    logs.claim(r"Uncaught exception in on_close\(\) of GET /sloppy")


# A stream that never starts


async def test_after_another_answer_a_stream_can_not_reach_into_the_next_one(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    told: list[str] = []

    class Late(Recorder):
        async def body(self) -> None:
            self.task = asyncio.create_task(self.late())
            raise tornado.web.HTTPError(404)

        async def late(self) -> None:
            await until(lambda: len(self.notes) == 3)
            assert self.stream.closed
            for use in (lambda: self.stream.write("SECRET"), self.stream.flush):
                try:
                    use()
                except StreamClosedError as error:
                    told.append(str(error))
            self.stream.close()

    serve(Late, Greeting)
    it = await (await connect()).request("/late")
    assert it.status == 404
    await it.reader.readexactly(int(it.headers["Content-Length"]))
    await until(lambda: len(told) == 2)
    assert told == ["the stream has ended (never started)"] * 2
    await it.request("/greeting/you")
    assert (await it.event()).data == '{"hello":"you"}'
    logs.claim("^404 ")


async def test_on_close_may_close_a_stream_that_never_started(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    class Refused(SSEHandler):
        async def open(self) -> None:
            raise tornado.web.HTTPError(404)

        def on_close(self) -> None:
            self.stream.close()

    serve(Refused)
    assert (await (await connect()).request("/refused")).status == 404
    logs.claim("^404 ")


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (lambda handler: handler.redirect("/login"), 302),
        (lambda handler: handler.finish("done"), 200),
        (lambda handler: handler.send_error(403), 403),
    ],
)
async def test_open_may_answer_by_other_means(
    serve: Serve,
    connect: Connect,
    logs: Logs,
    app: tornado.web.Application,
    how: Callable[[Any], object],
    status: int,
) -> None:
    class Answers(Recorder):
        async def body(self) -> None:
            how(self)

    serve(Answers, Greeting)
    it = await (await connect()).request("/answers")
    assert (it.status, "text/event-stream" in it.headers.get("Content-Type", "")) == (status, False)
    await it.reader.readexactly(int(it.headers["Content-Length"]))
    await until(lambda: Capacity.of(app).used == 0)
    assert Answers.notes == ["open", "returned", "on_close None"]
    await it.request("/greeting/you")
    assert (await it.event()).data == '{"hello":"you"}'
    logs.claim("^403 ", count=int(status == 403))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda handler: handler.write("id: injected\n"),
        lambda handler: handler.set_status(201),
    ],
)
async def test_two_answers_at_once_are_an_error(
    serve: Serve, connect: Connect, logs: Logs, spoil: Callable[[Any], object]
) -> None:
    class Both(SSEHandler):
        async def open(self) -> None:
            spoil(self)
            await self.stream.write(1)

    serve(Both)
    assert (await (await connect()).request("/both")).status == 500
    (record,) = logs.claim("Uncaught exception")
    assert record.exc_info is not None
    assert "answered by other means" in str(record.exc_info[1])
    logs.claim("^500 ")


async def test_a_head_that_was_sent_by_hand_is_not_followed_by_a_stream(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    class ByHand(SSEHandler):
        async def open(self) -> None:
            self.set_header("Content-Length", "5")
            await self.flush()
            await self.stream.write(1)

    serve(ByHand)
    it = await (await connect()).request("/by-hand")
    assert await it.reader.read() == b""
    # The first is ours; the others are Tornado failing to make an error page of a response half sent.
    logs.claim("Uncaught exception|Cannot send error|Failed to flush", count=3)


async def test_a_client_that_goes_during_prepare_opens_nothing(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    class Preparing(Recorder):
        async def prepare(self) -> None:
            self.notes.append("prepare")
            await until(lambda: self._gone)
            self.notes.append("prepared")

        async def body(self) -> None:
            await asyncio.Event().wait()

    serve(Preparing)
    it = await connect()
    await it.send("GET /preparing HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: Preparing.notes)
    it.reset()
    await until(lambda: len(Preparing.notes) == 2)
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert Preparing.notes == ["prepare", "prepared"]
    assert Capacity.of(app).used == 0


# The client goes


class Endless(Recorder):
    async def body(self) -> None:
        async with self.stream:
            while True:
                await self.stream.write("x" * 1000)
                await asyncio.sleep(0)


class Waiting(Recorder):
    async def body(self) -> None:
        await self.stream.flush()
        await asyncio.Event().wait()


class WaitingEarly(Recorder):
    """Waits before it has begun."""

    async def body(self) -> None:
        await asyncio.Event().wait()


class Returned(Recorder):
    async def body(self) -> None:
        return


ENDS: list[tuple[type[Recorder], str, list[str]]] = [
    (Waiting, "/waiting", ["open", "CancelledError", "on_close disconnected"]),
    (Returned, "/returned", ["open", "returned", "on_close disconnected"]),
]


@pytest.mark.parametrize(("handler", "path", "notes"), ENDS)
@pytest.mark.parametrize("how", ["reset", "close", "half"])
async def test_a_client_that_goes_cancels_open_and_then_closes_once(
    serve: Serve, connect: Connect, handler: type[Recorder], path: str, notes: list[str], how: str
) -> None:
    serve(handler)
    it = await (await connect()).request(path)
    if how == "half":
        it.writer.write_eof()
    else:
        getattr(it, how)()
    await until(lambda: len(handler.notes) >= len(notes))
    await asyncio.sleep(0)
    assert handler.notes == notes


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_client_that_vanishes_in_mid_write_leaves_nothing(
    serve: Serve, connect: Connect, logs: Logs, app: tornado.web.Application, how: str
) -> None:
    serve(Endless)
    files = _files()
    it = await (await connect()).request("/endless")
    await it.events(3)
    getattr(it, how)()
    await until(lambda: Capacity.of(app).used == 0)
    # It may meet the news as a cancellation or as the error of a write, whichever came first.
    assert Endless.notes[0] == "open"
    assert Endless.notes[1] in ("CancelledError", "StreamClosedError")
    assert Endless.notes[2:] == ["on_close disconnected"]
    await until(lambda: len(asyncio.all_tasks()) == 1)
    await until(lambda: _files() == files)
    assert len(Ticker.of(asyncio.get_running_loop())) == 0
    assert not [record for record in logs.records if record.exc_info], "a disconnect is no error"


async def test_a_client_that_goes_before_the_stream_starts_cancels_open_too(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    serve(WaitingEarly)
    it = await connect()
    await it.send("GET /waiting-early HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: WaitingEarly.notes)
    it.reset()
    await until(lambda: len(WaitingEarly.notes) == 3)
    assert WaitingEarly.notes == ["open", "CancelledError", "on_close None"]
    assert Capacity.of(app).used == 0
    await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_with_detach_open_runs_on_and_on_close_does_not_wait_for_it(
    serve: Serve, connect: Connect
) -> None:
    go_on = asyncio.Event()

    class Detached(Recorder):
        on_disconnect = "detach"

        async def body(self) -> None:
            await self.stream.flush()
            await go_on.wait()
            with pytest.raises(StreamClosedError):
                await self.stream.write(1)
            self.notes.append("worked on")

    serve(Detached)
    it = await (await connect()).request("/detached")
    it.reset()
    await until(lambda: len(Detached.notes) == 2)
    assert Detached.notes == ["open", "on_close disconnected"]
    go_on.set()
    await until(lambda: len(Detached.notes) == 4)
    assert Detached.notes[2:] == ["worked on", "returned"]


async def test_with_detach_a_client_that_goes_early_does_not_stop_open(
    serve: Serve, connect: Connect
) -> None:
    go_on = asyncio.Event()

    class DetachedEarly(Recorder):
        on_disconnect = "detach"

        async def body(self) -> None:
            await go_on.wait()
            self.notes.append("worked on")
            await self.stream.write(1)

    serve(DetachedEarly)
    it = await connect()
    await it.send("GET /detached-early HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: DetachedEarly.notes)
    it.reset()
    await until(lambda: DetachedEarly.handlers[0]._gone)
    go_on.set()
    await until(lambda: len(DetachedEarly.notes) == 4)
    assert DetachedEarly.notes == ["open", "worked on", "StreamClosedError", "on_close disconnected"]


async def test_an_end_from_outside_cancels_open(serve: Serve, connect: Connect) -> None:
    serve(Waiting)
    it = await (await connect()).request("/waiting")
    await Waiting.handlers[0].stream.close()
    await it.rest()
    assert it.complete
    await until(lambda: len(Waiting.notes) == 3)
    assert Waiting.notes == ["open", "CancelledError", "on_close closed"]


async def test_an_end_from_inside_leaves_open_to_its_own_end(serve: Serve, connect: Connect) -> None:
    class Tidy(Recorder):
        async def body(self) -> None:
            async with self.stream:
                await self.stream.write(1)
            for _ in range(10):
                await asyncio.sleep(0)
            self.notes.append("tidied up")

    serve(Tidy)
    it = await (await connect()).request("/tidy")
    await it.rest()
    await until(lambda: len(Tidy.notes) == 4)
    assert Tidy.notes == ["open", "tidied up", "returned", "on_close closed"]


async def test_a_disconnect_cancels_open_even_if_a_write_was_the_first_to_know(
    serve: Serve, connect: Connect, http_port: int
) -> None:
    go_on = asyncio.Event()

    class Careless(Recorder):
        async def body(self) -> None:
            await self.stream.flush()
            await go_on.wait()
            while True:
                try:
                    self.stream.write("x" * 20_000)
                except StreamClosedError:
                    self.notes.append("caught")
                await asyncio.sleep(0)

    serve(Careless)
    client = socket.create_connection(("127.0.0.1", http_port))
    client.send(b"GET /careless HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: Careless.handlers and Careless.handlers[0].stream.started)
    # Both in one turn of the event loop.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    go_on.set()
    await until(lambda: Careless.notes[-1] == "on_close disconnected")
    assert Careless.notes[:2] == ["open", "caught"]
    assert Careless.notes[-2:] == ["CancelledError", "on_close disconnected"]


async def test_a_task_of_open_may_end_the_stream_without_cancelling_it(
    serve: Serve, connect: Connect
) -> None:
    class Delegates(Recorder):
        async def body(self) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.work())
            await asyncio.sleep(0.01)
            self.notes.append("went on")

        async def work(self) -> None:
            async with self.stream:
                await self.stream.write(1)

    serve(Delegates)
    it = await (await connect()).request("/delegates")
    await it.rest()
    assert it.complete
    await until(lambda: len(Delegates.notes) == 4)
    assert Delegates.notes == ["open", "went on", "returned", "on_close closed"]


async def test_a_task_that_open_only_started_does_not_keep_it_for_ever(
    serve: Serve, connect: Connect, app: tornado.web.Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tornado_sse.handler._GRACE", 0.1)

    class Hub(Recorder):
        async def body(self) -> None:
            await self.stream.flush()
            self.task = asyncio.create_task(self.close_all())
            await asyncio.Event().wait()

        async def close_all(self) -> None:
            self.stream.close()

    serve(Hub)
    it = await (await connect()).request("/hub")
    await it.rest()
    await until(lambda: Capacity.of(app).used == 0)
    assert Hub.notes == ["open", "CancelledError", "on_close closed"]


async def test_an_end_that_was_only_scheduled_cancels_open(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    class Later(Recorder):
        async def body(self) -> None:
            await self.stream.flush()
            asyncio.get_running_loop().call_later(0.01, self.stream.close)
            await asyncio.Event().wait()

    serve(Later)
    it = await (await connect()).request("/later")
    await it.rest()
    await until(lambda: Capacity.of(app).used == 0)
    assert Later.notes == ["open", "CancelledError", "on_close closed"]


async def test_what_on_close_puts_into_its_context_is_nobody_elses(serve: Serve, connect: Connect) -> None:
    var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=0)
    seen: list[int] = []

    class Sets(SSEHandler):
        def on_close(self) -> None:
            seen.append(var.get())
            var.set(len(seen))

    serve(Sets)
    for i in range(3):
        (await (await connect()).request("/sets")).reset()
        await until(lambda i=i: len(seen) == i + 1)
    assert seen == [0, 0, 0]


@pytest.mark.parametrize("pause", [0, 0.01])
async def test_a_disconnect_of_many_writers_is_no_error_either(
    serve: Serve, connect: Connect, pause: float
) -> None:
    class Pumps(Recorder):
        async def body(self) -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(self.pump())

        async def pump(self) -> None:
            while True:
                await self.stream.write("x" * 1000)
                await asyncio.sleep(pause)

    serve(Pumps)
    it = await (await connect()).request("/pumps")
    await it.events(3)
    it.reset()
    await until(lambda: len(Pumps.notes) == 3)
    assert Pumps.notes[-1] == "on_close disconnected"


async def test_an_error_beside_a_disconnect_is_still_an_error(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    class Mixed(Recorder):
        async def body(self) -> None:
            await self.stream.flush()
            try:
                await asyncio.Event().wait()
            finally:
                raise ExceptionGroup("both", [StreamClosedError(), ZeroDivisionError()])

    serve(Mixed)
    (await (await connect()).request("/mixed")).reset()
    await until(lambda: len(Mixed.notes) == 3)
    logs.claim("Uncaught exception")


async def test_open_may_refuse_to_be_cancelled(serve: Serve, connect: Connect) -> None:
    class Stubborn(Recorder):
        async def body(self) -> None:
            await self.stream.flush()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            for _ in range(10):
                await asyncio.sleep(0)
            self.notes.append("done all the same")

    serve(Stubborn)
    (await (await connect()).request("/stubborn")).reset()
    await until(lambda: len(Stubborn.notes) == 4)
    assert Stubborn.notes == ["open", "done all the same", "returned", "on_close disconnected"]


async def test_a_cancellation_from_elsewhere_is_no_disconnect(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    tasks: list[asyncio.Task[Any] | None] = []

    class Shot(Recorder):
        async def body(self) -> None:
            tasks.append(asyncio.current_task())
            await self.stream.flush()
            await asyncio.Event().wait()

    serve(Shot)
    it = await (await connect()).request("/shot")
    assert tasks[0] is not None
    tasks[0].cancel()
    await it.rest()
    assert it.complete is False
    await until(lambda: len(Shot.notes) == 3)
    assert Shot.notes == ["open", "CancelledError", "on_close failed"]
    assert tasks[0].cancelled()
    if tornado.version_info < (6, 6):
        logs.claim("Exception in callback")  # how Tornado takes any handler's cancellation


# Resuming, and not


async def test_the_id_to_resume_from_is_known_to_open(serve: Serve, connect: Connect) -> None:
    class Resume(SSEHandler):
        async def open(self) -> None:
            async with self.stream:
                await self.stream.write(self.stream.last_event_id)

    serve(Resume)
    for path, headers, expected in [
        ("/resume", [], "null"),
        ("/resume", [("Last-Event-ID", "…".encode())], '"…"'),
        ("/resume?last_event_id=a%0Ab", [], '"a\\nb"'),
        ("/resume?last_event_id=q", [("Last-Event-ID", "h")], '"h"'),
        ("/resume", [("Last-Event-ID", "x" * 8000)], '"' + "x" * 8000 + '"'),
        ("/resume", [("Last-Event-ID", b"\xff\xfe")], '"ÿþ"'),
        ("/resume", [("Last-Event-ID", "'; DROP TABLE events; --")], '"\'; DROP TABLE events; --"'),
        ("/resume", [("Last-Event-ID", "../../etc/passwd")], '"../../etc/passwd"'),
    ]:
        it = await (await connect()).request(path, headers=headers)
        assert (await it.event()).data == expected


async def test_after_finish_the_reconnect_is_told_to_stay_away(serve: Serve, connect: Connect) -> None:
    class Short(Recorder):
        async def body(self) -> None:
            await self.stream.write(1, id=5)
            await self.stream.finish()

    serve(Short)
    it = await (await connect()).request("/short")
    last = (await it.events(2))[-1]
    await it.rest()
    assert (last.type, last.id, it.complete) == ("finish", "5~final", True)
    Short.notes.clear()
    for path, headers in [
        ("/short", [("Last-Event-ID", last.id or "")]),
        (f"/short?last_event_id={last.id}", []),
    ]:
        it = await (await connect()).request(path, headers=headers)
        assert it.status == 204
    assert Short.notes == [], "nothing was opened for it"


# TLS, input, leaks


async def test_tls(io_loop: IOLoop, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    class Much(SSEHandler):
        async def open(self) -> None:
            async with self.stream:
                for i in range(200):
                    await self.stream.write("x" * 5000, id=i)

    server = tornado.httpserver.HTTPServer(tornado.web.Application([("/", Much)]), ssl_options=tls[0])
    (listener,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(listener)
    it = await Connection.open(*listener.getsockname(), ssl=tls[1], server_hostname="localhost")
    await it.request("/")
    assert [int(event.id or -1) for event in await it.events(200)] == list(range(200))
    await it.rest()
    assert it.complete
    it.close()
    server.stop()


@pytest.mark.parametrize(
    "after",
    [b"GET /greeting HTTP/1.1\r\nHost: x\r\n\r\n", b"garbage\0\xff" * 100, b"\r\n\r\n"],
    ids=["pipelined", "garbage", "blank"],
)
async def test_what_follows_the_request_neither_piles_up_nor_hides_the_end(
    serve: Serve, connect: Connect, after: bytes
) -> None:
    serve(Waiting)
    it = await connect()
    await it.send(b"GET /waiting HTTP/1.1\r\nHost: x\r\n\r\n" + after)
    await it.read_head()
    await it.send(after)
    it.close()
    await until(lambda: len(Waiting.notes) == 3)
    assert Waiting.notes[-1] == "on_close disconnected"


async def test_a_body_on_get_is_read_and_ignored(serve: Serve, connect: Connect) -> None:
    serve(Greeting)
    it = await (await connect()).request("/greeting/you", body=b"who asked?")
    assert (await it.event()).data == '{"hello":"you"}'


async def test_a_stream_whose_time_is_over_before_it_begins_is_refused(
    serve: Serve, connect: Connect, logs: Logs
) -> None:
    class Expired(Recorder):
        def sse_max_age(self) -> float:
            return -5

    serve(Expired)
    assert (await (await connect()).request("/expired")).status == 403
    assert (await (await connect()).request("/expired", method="OPTIONS")).status == 204
    assert Expired.notes == []
    logs.claim("403", count=2)


def test_a_handler_that_can_not_work_is_refused_when_it_is_defined() -> None:
    with pytest.raises(SettingError, match="on_disconnect must be"):
        type("Typo", (SSEHandler,), {"on_disconnect": "Detach"})

    async def on_close(self: SSEHandler) -> None: ...

    with pytest.raises(TypeError, match="can't be a coroutine"):
        type("Waits", (SSEHandler,), {"on_close": on_close})


async def test_a_handler_is_freed_without_the_garbage_collector(
    serve: Serve, http_server: object, http_port: int, app: tornado.web.Application
) -> None:
    serve(Greeting)
    handlers: list[weakref.ref[Any]] = []

    class Freed(Recorder):
        async def body(self) -> None:
            handlers.append(weakref.ref(self))
            self.handlers.clear()
            async with self.stream:
                await self.stream.write(1)

    serve(Freed)
    gc.disable()
    try:
        for _ in range(5):
            it = await (await Connection.open("127.0.0.1", http_port)).request("/freed")
            await it.rest()
            it.close()
        await until(lambda: Capacity.of(app).used == 0)
        await until(lambda: not any(handler() for handler in handlers))
    finally:
        gc.enable()
    assert len(handlers) == 5


async def test_a_log_line_at_open_and_one_at_close(serve: Serve, connect: Connect, logs: Logs) -> None:
    serve(Greeting)
    await (await (await connect()).request("/greeting/you?token=s3cret&x=1")).rest()
    await until(lambda: len(logs.messages()) == 2)
    opened, closed = logs.messages()
    assert opened == "GET /greeting/you?token,x from 127.0.0.1: stream opened"
    assert closed.startswith("GET /greeting/you?token,x from 127.0.0.1: stream closed after 0.")
    assert " 1 events, " in closed


@pytest.mark.parametrize("error", [tornado.web.HTTPError(404, "no such thing"), KeyError("oops")])
async def test_no_log_line_of_an_error_shows_what_may_be_a_token(
    error: Exception, serve: Serve, connect: Connect, logs: Logs
) -> None:
    class Failing(SSEHandler):
        async def open(self) -> None:
            raise error

    serve(Failing)
    await (await connect()).request("/failing?token=s3cret")
    lines = logs.claim("GET /failing", count=2)  # of the error and of the access
    shown = "\n".join(map(logging.Formatter().format, lines))
    assert "s3cret" not in shown
    assert shown.count("GET /failing?token from 127.0.0.1") == 2
    assert ("Traceback" in shown) == isinstance(error, KeyError)


async def test_an_old_stream_ends_cleanly_and_open_with_it(serve: Serve, connect: Connect) -> None:
    class Aged(Waiting):
        def sse_max_age(self) -> float:
            return float(self.get_query_argument("expires"))

    serve(Aged)
    it = await (await connect()).request("/aged?expires=0.2")
    await it.rest()
    assert it.complete
    await until(lambda: len(Aged.notes) == 3)
    assert Aged.notes[-1] == f"on_close {Reason.EXPIRED}"


async def test_a_client_that_never_reads_is_cut_and_hurts_nobody(
    serve: Serve, connect: Connect, app: tornado.web.Application
) -> None:
    class Flood(Recorder):
        sse_stall_timeout = 1
        sse_max_buffer = 500_000

        async def body(self) -> None:
            while True:
                await self.stream.write("x" * 10_000)

    serve(Flood, Greeting)
    it = await connect()
    it.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    it.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await it.send("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: Flood.handlers)
    stream = Flood.handlers[0].stream
    most = 0
    while Capacity.of(app).used:
        most = max(most, stream.pending)
        other = await (await connect()).request("/greeting/you")
        assert (await other.event()).data == '{"hello":"you"}'
        other.reset()
        await asyncio.sleep(0.05)
    assert 0 < most <= 500_000
    assert stream.reason is Reason.STALLED
    assert Flood.notes[-1] == "on_close stalled"


@pytest.mark.gen_test(timeout=120)
async def test_two_thousand_clients_come_and_go_and_leave_nothing(
    serve: Serve, http_server: object, http_port: int, app: tornado.web.Application
) -> None:
    # What is logged is kept by this test run, and would be what is measured.
    logging.getLogger("tornado_sse").setLevel(logging.WARNING)
    serve(Waiting, Returned, Idle)
    loop = asyncio.get_running_loop()

    async def visit(count: int) -> None:
        for _ in range(count // 50):
            clients = [socket.create_connection(("127.0.0.1", http_port)) for _ in range(50)]
            for i, client in enumerate(clients):
                client.setblocking(False)
                path = (b"waiting", b"returned", b"idle")[i % 3]
                client.send(b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            for i, client in enumerate(clients):
                assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.1 200 ")
                if i % 2:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            await until(lambda: Capacity.of(app).used == 0)
            for handler in (Waiting, Returned):
                handler.notes.clear()
                handler.handlers.clear()
        await until(lambda: len(asyncio.all_tasks()) == 1)

    def alive() -> int:
        gc.collect()
        return sum(
            isinstance(each, (tornado_sse.Stream, tornado.web.RequestHandler)) for each in gc.get_objects()
        )

    await visit(400)
    before, memory, files = alive(), _resident(), _files()
    await visit(2000)
    assert alive() <= before
    assert _files() == files
    assert len(Ticker.of(loop)) == 0
    assert _resident() - memory < 3_000_000


def _files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def _resident() -> int:
    if not os.path.exists("/proc/self/statm"):
        return 0
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    for handler in (Endless, Waiting, WaitingEarly, Returned):
        handler.notes.clear()
        handler.handlers.clear()
