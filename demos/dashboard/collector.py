"""One collection for all viewers, which runs only while somebody watches.

Readings are taken in a thread, one at a time, and handed over on the event loop, where everything else
here happens; so there is no lock. There are no queues either: a viewer remembers the number of the last
reading it has sent, and asks for what came after. One that can't keep up skips readings in its text and
its picture, and still gets each number of the charts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from demos.dashboard.render import heatmap
from demos.dashboard.system import COLUMNS, Probe, Reading

__all__ = ["Collector"]

log = logging.getLogger("dashboard.collector")

_T = TypeVar("_T")

# The first reading comes soon: a page that has just been opened should not stay empty for a second.
_WARM_UP = 0.25
_READINGS_PER_LINE = 30


class Collector:
    """Takes a reading every ``interval`` seconds and keeps the last ``keep`` of them.

    :ivar facts: what does not change.
    :ivar record: the last reading's record.
    :ivar image: the heat map, as PNG.
    :ivar number: how many readings there have been.
    """

    def __init__(self, *, interval: float = 1.0, keep: int = 300) -> None:
        self._probe = Probe()
        # Always the same thread: psutil measures load since the last call *of the thread*.
        self._thread = ThreadPoolExecutor(1, "collector")
        self._interval = interval
        self._history: deque[tuple[int, Reading]] = deque(maxlen=keep)
        self._viewers = 0
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._closed = False
        self._fresh = False
        self.facts = self._probe.facts() | {"interval": interval, "keep": keep}
        self.record: dict[str, Any] = {}
        self.image = b""
        self.number = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Keep the collection going for as long as the block lasts."""
        self._viewers += 1
        # A collection that ran out of viewers ends after its last interval; until then it can be joined.
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._collect())
        try:
            yield
        finally:
            self._viewers -= 1

    async def after(self, number: int) -> bool:
        """Wait until there is a reading after the one of this number; False once the collector is closed."""
        while not self._closed and not (self._fresh and self.number > number):
            await self._news.wait()
        return not self._closed

    def samples(self, after: int) -> dict[str, bytes]:
        """Return the kept readings after the one of this number: numbers as an array's bytes.

        ``times`` are 64-bit floats, seconds since 1970; ``values`` are 32-bit floats, row by row, a row
        having the columns of ``facts["columns"]``. Both are little-endian, as every browser's arrays are.
        A row of NaN is where nobody watched.
        """
        readings = [reading for number, reading in self._history if number > after]
        return {
            "times": np.array([reading.time for reading in readings], "<f8").tobytes(),
            "values": np.array([reading.values for reading in readings], "<f4").tobytes(),
        }

    async def close(self) -> None:
        """Let every viewer's `after` return False, and stop collecting."""
        self._closed = True
        self._announce()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=False)

    def _in_thread(self, function: Callable[..., _T], *arguments: object) -> asyncio.Future[_T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _collect(self) -> None:
        loop = asyncio.get_running_loop()
        log.info("collecting every %g s", self._interval)
        await self._in_thread(self._probe.rest)
        if self._history:
            self._add(self._gap())
        due = loop.time() + _WARM_UP
        taken = 0
        while self._viewers:
            await asyncio.sleep(due - loop.time())
            # After a delay the rhythm goes on; two readings at once would be one and a half of nothing.
            due = max(due + self._interval, loop.time() + self._interval / 2)
            try:
                await self._take()
            except Exception:  # a machine that can't be read for a second is not the end of the dashboard
                log.exception("a reading failed")
                continue
            taken += 1
            if taken % _READINGS_PER_LINE == 0:
                log.info(
                    "%d readings, the last in %.0f ms, for %d viewer(s), image of %d bytes",
                    *(taken, self.record["reading_ms"], self._viewers, len(self.image)),
                )
        self._fresh = False  # whoever comes next waits for a reading rather than be shown an old one
        log.info("nobody is watching: stopped after %d readings", taken)

    async def _take(self) -> None:
        reading = await self._in_thread(self._probe.read)
        self._add(reading)
        rows = [reading.cores for _, reading in self._history]
        self.image = await self._in_thread(heatmap, rows, len(reading.cores), self.facts["keep"])
        self.record = reading.record | {"viewers": self._viewers}
        self._fresh = True
        self._announce()

    def _add(self, reading: Reading) -> None:
        self.number += 1
        self._history.append((self.number, reading))

    def _gap(self) -> Reading:
        _, last = self._history[-1]
        nothing = (math.nan,)
        return Reading(last.time + self._interval, nothing * len(COLUMNS), nothing * len(last.cores), {})

    def _announce(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
