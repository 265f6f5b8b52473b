"""sse-starlette on uvicorn, uvloop and httptools: a queue for each subscriber."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib.metadata import version

import uvicorn
import uvloop
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from benchmarks.fanout.server import PATH, Publisher, listen, obey

_queues: set[asyncio.Queue[str]] = set()


async def _follow() -> AsyncIterator[dict[str, str]]:
    queue: asyncio.Queue[str] = asyncio.Queue()
    _queues.add(queue)
    try:
        while True:
            yield {"data": await queue.get()}
    finally:
        _queues.discard(queue)


async def _events(request: Request) -> EventSourceResponse:
    return EventSourceResponse(_follow())


def _publish(text: str) -> None:
    for queue in _queues:
        queue.put_nowait(text)


async def main() -> None:
    """Serve until the input ends."""
    listener = listen()
    application = Starlette(routes=[Route(PATH, _events)])
    config = uvicorn.Config(
        application, http="httptools", log_level="warning", access_log=False, lifespan="off"
    )
    serving = asyncio.create_task(uvicorn.Server(config).serve([listener]))
    versions = (f"{name} {version(name)}" for name in ("sse-starlette", "uvicorn", "uvloop"))
    await obey(listener, Publisher(_publish), ", ".join(versions))
    await serving


if __name__ == "__main__":
    uvloop.run(main())
