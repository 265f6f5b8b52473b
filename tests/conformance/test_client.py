"""The cases of the web-platform-tests, parsing and HTTP, through the client and over real sockets."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.scripted import NO_CONTENT, STREAM, Scripted, redirect
from tests.support import within
from tornado_sse import Ending, EventSource, EventSourceError, ResponseError

pytestmark = pytest.mark.gen_test

CASES = json.loads(Path(__file__).with_name("wpt_format_cases.json").read_text("utf-8"))["cases"]
PARSING = [case for case in CASES if case["kind"] == "parse"]
HTTP = {case["id"]: case for case in CASES if case["kind"] == "http"}

# What is a page's business: origins, and the objects of its script.
NOT_FOR_PROGRAMS = {"cors-ok", "cors-bad", "cors-cookies", "redirect-origin"}


class Source(EventSource):
    errors: list[EventSourceError]

    def on_error(self, error: EventSourceError, delay: float) -> None:
        self.errors.append(error)


@asynccontextmanager
async def reading(*parts: Any) -> AsyncIterator[tuple[Scripted, Source]]:
    async with Scripted(*parts, NO_CONTENT).running() as server, Source(server.url, retry=0.01) as source:
        source.errors = []
        yield server, source


async def events(source: EventSource) -> list[dict[str, str | None]]:
    async def read() -> list[dict[str, str | None]]:
        return [{"event": each.type, "data": each.data, "id": each.id} async for each in source]

    return await within(read())


def answer(status: int, content_type: str = "text/event-stream") -> bytes:
    return f"HTTP/1.1 {status} Phrase\r\nContent-Type: {content_type}\r\nContent-Length: 0\r\n\r\n".encode()


def cases(prefix: str) -> Any:
    chosen = [case for name, case in HTTP.items() if name.startswith(prefix) and name not in NOT_FOR_PROGRAMS]
    assert chosen
    return pytest.mark.parametrize("case", chosen, ids=[case["id"] for case in chosen])


def test_every_case_is_run_or_is_a_pages_business() -> None:
    prefixes = ("mime-", "status-", "redirect-", "req-", "reconnect-", "stop-on-204", "id-sent-back")
    assert {name for name in HTTP if not name.startswith(prefixes)} <= NOT_FOR_PROGRAMS
    assert {*HTTP} >= NOT_FOR_PROGRAMS


@pytest.mark.parametrize("case", PARSING, ids=[case["id"] for case in PARSING])
async def test_parsing(io_loop: object, case: dict[str, Any]) -> None:
    stream = base64.b64decode(case["input_b64"])
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(each), each) for each in (stream[i : i + 3] for i in range(0, len(stream), 3))
    )
    chunked = STREAM[:-2] + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    for response in (STREAM + stream, chunked):
        async with reading(response) as (_, source):
            source._backoff.longest = 0.01  # some ask for a long wait
            expected = case["expect"]
            assert await events(source) == expected["events"]
            assert source.last_event_id == expected["last_event_id"]
            assert source._backoff.retry == (
                0.01 if expected["retry_ms"] is None else expected["retry_ms"] / 1000
            )
            assert source.ending is Ending.FINISHED


@cases("mime-")
async def test_the_type(io_loop: object, case: dict[str, Any]) -> None:
    async with reading(answer(case["given"]["status"], case["given"]["content_type"])) as (server, source):
        if case["expect"]["outcome"] == "open":
            assert await events(source) == []
            assert len(server.asked) == 2
        else:
            with pytest.raises(ResponseError):
                await events(source)
            assert len(server.asked) == 1


@cases("status-")
async def test_the_status(io_loop: object, case: dict[str, Any]) -> None:
    status = case["given"]["status"]
    async with reading(answer(status)) as (server, source):
        if status == 204:  # failed for good, and not by mistake: the iteration just ends
            assert await events(source) == []
        else:
            with pytest.raises(ResponseError):
                await events(source)
        assert (len(server.asked), source.errors) == (1, [])


@cases("redirect-")
async def test_redirects(io_loop: object, case: dict[str, Any]) -> None:
    async with reading(redirect("/stream", case["given"]["status"]), STREAM + b"data: x\n\n") as (
        server,
        source,
    ):
        assert [each["data"] for each in await events(source)] == ["x"]
        assert server.asked[1].target == "/stream"


@cases("req-")
async def test_the_request(io_loop: object, case: dict[str, Any]) -> None:
    async with reading(STREAM) as (server, source):
        await events(source)
        for asked in server.asked:
            assert asked.headers.items() >= case["expect"]["request_header"].items()
        assert len(server.asked) == 2


async def test_a_stream_that_only_says_when_to_come_back(io_loop: object) -> None:
    async with reading(STREAM + b"retry: 2\n", STREAM + b"data: data\n\n") as (_, source):
        assert await events(source) == HTTP["reconnect-after-empty-200"]["expect"]["events"]


async def test_the_end_of_a_stream_is_an_error_and_then_the_next_one_is_read(io_loop: object) -> None:
    async with reading(STREAM + b"retry: 2\ndata: ok\n\n", STREAM + b"data: data\n\n") as (_, source):
        assert (await within(anext(source))).data == "ok"
        assert source.errors == []
        assert (await within(anext(source))).data == "data"
        assert len(source.errors) == 1


async def test_204_stops_it(io_loop: object) -> None:
    parts = (STREAM + b"retry: 2\ndata: opened\n\n", STREAM + b"data: reconnected\n\n")
    expected = HTTP["stop-on-204"]["expect"]
    async with reading(*parts) as (server, source):
        assert await events(source) == expected["events"]
        assert len(server.asked) == expected["requests"]


async def test_the_id_is_sent_back_as_utf_8(io_loop: object) -> None:
    parts = (STREAM + "id: …\nretry: 2\ndata: hello\n\n".encode(), STREAM + b"data: x\n\n")
    async with reading(*parts) as (server, source):
        await events(source)
        sent = [asked.headers.get("Last-Event-Id") for asked in server.asked]
        hexes = [None if each is None else each.encode("latin-1").hex() for each in sent]
        assert hexes == HTTP["id-sent-back"]["expect"]["last_event_id_header_hex"]
