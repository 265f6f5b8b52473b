"""``tornado-sse demo``: the server with a page on it, for a first look."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Final

import click
from tornado.httpserver import HTTPServer
from tornado.web import StaticFileHandler

from tornado_sse.broker import Broker
from tornado_sse.server import Grant, ServerOptions, make_application
from tornado_sse.shutdown import serve_until_stopped

__all__ = ["demo"]

_PAGE: Final = Path(__file__).parent / "page"

_POLICY: Final = (
    "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


class _Page(StaticFileHandler):
    def set_extra_headers(self, path: str) -> None:
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-cache")


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8888, show_default=True, help="0 is one that is free."
)
def demo(port: int) -> None:
    """Show what this is, in a page: a live clock, and words that reach all who have it open.

    It is the server of tornado-sse serve, in memory, for this machine alone; the page's source is a hundred
    lines. Anybody on this machine may publish to the channel words, as

    \b
    curl -d hello http://127.0.0.1:8888/channels/words
    """
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise click.ClickException(f"port {port} can't be listened on: {error.strerror or error}") from error
    listener.setblocking(False)
    asyncio.run(_serve(listener))


async def _serve(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    options = ServerOptions(
        grants=(Grant(None, publish=("words",)),),
        max_body=4096,
        # The page's own, and nobody else's: without them no page may publish.
        streams={
            "allowed_origins": frozenset(f"http://{host}:{port}" for host in ("127.0.0.1", "localhost"))
        },
    )
    backend = options.open_backend()
    broker = Broker(backend)
    await broker.start()
    application = make_application(
        options,
        broker,
        backend,
        (r"/(page\.(?:css|js))", _Page, {"path": _PAGE}),
        (r"/()", _Page, {"path": _PAGE, "default_filename": "index.html"}),
    )
    server = HTTPServer(application)
    server.add_socket(listener)
    clock = asyncio.create_task(_tick(broker))
    print(f"Open http://127.0.0.1:{port} in a browser; Ctrl-C ends it.", flush=True)
    try:
        await serve_until_stopped(server, deadline=2)
    finally:
        clock.cancel()


async def _tick(broker: Broker) -> None:
    while True:
        state = {"time": time.strftime("%H:%M:%S"), "readers": broker.stats.subscribers}
        await broker.publish("clock", state, event="tick", key="clock")
        # A little into the next second: timers may be early.
        await asyncio.sleep(1.02 - time.time() % 1)
