"""Tornado by hand: the handlers in a set, ``write()`` and ``flush()`` to each."""

from __future__ import annotations

import asyncio

import tornado
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from benchmarks.fanout.server import PATH, Publisher, listen, obey

_handlers: set[_Events] = set()


class _Events(RequestHandler):
    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        self._gone = asyncio.Event()
        await self.flush()
        _handlers.add(self)
        await self._gone.wait()

    def on_connection_close(self) -> None:
        _handlers.discard(self)
        self._gone.set()


def _publish(text: str) -> None:
    frame = f"data: {text}\n\n"
    for handler in _handlers:
        handler.write(frame)
        handler.flush()


async def main() -> None:
    """Serve until the input ends."""
    listener = listen()
    listener.setblocking(False)
    HTTPServer(Application([(PATH, _Events)])).add_socket(listener)
    await obey(listener, Publisher(_publish), f"Tornado {tornado.version}")


if __name__ == "__main__":
    asyncio.run(main())
