"""Chat rooms that outlive their server (``python -m demos.chat [--port N] [--db FILE]``).

A room is a channel, and the broker's log is its history. Who comes gets it from the beginning, who comes back
gets what it lacks, and nobody here counts, queues or remembers anything: kill the server, and start it again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, StaticFileHandler

from tornado_sse import Broker, BrokerError, Retention, SSEError, SSEHandler, serve_until_stopped

HERE = Path(__file__).parent / "static"
LONGEST = {"id": 64, "name": 40, "text": 2000}  # characters
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Room(SSEHandler):
    """A room: GET follows it, POST says a line."""

    def prepare(self) -> None:
        """Refuse what another site's page asks for in the name of its visitor."""
        host, headers = self.request.host, self.request.headers
        # Without TLS, but on localhost, browsers tell the origin alone; other programs tell nothing.
        origin, site = headers.get("Origin", f"http://{host}"), headers.get("Sec-Fetch-Site", "none")
        if origin.partition("://")[2] != host or site not in ("none", "same-origin"):
            raise HTTPError(403)

    async def open(self, room: str) -> None:
        """Send all lines that are kept, then each new one."""
        await self.subscribe(f"room.{room}", start="earliest")

    async def post(self, room: str) -> None:
        """Append a line. Who gets no answer says it again: by its id the pages know it as the same."""
        line = {name: self.get_body_argument(name) for name in LONGEST}
        if not all(line.values()):
            raise HTTPError(400, "empty")
        if any(len(value) > LONGEST[name] for name, value in line.items()):
            raise HTTPError(413)
        broker: Broker = self.settings["sse_broker"]
        try:
            await broker.publish(f"room.{room}", {**line, "time": time.time()})
        except BrokerError as error:
            raise HTTPError(503, "%s", error) from error
        self.set_status(204)


class Asset(StaticFileHandler):
    """A file of the page."""

    def set_default_headers(self) -> None:
        """Put the policy on every answer, errors included."""
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-cache")


async def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m demos.chat", description="Chat rooms.")
    parser.add_argument("--port", type=int, default=8888, help="0 takes a free one; default: %(default)s")
    parser.add_argument("--address", default="127.0.0.1", help="where to listen; default: %(default)s")
    parser.add_argument("--db", type=Path, default="chat.db", help="the file of lines; default: %(default)s")
    options = parser.parse_args()
    broker = Broker(f"sqlite:///{quote(str(options.db))}", retention=Retention(events=1000, age=None))
    routes: list[Any] = [
        (r"/rooms/([A-Za-z0-9_.-]{1,50})", Room),
        (r"/(.*)", Asset, {"path": HERE, "default_filename": "index.html"}),
    ]
    # The longest text, if each of its characters takes four bytes and each byte is written as %XX.
    server = HTTPServer(Application(routes, sse_broker=broker), max_body_size=32 * 1024)
    try:
        sockets = bind_sockets(options.port, options.address)
        await broker.start()
    except (OSError, SSEError) as error:
        sys.exit(f"can't start: {error}")
    server.add_sockets(sockets)
    print(f"http://{options.address}:{sockets[0].getsockname()[1]}/", flush=True)
    print(f"Lines are kept in {options.db.resolve()}.", flush=True)
    await serve_until_stopped(server, deadline=2)


if __name__ == "__main__":
    asyncio.run(main())
