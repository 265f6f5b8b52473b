"""One collection for all viewers, which runs only while somebody watches.

Readings are taken in a thread, one at a time, and published, each once, however many watch. A sample is an
event of its own, for nobody should miss a point of the charts; of the picture and the text only the latest
counts, so they have keys, and who is new or slow gets no others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from demos.dashboard.render import heatmap
from demos.dashboard.system import COLUMNS, Probe, Reading
from tornado_sse import Broker, BrokerClosedError

__all__ = ["KEEP", "READINGS", "Collector"]

log = logging.getLogger("dashboard.collector")

#: The channel where they are published: first ``facts``, which do not change, then what does.
READINGS = "readings"

#: How many of them the charts and the picture show.
KEEP = 300

# The first reading comes soon: a page that has just been opened should not stay empty for a second.
_WARM_UP = 0.25
_READINGS_PER_LINE = 30


class Collector:
    """Publishes a reading every ``interval`` seconds, from `start` on, while the broker has subscribers."""

    def __init__(self, broker: Broker, *, interval: float = 1.0) -> None:
        self._broker = broker
        self._probe = Probe()
        # Always the same thread: psutil measures load since the last call *of the thread*.
        self._thread = ThreadPoolExecutor(1, "collector")
        self._interval = interval
        self._cores: deque[Sequence[float]] = deque(maxlen=KEEP)
        self._task: asyncio.Task[None] | None = None
        self._publish_latest("facts", self._probe.facts() | {"interval": interval, "keep": KEEP})

    def start(self) -> None:
        """Collect, if that is not going on. To be called when somebody has subscribed."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._collect())

    async def close(self) -> None:
        """Stop collecting."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, BrokerClosedError):
                await self._task
        self._thread.shutdown(wait=False)

    async def _collect(self) -> None:
        loop = asyncio.get_running_loop()
        log.info("collecting every %g s", self._interval)
        await loop.run_in_executor(self._thread, self._probe.rest)
        due = loop.time() + _WARM_UP
        taken = 0
        last: Reading | None = None
        while True:
            await asyncio.sleep(due - loop.time())
            # After a delay the rhythm goes on; two readings at once would be one and a half of nothing.
            due = max(due + self._interval, loop.time() + self._interval / 2)
            viewers = self._broker.stats.subscribers
            if not viewers:
                break
            try:
                reading, image = await loop.run_in_executor(self._thread, self._read)
            except Exception:  # a machine that can't be read for a second is not the end of the dashboard
                log.exception("a reading failed")
                continue
            last = reading
            self._publish_sample(reading.time, reading.values)
            self._publish_latest("heatmap", image, "binary")
            self._publish_latest("system", reading.record | {"viewers": viewers})
            taken += 1
            if taken % _READINGS_PER_LINE == 0:
                log.info(
                    "%d readings, the last in %.0f ms, for %d viewer(s), image of %d bytes",
                    *(taken, reading.record["reading_ms"], viewers, len(image)),
                )
        if last is not None:
            # A hole where nobody watches; and who comes next is not shown old figures as if they were new.
            self._publish_sample(last.time + self._interval, [math.nan] * len(COLUMNS))
            self._cores.append([math.nan] * len(last.cores))
        log.info("nobody is watching: stopped after %d readings", taken)

    def _read(self) -> tuple[Reading, bytes]:
        reading = self._probe.read()
        self._cores.append(reading.cores)
        return reading, heatmap(list(self._cores), len(reading.cores), KEEP)

    def _publish_sample(self, time: float, values: Sequence[float]) -> None:
        self._broker.publish(READINGS, [time, *values], event="samples", serializer="msgpack")

    def _publish_latest(self, kind: str, payload: object, serializer: str = "json") -> None:
        self._broker.publish(READINGS, payload, event=kind, key=kind, serializer=serializer)
