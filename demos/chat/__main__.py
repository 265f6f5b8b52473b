"""Chat rooms that outlive their server (``python -m demos.chat [--port N] [--db FILE]``).

A room is a channel, and the broker's log is its history. Who comes gets it from the beginning, who comes back
gets what it lacks, and nobody here counts, queues or remembers anything: kill the server, and start it again.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tornado.web import Application, HTTPError

from demos.page import SameSite, arguments, files, serve
from tornado_sse import Broker, BrokerError, Retention, SSEHandler
from tornado_sse.browser import ModuleHandler

HERE = Path(__file__).parent / "static"
LONGEST = {"id": 64, "name": 40, "text": 2000}  # characters


class Room(SameSite, SSEHandler):
    """A room: GET follows it, POST says a line."""

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


async def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = arguments("demos.chat", "Chat rooms.")
    parser.add_argument("--db", type=Path, default="chat.db", help="the file of lines; default: %(default)s")
    options = parser.parse_args()
    broker = Broker(f"sqlite:///{quote(str(options.db))}", retention=Retention(events=1000, age=None))
    routes: list[Any] = [
        (r"/rooms/([A-Za-z0-9_.-]{1,50})", Room),
        (r"/tornado_sse/(.*)", ModuleHandler),
        files(HERE),
    ]
    # The longest text fits if each of its characters takes four bytes and each byte is written as %XX.
    await serve(
        Application(routes, sse_broker=broker),
        options,
        broker.start,
        said=f"Lines are kept in {options.db.resolve()}.",
    )


if __name__ == "__main__":
    asyncio.run(main())
