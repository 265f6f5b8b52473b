"""Ending many streams without having all their clients back at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from tornado_sse.errors import StreamClosedError
from tornado_sse.reason import Reason
from tornado_sse.stream import Stream

__all__ = ["drain"]

# When a client is to come back, in seconds, unless `sse_retry` says otherwise.
_RETRY: Final = 2.0

# How often some streams are ended, in seconds.
_STEP: Final = 0.05


async def drain(streams: Iterable[Stream], deadline: float, told: Callable[[], object] | None = None) -> None:
    """End streams, in random order, over the first half of ``deadline`` seconds; a few take less.

    Each ends as complete, after a last line that tells its client to come back after a time of its own, when
    all others have been told too: until then a stream is refused, and a browser that has been answered
    anything but 200 never asks again (WHATWG HTML, section 9.2.3).

    :arg float deadline: in seconds; what is not through by then is cut.
    :arg told: called when all have been told, while slow ones are still taking their last bytes: the time to
        stop listening, before the first of them comes back.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    left = [stream for stream in streams if stream.started and not stream.ended]
    random.shuffle(left)
    steps = max(1, int(min(deadline / 2 / _STEP, len(left))))
    ending: list[tuple[Stream, Awaitable[None]]] = []
    for step in range(steps):
        for stream in left[len(left) * step // steps : len(left) * (step + 1) // steps]:
            retry = stream.settings.retry or _RETRY
            later = max(0.0, began + steps * _STEP - loop.time()) + retry * random.uniform(0.5, 1.5)
            ending.append((stream, stream.expire(Reason.DRAINED, later)))
        if len(ending) < len(left):
            await asyncio.sleep(began + (step + 1) * _STEP - loop.time())
    if told is not None:
        told()
    try:
        async with asyncio.timeout_at(began + deadline):
            for _, ended in ending:
                try:
                    await ended
                except StreamClosedError:
                    pass  # it went by itself
    except TimeoutError:
        for stream, _ in ending:
            stream.abort(Reason.DRAINED)
