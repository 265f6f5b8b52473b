"""aiohttp-sse: a queue for each subscriber, as its documentation has it."""

from __future__ import annotations

import asyncio
from importlib.metadata import version

from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response

from benchmarks.fanout.server import PATH, Publisher, listen, obey

_queues: set[asyncio.Queue[str]] = set()


async def _events(request: web.Request) -> EventSourceResponse:
    queue: asyncio.Queue[str] = asyncio.Queue()
    async with sse_response(request) as response:
        _queues.add(queue)
        try:
            while response.is_connected():
                await response.send(await queue.get())
        finally:
            _queues.discard(queue)
    return response


def _publish(text: str) -> None:
    for queue in _queues:
        queue.put_nowait(text)


async def main() -> None:
    """Serve until the input ends."""
    application = web.Application()
    application.router.add_get(PATH, _events)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    listener = listen()
    await web.SockSite(runner, listener).start()
    await obey(
        listener, Publisher(_publish), f"aiohttp-sse {version('aiohttp-sse')}, aiohttp {version('aiohttp')}"
    )


if __name__ == "__main__":
    asyncio.run(main())
