"""One timer for all streams of an event loop.

Ten thousand streams that each keep a timer of their own cost ten thousand timer objects, and a heap
operation for every event sent. Here a member says when it wants to be looked at next; members whose
times fall into the same slot share one dictionary entry, and only the earliest slot has a timer. A
member that is busy pays nothing: it notes that it was, and is asked again a period later.

Nothing here knows what is done at a tick, nor reads a clock of its own: time comes from the event
loop, and a test may bring a loop with a clock of its making.
"""

from __future__ import annotations

import heapq
import logging
import weakref
from asyncio import AbstractEventLoop, TimerHandle
from contextvars import Context
from typing import Final, Protocol

__all__ = ["SLOT", "Ticker", "Ticking"]

_log = logging.getLogger("tornado_sse")

#: A slot's length, in seconds: how much later than asked a member may be looked at. At most twenty
#: wake-ups a second however many members there are, and none while nobody is due.
SLOT: Final = 0.05


class Ticking(Protocol):
    """What a `Ticker` can look after."""

    #: Where the ticker keeps its note of when this member is due.
    tick_slot: int | None

    def on_tick(self, now: float) -> float | None:
        """Look after what is due at ``now`` (seconds, of the loop's clock).

        Return after how many seconds to be asked again, or None for never.
        """


class Ticker:
    """The shared timer of one event loop; `Ticker.of` finds or makes it."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        # Weak, so that an idle ticker's entry in the table below does not keep its key alive.
        self._loop = weakref.ref(loop)
        self._slots: dict[int, set[Ticking]] = {}
        self._order: list[int] = []  # a heap of the slots' numbers; may hold some that are gone
        self._timer: TimerHandle | None = None
        #: Where the callbacks of streams run: without what a request has put into its context, which an
        #: idle stream would otherwise keep. One a loop, because a context can't be entered twice at once.
        self.context = Context()

    @classmethod
    def of(cls, loop: AbstractEventLoop) -> Ticker:
        """Return the ticker of an event loop."""
        ticker = _tickers.get(loop)
        if ticker is None:
            # A loop that was closed with streams open is kept alive by their timer, for which nobody waits.
            for each in [each for each in _tickers if each.is_closed()]:
                del _tickers[each]
            ticker = _tickers[loop] = cls(loop)
        return ticker

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def now(self) -> float:
        """Return the time in seconds, by the loop's clock, which is never set back."""
        loop = self._loop()
        assert loop is not None
        return loop.time()

    def schedule(self, member: Ticking, delay: float) -> None:
        """Have ``member.on_tick`` called in ``delay`` seconds, instead of when it was due so far."""
        self.discard(member)
        loop = self._loop()
        assert loop is not None
        slot = int((loop.time() + delay) / SLOT) + 1
        members = self._slots.get(slot)
        if members is None:
            self._slots[slot] = {member}
            if len(self._order) > 2 * len(self._slots) + 100:
                self._order = sorted(self._slots)  # without the slots that have emptied; sorted is a heap
            else:
                heapq.heappush(self._order, slot)
            if self._order[0] == slot:
                self._arm(loop)
        else:
            members.add(member)
        member.tick_slot = slot

    def discard(self, member: Ticking) -> None:
        """Forget a member. The last one takes the timer with it."""
        slot = member.tick_slot
        if slot is None:
            return
        member.tick_slot = None
        members = self._slots.get(slot)
        if members is not None:
            members.discard(member)
            if not members:
                del self._slots[slot]
                if not self._slots:
                    self._order.clear()
                    if self._timer is not None:
                        self._timer.cancel()
                        self._timer = None

    def _arm(self, loop: AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._order[0] * SLOT, self._fire, context=self.context)

    def _fire(self) -> None:
        self._timer = None
        loop = self._loop()
        assert loop is not None
        now = loop.time()
        while self._order and self._order[0] * SLOT <= now:
            for member in self._slots.pop(heapq.heappop(self._order), ()):
                member.tick_slot = None
                try:
                    delay = member.on_tick(now)
                except Exception:
                    # One member's defect must not take the others' keep-alives with it.
                    _log.exception("A tick failed for %r", member)
                    continue
                if delay is not None:
                    self.schedule(member, delay)
        if self._order and self._timer is None:
            self._arm(loop)


_tickers: weakref.WeakKeyDictionary[AbstractEventLoop, Ticker] = weakref.WeakKeyDictionary()
