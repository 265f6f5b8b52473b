"""Jobs that outlive their server: tasks whose state is in the log.

Each job counts primes, a part at a time, and publishes its state after each part, with its id as the key.
So the log's latest event of that key *is* the job, and there is no other record of it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Any

from demos.progress.primes import count_primes
from tornado_sse import BackendError, Broker, BrokerClosedError, EventParser, Retention
from tornado_sse.backends import open_backend

__all__ = ["Jobs"]

PART = 50_000  # numbers
MOST_RUNNING, MOST_KEPT = 5, 12  # jobs


class Jobs:
    """The jobs: each has a state in the log, and a task if it is running here."""

    def __init__(self, url: str, pace: float) -> None:
        retention = Retention(keys=MOST_KEPT, age=None)
        self._backend = open_backend(url, lambda channel: retention)
        self.broker = Broker(self._backend)
        self._pace = pace
        self._running: dict[str, asyncio.Task[None]] = {}
        self._stopped: set[str] = set()

    async def resume(self) -> None:
        """Go on with what was running when the server before this one ended, however it did."""
        await self.broker.start()
        for record in await self._backend.state("jobs"):
            (event,) = EventParser().feed(record.frame)
            job = json.loads(event.data)
            if job["state"] == "running":
                self._start(job)

    async def begin(self, total: int) -> str | None:
        """Start a job and return its id; from now on it is there. None if enough are running.

        :raises BrokerError: if the log can't be written.
        """
        if len(self._running) >= MOST_RUNNING:
            return None
        id = secrets.token_hex(8)
        job = {"id": id, "total": total, "done": 0, "found": 0, "state": "running", "began": time.time()}
        await self.broker.publish("jobs", job, event="job", key=id)
        self._start(job)
        return id

    def stop(self, id: str) -> bool:
        """Stop a job after the part it is at; return whether it is running."""
        if id in self._running:
            self._stopped.add(id)
        return id in self._running

    def _start(self, job: dict[str, Any]) -> None:
        self._running[job["id"]] = asyncio.create_task(self._run(job))

    async def _run(self, job: dict[str, Any]) -> None:
        while job["state"] == "running":
            end = min(job["done"] + PART, job["total"])
            found = job["found"] + await asyncio.to_thread(count_primes, job["done"], end)
            await asyncio.sleep(self._pace)
            stopped = "stopped" if job["id"] in self._stopped else "running"
            state = "complete" if end == job["total"] else stopped
            # How far it is and what it has found are one event: neither is in the log without the other.
            after = {**job, "done": end, "found": found, "state": state}
            try:
                await self.broker.publish("jobs", after, event="job", key=job["id"])
            except BackendError:
                continue  # as the server that comes after this one would
            except BrokerClosedError:
                return  # which goes on
            job = after
        del self._running[job["id"]]
        self._stopped.discard(job["id"])
