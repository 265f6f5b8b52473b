"""The server with the clients that people use. What one does wrong is asserted as what it does.

`docs/topics/clients.md` tells their users of it: a test that fails here may be a client that got better.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp.http_exceptions import LineTooLong
from tornado.httpserver import HTTPServer

from tests.cutter import Cutter
from tests.proxies import find_program
from tests.readers import (
    Seen,
    aiohttp_sse_client2,
    asking_again,
    at_once,
    eventsource,
    eventsource_parser,
    httpx_sse,
    install,
)
from tests.support import Connect, until, within
from tornado_sse import Broker, Event, EventParser, Retention, SSEHandler

pytestmark = pytest.mark.gen_test

Serve = Callable[..., None]

#: How many events the channel retains.
RETAINED = 10

#: What is published, and the data that it is on the wire: serializer, type, payload, data.
STORY: list[tuple[str, str | None, Any, str]] = [
    ("json", "quote", {"symbol": "AAPL"}, '{"symbol":"AAPL"}'),
    ("text", None, "two\nlines", "two\nlines"),
    ("text", None, "", ""),
    ("text", None, "grüße, 世界 😀", "grüße, 世界 😀"),
    ("text", None, "one\u2028line\x85of\x0bits\x0cown", "one\u2028line\x85of\x0bits\x0cown"),
    ("text", None, "  indented: so", "  indented: so"),
    ("text", None, "a line\n", "a line\n"),
    ("binary", "frame", bytes(range(8)), "AAECAwQFBgc="),
]


class Follow(SSEHandler):
    sse_keepalive = 0.1
    sse_retry = 0.05
    asked: list[str | None]  # the id that each client came with

    async def open(self, channel: str) -> None:
        await self.subscribe(channel)
        self.asked.append(self.request.headers.get("Last-Event-ID"))


@pytest.fixture
def broker(serve: Serve) -> Broker:
    broker = Broker(retention=Retention(events=RETAINED))
    Follow.asked = []
    serve(Follow, sse_broker=broker)
    return broker


@pytest.fixture
def url(http_server: HTTPServer, http_port: int) -> str:
    return f"http://127.0.0.1:{http_port}/follow/news"


async def tell(broker: Broker) -> list[Seen]:
    """Publish the story; return what a client that follows the standard sees."""
    return [
        Seen(
            type or "message",
            data,
            await broker.publish("news", payload, serializer=serializer, event=type),
        )
        for serializer, type, payload, data in STORY
    ]


async def say(broker: Broker, *words: str) -> list[Seen]:
    return [Seen("message", word, await broker.publish("news", word, serializer="text")) for word in words]


def correct(seen: Seen) -> Seen:
    return seen


def untyped(seen: Seen) -> Seen:
    """Without a name for the type that an event has by default."""
    return seen._replace(type=None if seen.type == "message" else seen.type)


def stripped(seen: Seen) -> Seen:
    """Without any space at the beginnings of lines, and without the newlines at the end."""
    lines = [line.lstrip(" ") for line in seen.data.split("\n")]
    return untyped(seen._replace(data="\n".join(lines).rstrip("\n")))


@contextlib.asynccontextmanager
async def reading(client: str, url: str, folder: Path) -> AsyncIterator[AsyncIterator[Seen]]:
    """Run a client that resumes, by itself or by its user."""
    if client == "eventsource":
        async with eventsource(url, folder) as events:
            yield events
    elif client == "eventsource-parser":
        async with eventsource_parser(url, folder) as events:
            yield (event async for event in events if not (event.type or "").startswith("("))
    else:
        read = {"httpx-sse": httpx_sse, "aiohttp-sse-client2": aiohttp_sse_client2}[client]
        async with at_once(asking_again(read, url)) as events:
            yield events


CLIENTS = {
    "httpx-sse": correct,
    "aiohttp-sse-client2": stripped,
    "eventsource": correct,
    "eventsource-parser": untyped,
}


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Return a folder with packages for Node; they are fetched here, where no event loop has to wait."""
    install(tmp_path)
    return tmp_path


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    if request.param.startswith("eventsource"):
        request.getfixturevalue("packages")
    return str(request.param)


async def test_it_is_read_to_the_letter_and_resumed(
    broker: Broker, url: str, http_port: int, connect: Connect, tmp_path: Path, client: str
) -> None:
    seen_as = CLIENTS[client]

    async def sees(told: list[Seen]) -> None:
        for each in told:
            assert await within(anext(events)) == seen_as(each)

    async def begins(where: str | None) -> None:
        if client == "httpx-sse":  # takes the block that says where it is, and has no data, for an event
            assert await within(anext(events)) == ("message", "", where)

    async with Cutter("127.0.0.1", http_port) as cutter:
        there = url.replace(str(http_port), str(cutter.port))
        async with reading(client, there, tmp_path) as events:
            await until(lambda: Follow.asked == [None])
            told = await tell(broker)
            epoch = (told[0].id or "").partition("-")[0]
            await begins(f"{epoch}-0")
            await sees(told)

            # All streams have one timer, so one that began later has no comment before this one has.
            witness = await (await connect()).request("/follow/news")
            while not witness.body.endswith(b"\n:\n:\n"):
                assert await within(witness.read_some())
            last = await say(broker, "after a silence")
            await sees(last)

            cutter.cut()
            told = await say(broker, "while it was away", "this too")
            cutter.heal()
            await begins(last[-1].id)
            await sees(told)
            assert Follow.asked[2:] == [last[-1].id]

            cutter.cut()
            lost, *kept = await say(broker, *map(str, range(RETAINED + 1)))
            cutter.heal()
            await begins(told[-1].id)
            gap = await within(anext(events))
            assert (gap.type, gap.id) == ("gap", lost.id)
            assert json.loads(gap.data) == {
                "channel": "news",
                "reason": "expired",
                "after": told[-1].id,
                "until": lost.id,
            }
            await sees(kept)


async def test_curl_prints_each_event_at_once_and_says_how_the_stream_ended(
    broker: Broker, url: str, http_port: int
) -> None:
    curl = find_program("curl")

    async def run(port: int, *options: str) -> asyncio.subprocess.Process:
        there = url.replace(str(http_port), str(port))
        return await asyncio.create_subprocess_exec(
            *(curl, "-sN", "--noproxy", "*", *options, there), stdout=asyncio.subprocess.PIPE
        )

    async def sees(process: asyncio.subprocess.Process, parser: EventParser, told: list[Seen]) -> bytes:
        assert process.stdout is not None
        printed = b""
        events: list[Event] = []
        while len(events) < len(told):
            printed += (piece := await within(process.stdout.read(65536)))
            assert piece, printed
            events += parser.feed(piece)
        assert [(each.type, each.data, each.id) for each in events] == told
        return printed

    async with Cutter("127.0.0.1", http_port) as cutter:
        process = await run(cutter.port)
        assert process.stdout is not None
        await until(lambda: Follow.asked == [None])
        told = await tell(broker)
        parser = EventParser()
        printed = await sees(process, parser, told)
        epoch = (told[0].id or "").partition("-")[0]
        assert re.match(
            rf"id: {epoch}-0\nretry: \d+\n\n(:\n)*event: quote\nid: {epoch}-1\n".encode(), printed
        )
        comment = b""
        while not comment.endswith(b":\n"):
            comment += (piece := await within(process.stdout.read(65536)))
            assert piece
        assert set(comment.split()) == {b":"}
        cutter.cut()
        await within(process.communicate())
        assert process.returncode in (18, 56)  # a part only; a failure in receiving: never 0

    told = await say(broker, "while it was away")
    process = await run(http_port, "-H", f"Last-Event-ID: {parser.last_event_id}")
    await sees(process, EventParser(), told)
    await within(broker.drain(1))
    await within(process.communicate())
    assert process.returncode == 0


async def test_eventsource_forgets_where_it_was_when_it_is_cut_before_its_first_event(
    broker: Broker, url: str, http_port: int, packages: Path
) -> None:
    # The standard has it remember the id of a block without data; it takes ids from events alone.
    async with Cutter("127.0.0.1", http_port) as cutter:
        there = url.replace(str(http_port), str(cutter.port))
        async with eventsource(there, packages) as events:
            await until(lambda: Follow.asked == [None])
            cutter.cut()
            await say(broker, "lost")
            cutter.heal()
            await until(lambda: Follow.asked == [None, None])
            (told,) = await say(broker, "seen")
            assert await within(anext(events)) == told


async def test_eventsource_parser_tells_of_comments_and_takes_our_field_for_an_error(
    broker: Broker, url: str, packages: Path
) -> None:
    async with eventsource_parser(url, packages) as events:
        await until(lambda: Follow.asked == [None])
        id = await broker.publish("news", {"a": 1}, serializer="json")
        seen = []
        while ("(comment)", "", None) not in seen or (None, '{"a":1}', id) not in seen:
            seen.append(await within(anext(events)))
        # The field is for readers that know it. The event is none the worse, and errors are told of
        # only to who asks for them.
        assert {each for each in seen if each.type != "(comment)"} == {
            Seen("(retry)", seen[0].data, None),
            Seen("(error)", 'Unknown field "codec"', None),
            Seen(None, '{"a":1}', id),
        }


async def test_aiohttp_sse_client2_has_a_longest_line_and_raises_when_it_is_cut(
    broker: Broker, url: str, http_port: int
) -> None:
    async with Cutter("127.0.0.1", http_port) as cutter:
        there = url.replace(str(http_port), str(cutter.port))
        async with contextlib.aclosing(aiohttp_sse_client2(there)) as events:
            reading = asyncio.ensure_future(anext(events))
            await until(lambda: Follow.asked == [None])
            cutter.cut()
            with pytest.raises(aiohttp.ClientError):
                await within(reading)
    async with contextlib.aclosing(aiohttp_sse_client2(url)) as events:
        reading = asyncio.ensure_future(anext(events))
        await until(lambda: Follow.asked == [None, None])
        await say(broker, "x" * 2**20)
        with pytest.raises(LineTooLong, match="524288"):
            await within(reading)


async def test_clients_of_python_have_a_timeout_that_ends_streams(io_loop: object) -> None:
    async with httpx.AsyncClient() as client:
        assert client.timeout.read == 5
    async with aiohttp.ClientSession() as session:
        assert session.timeout.total == 300
