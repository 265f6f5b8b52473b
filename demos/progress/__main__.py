"""Long jobs, and how far they are (``python -m demos.progress [--port N] [--db FILE]``).

A job is the latest event of its key in the log, for a page that is opened or comes back as for a server that
is started again: it goes on where that event says. Kill it as you like; what it counts in the end is right.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tornado.web import Application, HTTPError

from demos.page import SameSite, arguments, files, serve
from demos.progress.jobs import Jobs
from tornado_sse import BrokerError, SSEHandler

HERE = Path(__file__).parent / "static"
MOST_NUMBERS = 100_000_000


class Progress(SameSite, SSEHandler):
    """The jobs: GET follows all of them, POST starts one, DELETE stops one."""

    def initialize(self, jobs: Jobs) -> None:
        """Take what all requests share."""
        self.jobs = jobs

    async def open(self) -> None:
        """Send the state of each job, then each change."""
        await self.subscribe("jobs", start="state")

    async def post(self) -> None:
        """Start a job, and answer with its id."""
        total = self.get_body_argument("total")
        if not re.fullmatch(r"[1-9][0-9]{0,8}", total) or int(total) > MOST_NUMBERS:
            raise HTTPError(400, "no such number")
        try:
            id = await self.jobs.begin(int(total))
        except BrokerError as error:
            raise HTTPError(503, "%s", error) from error
        if id is None:
            raise HTTPError(429)
        self.set_status(202)
        self.write({"id": id})

    def delete(self) -> None:
        """Stop a job."""
        if not self.jobs.stop(self.get_query_argument("id")):
            raise HTTPError(404)
        self.set_status(204)


async def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = arguments("demos.progress", "Long jobs, and how far they are.")
    parser.add_argument("--db", type=Path, default="jobs.db", help="the file of jobs; default: %(default)s")
    parser.add_argument(
        "--pace", type=float, default=0.05, help="seconds between parts; default: %(default)s"
    )
    options = parser.parse_args()
    jobs = Jobs(f"sqlite:///{quote(str(options.db))}", options.pace)
    routes: list[Any] = [("/jobs", Progress, {"jobs": jobs}), files(HERE)]
    said = f"Jobs are kept in {options.db.resolve()}."
    await serve(Application(routes, sse_broker=jobs.broker), options, jobs.resume, said)


if __name__ == "__main__":
    asyncio.run(main())
