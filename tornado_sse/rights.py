"""Whether a stream may go on: asked again and again while it is open."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from inspect import isawaitable

from tornado.log import app_log
from tornado.web import HTTPError

from tornado_sse.stream import Stream
from tornado_sse.ticker import Ticker

__all__ = ["Authorize", "Rights", "allowed"]

#: Says whether a channel may be followed.
Authorize = Callable[[str], bool | Awaitable[bool]]


async def allowed(authorize: Authorize, channel: str) -> bool:
    """Return whether a channel may be followed.

    :raises TypeError: if the answer is no bool. None, of a function that forgot to answer, is no permission.
    """
    answer = authorize(channel)
    if isawaitable(answer):
        answer = await answer
    if not isinstance(answer, bool):
        raise TypeError(f"authorize({channel!r}) must return True or False, not {answer!r}")
    return answer


class Rights:
    """Asks about a stream's channels every ``period`` seconds, less up to a tenth at random.

    Anything but a clear yes ends the stream: a question that can't be answered is no permission.
    """

    __slots__ = ("_asking", "_authorize", "_channels", "_period", "_stream", "tick_slot")

    def __init__(
        self, stream: Stream, channels: tuple[str, ...], authorize: Authorize, period: float
    ) -> None:
        self._stream = stream
        self._channels = channels
        self._authorize = authorize
        self._period = period
        self._asking: asyncio.Future[None] | None = None
        self.tick_slot: int | None = None
        self._ticker().schedule(self, self._delay())

    def on_tick(self, now: float) -> float | None:
        """Ask, unless the last question is still unanswered: then the answer took too long."""
        if self._stream.ended:
            return None
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())
        else:
            app_log.warning("%s: authorize() took more than %g s", self._stream.description, self._period)
            self._stream.revoke()
        return self._delay()

    def close(self) -> None:
        """Stop asking."""
        self._ticker().discard(self)
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self) -> None:
        granted = False
        try:
            granted = await self._all_allowed()
        except HTTPError:
            pass  # as good as a no
        except Exception:
            app_log.exception("%s: authorize() failed", self._stream.description)
        finally:
            self._asking = None
            if not granted:  # a cancellation of what authorize() waits for is no yes either
                self._stream.revoke()

    async def _all_allowed(self) -> bool:
        for channel in self._channels:
            if not await allowed(self._authorize, channel):
                return False
        return True

    def _delay(self) -> float:
        return self._period * random.uniform(0.9, 1)

    @staticmethod
    def _ticker() -> Ticker:
        return Ticker.of(asyncio.get_running_loop())
