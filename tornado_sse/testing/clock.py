"""An event loop's clock, set forward: an hour of keep-alives in a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Self

__all__ = ["Clock"]

# So much at once, in seconds: timers that are further apart than this fall due one after the other.
_STEP: Final = 0.25

# How many turns of the event loop follow a step, for what falls due, and what follows from that over sockets.
_TURNS: Final = 4


class Clock:
    """Sets the running event loop's clock forward, for tests of keep-alives, ages and timeouts::

        with Clock() as clock:
            async with listen(app, "/clock") as it:
                await clock.advance(15)
                await it.received(b":\\n")

    Timers fall due as in the time that has passed; sockets go on as ever. The wall clock, `time.time`, is
    left alone. So is a timeout of the test's own, if it waits meanwhile: it falls due as well.

    It needs an event loop of asyncio itself; uvloop's can't be set.
    """

    def __init__(self) -> None:
        #: How much has passed that never was, in seconds.
        self.advanced = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._time: Callable[[], float] = lambda: 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.restore()

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass.

        :raises RuntimeError: if the loop's clock can't be set, or another loop is running than before.
        """
        self._take(asyncio.get_running_loop())
        end = self.advanced + seconds
        while self.advanced < end:
            self.advanced = min(self.advanced + _STEP, end)
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    def restore(self) -> None:
        """Set the clock back to the real time. Timers that were set meanwhile fall due later for it."""
        if self._loop is not None:
            del self._loop.time
            self._loop = None

    def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is loop:
            return
        if self._loop is not None:
            raise RuntimeError("a Clock serves one event loop; make another for this one")
        self._time = loop.time
        try:
            loop.time = self._now  # type: ignore[method-assign]
        except AttributeError:
            kind = f"{type(loop).__module__}.{type(loop).__qualname__}"
            raise RuntimeError(f"the clock of a {kind} can't be set; test with asyncio's own loop") from None
        self._loop = loop

    def _now(self) -> float:
        return self._time() + self.advanced
