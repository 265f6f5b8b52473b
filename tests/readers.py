"""Clients that people read event streams with, each behind one call: what it hands to its user, as it comes.

Only ``eventsource`` connects again by itself after a broken connection. For the others this does what their
users have to do: ask again, with the id of the last event.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import aiohttp
import httpx
from aiohttp_sse_client2.client import EventSource
from httpx_sse import aconnect_sse

from tests.browser.scripts import EVENTSOURCE, EVENTSOURCE_PARSER
from tests.proxies import find_program

__all__ = [
    "Seen",
    "aiohttp_sse_client2",
    "asking_again",
    "at_once",
    "eventsource",
    "eventsource_parser",
    "httpx_sse",
    "install",
]

#: How long a client that was cut off waits, in seconds.
_PAUSE = 0.05


class Seen(NamedTuple):
    """An event as a client hands it over."""

    type: str | None
    data: str
    id: str | None


Read = Callable[[str, str], AsyncGenerator[Seen, None]]


async def httpx_sse(url: str, resume: str = "") -> AsyncGenerator[Seen, None]:
    headers = {"Last-Event-ID": resume} if resume else {}
    # Without a time-out for reading: httpx's own is 5 s, less than our 15 s between comments.
    async with (
        httpx.AsyncClient(timeout=httpx.Timeout(5, read=None), trust_env=False) as client,
        aconnect_sse(client, "GET", url, headers=headers) as source,
    ):
        async for event in source.aiter_sse():
            yield Seen(event.event, event.data, event.id)


async def aiohttp_sse_client2(url: str, resume: str = "") -> AsyncGenerator[Seen, None]:
    headers = {"Last-Event-ID": resume} if resume else {}
    # Without a time-out: aiohttp's own ends whatever has taken 5 minutes.
    async with EventSource(url, headers=headers, timeout=aiohttp.ClientTimeout(total=None)) as source:
        async for event in source:
            yield Seen(event.type, event.data, event.last_event_id)


async def asking_again(read: Read, url: str, resume: str = "") -> AsyncGenerator[Seen, None]:
    """Read as one of these does, and again when the connection breaks."""
    while True:
        with contextlib.suppress(httpx.TransportError, aiohttp.ClientError):
            async with contextlib.aclosing(read(url, resume)) as events:
                async for event in events:
                    resume = event.id or resume
                    yield event
        await asyncio.sleep(_PAUSE)


@contextlib.asynccontextmanager
async def at_once(events: AsyncGenerator[Seen, None]) -> AsyncIterator[AsyncIterator[Seen]]:
    """Read in a task of its own, from now on and not from when the first event is asked for."""
    queue: asyncio.Queue[Seen] = asyncio.Queue()

    async def read() -> None:
        async with contextlib.aclosing(events):
            async for event in events:
                queue.put_nowait(event)

    async def seen() -> AsyncIterator[Seen]:
        while True:
            yield await queue.get()

    task = asyncio.ensure_future(read())
    try:
        yield seen()
    finally:
        task.cancel()
        await asyncio.wait([task])


def install(folder: Path) -> None:
    """Put packages for Node into a folder, for the programs there.

    Without Node the test is skipped, and fails in CI.
    """
    find_program("node")
    for script in (EVENTSOURCE, EVENTSOURCE_PARSER):
        home = folder / "node_modules" / script.package
        home.mkdir(parents=True)
        (home / "index.js").write_text(script.read(), "utf-8")
        (home / "package.json").write_text('{"type": "module", "exports": "./index.js"}')


_EVENTSOURCE = """
import { EventSource } from "eventsource";

const source = new EventSource(process.argv[2]);
const say = ({ type, data, lastEventId }) => console.log(JSON.stringify([type, data, lastEventId]));
for (const type of ["message", "quote", "frame", "gap"]) source.addEventListener(type, say);
"""

_EVENTSOURCE_PARSER = """
import { createParser } from "eventsource-parser";

const say = (...words) => console.log(JSON.stringify(words));
let id = "";
for (;;) {
  const parser = createParser({
    onEvent(event) {
      id = event.id ?? id;
      say(event.event ?? null, event.data, event.id ?? null);
    },
    onComment: (text) => say("(comment)", text, null),
    onRetry: (milliseconds) => say("(retry)", String(milliseconds), null),
    onError: (error) => say("(error)", error.message, null),
  });
  try {
    const { body } = await fetch(process.argv[2], { headers: id ? { "Last-Event-ID": id } : {} });
    for await (const text of body.pipeThrough(new TextDecoderStream())) parser.feed(text);
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
"""


@contextlib.asynccontextmanager
async def eventsource(url: str, folder: Path) -> AsyncIterator[AsyncIterator[Seen]]:
    """Run npm's ``eventsource`` in Node, from a folder with what it needs."""
    async with _running(_EVENTSOURCE, url, folder) as lines:
        yield lines


@contextlib.asynccontextmanager
async def eventsource_parser(url: str, folder: Path) -> AsyncIterator[AsyncIterator[Seen]]:
    """Run npm's ``eventsource-parser`` likewise; what is no event has its kind in parentheses for a type."""
    async with _running(_EVENTSOURCE_PARSER, url, folder) as lines:
        yield lines


@contextlib.asynccontextmanager
async def _running(program: str, url: str, folder: Path) -> AsyncIterator[AsyncIterator[Seen]]:
    main = folder / "main.mjs"
    main.write_text(program)
    process = await asyncio.create_subprocess_exec("node", main, url, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield _lines(process.stdout)
    finally:
        process.kill()
        await process.communicate()


async def _lines(output: asyncio.StreamReader) -> AsyncIterator[Seen]:
    async for line in output:
        yield Seen(*json.loads(line))
