"""What of a log in NATS is dropped, and when.

The server's own limits are the same for all channels and drop without a word, so they are not used. Whoever
appends to a channel keeps a tally of it, and looks at the channel when that exceeds a limit by an eighth: how
much others have appended is known to the server alone. So is which channels there are: each is looked at once
when the process has begun. Age is looked at when a channel's oldest event is due.

What is dropped of a channel is everything up to some position. That is written as the channel's floor first,
which never goes down, and is dropped then. So whoever reads events and then the floor misses nothing
unawares.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tornado_sse.backends.nats_link import Link
from tornado_sse.backends.nats_log import Log
from tornado_sse.backends.nats_names import Floors, Message, Names
from tornado_sse.backends.nats_stream import Stream
from tornado_sse.log import OVERHEAD, Retention
from tornado_sse.record import format_id

__all__ = ["Sweeper"]

# How many channels are remembered, and how many are looked at in one go.
_CHANNELS: Final = 100_000
_AT_ONCE: Final = 100


@dataclass(slots=True)
class _Tally:
    """What this process has appended to a channel since it was looked at, and what was there then."""

    events: int = 0
    bytes: int = 0
    keys: int = 0
    #: How many events without a key there were, and how many bytes they had; None if nobody has counted.
    events_before: int = 0
    bytes_before: int | None = None
    #: When its oldest event will be too old.
    due: float = float("inf")


class Sweeper:
    """Drops what is beyond the channels' limits.

    :arg retention: says how much of a channel is kept.
    :arg clock: tells the server's time, in seconds since 1970.
    """

    def __init__(
        self,
        stream: Stream,
        log: Log,
        names: Names,
        retention: Callable[[str], Retention],
        clock: Callable[[], float],
    ) -> None:
        self._stream = stream
        self._log = log
        self._names = names
        self._retention = retention
        self._clock = clock
        self._tallies: OrderedDict[str, _Tally] = OrderedDict()
        # The channels that are to be looked at: those that have exceeded a limit, and those not known yet.
        self._beyond: dict[str, None] = {}
        self._unknown: dict[str, None] = {}
        self._due: list[tuple[float, str]] = []

    def note(self, channel: str, size: int, *, keyed: bool) -> None:
        """Take notice that an event of so many bytes has been appended to a channel."""
        limit = self._retention(channel)
        tally = self._tally(channel)
        if keyed:
            tally.keys += 1
        else:
            tally.events += 1
            tally.bytes += size + OVERHEAD
        for much, most in (
            (tally.events, limit.events), (tally.bytes, limit.bytes), (tally.keys, limit.keys)
        ):  # fmt: skip
            if most is not None and much > most // 8:
                self._beyond[channel] = None
        if limit.age is not None and tally.due == float("inf"):
            self._expect(channel, tally, self._clock() + limit.age)

    async def discover(self, link: Link) -> None:
        """Take notice of the channels that there are, which others may have appended to, long ago.

        :raises BackendError: if that can't be done.
        """
        async for subject in self._stream.subjects(link):
            channel = self._names.channel_of(subject)
            if channel is not None:
                self._tally(channel)

    async def sweep(self, link: Link) -> None:
        """Look at the channels that are to be looked at, or at some of them.

        :raises BackendError: if that can't be done.
        """
        now = self._clock()
        due: list[str] = []
        while self._due and self._due[0][0] <= now and len(due) < _AT_ONCE:
            time, channel = heapq.heappop(self._due)
            if channel in self._tallies and self._tallies[channel].due == time:
                due.append(channel)
        # Those that are not got at are beyond, so that they are looked at the next time.
        self._beyond |= dict.fromkeys([*due, *[*self._unknown][:_AT_ONCE]])
        for channel in [*self._beyond]:
            try:
                await self._look(link, channel)
            except BaseException:
                self._beyond[channel] = None
                raise

    # How it is done

    def _tally(self, channel: str) -> _Tally:
        tally = self._tallies.get(channel)
        if tally is None:
            tally = self._tallies[channel] = _Tally()
            self._unknown[channel] = None
            if len(self._tallies) > _CHANNELS:
                forgotten, _ = self._tallies.popitem(last=False)
                self._unknown.pop(forgotten, None)
                self._beyond.pop(forgotten, None)
        return tally

    def _expect(self, channel: str, tally: _Tally, time: float) -> None:
        tally.due = time
        heapq.heappush(self._due, (time, channel))

    async def _look(self, link: Link, channel: str) -> None:
        self._beyond.pop(channel, None)
        self._unknown.pop(channel, None)
        tally = self._tally(channel)
        try:
            limit = self._retention(channel)
        except Exception:
            return  # whoever asks for the channel is told
        appended, tally.events, tally.keys = tally.events, 0, 0
        plain, keyed = self._names.plain(channel), self._names.keyed(channel)
        oldest = float("inf") if limit.age is None else self._clock() - limit.age
        cuts: dict[str, int] = {}
        times = []
        for subject, most in ((plain, limit.events), (keyed, limit.keys)):
            first, total = await self._log.count(link, subject)
            if first is None:
                continue
            cut = first.sequence - 1
            if limit.age is not None:
                upto, time = await self._too_old(link, subject, first, oldest)
                cut = max(cut, upto)
                times.append(time)
            if most is not None and total > most + most // 8:
                last = await self._stream.last(link, subject)
                if last is not None:
                    enough = most + most // 16
                    found = await self._log.find(
                        link, subject, most, enough, first.sequence - 1, last.sequence
                    )
                    cut = max(cut, found)
            if subject == plain and limit.bytes is not None:
                cut = max(cut, await self._too_large(link, subject, tally, cut, total, appended, limit.bytes))
            if cut >= first.sequence:
                cuts[subject] = cut
        if times:
            assert limit.age is not None
            self._expect(channel, tally, min(times) + limit.age)
        else:
            tally.due = float("inf")
        if cuts:
            await self._raise_floors(link, channel, Floors(cuts.get(plain, 0), cuts.get(keyed, 0)))
            for subject, upto in cuts.items():
                await self._stream.purge(link, subject, upto)

    async def _too_old(self, link: Link, subject: str, first: Message, oldest: float) -> tuple[int, float]:
        """Return up to where messages are too old, and the time of the first one that is not."""
        if first.time >= oldest:
            return 0, first.time
        time = datetime.fromtimestamp(oldest, UTC).isoformat()
        young = await self._log.since(link, subject, time)
        if young is not None:
            return young.sequence - 1, young.time
        last = await self._stream.last(link, subject)
        # One may have come just now.
        return (last.sequence, oldest) if last is not None and last.time < oldest else (0, first.time)

    async def _too_large(
        self, link: Link, subject: str, tally: _Tally, after: int, total: int, appended: int, most: int
    ) -> int:
        """Return up to where messages are beyond a limit of bytes; their sizes are read only if need be."""
        before, tally.bytes_before = tally.bytes_before, None
        more, tally.bytes = tally.bytes, 0
        if before is not None and before + more <= most and total <= tally.events_before + appended:
            tally.bytes_before, tally.events_before = before + more, total
            return 0
        sizes: deque[tuple[int, int]] = deque()
        size, cut, at, left = 0, 0, after, 1
        while left:
            messages, left = await self._log.batch(link, subject, at)
            for message in messages:
                at = message.sequence
                sizes.append((at, len(message.data) + len(format_id(self._log.epoch, at)) + OVERHEAD + 5))
                size += sizes[-1][1]
        if size > most + most // 8:
            while size > most and len(sizes) > 1:
                cut, dropped = sizes.popleft()
                size -= dropped
        tally.bytes_before, tally.events_before = size, len(sizes)
        return cut

    async def _raise_floors(self, link: Link, channel: str, wanted: Floors) -> None:
        subject = self._names.floors(channel)
        while True:
            last = await self._stream.last(link, subject)
            found = Floors.of(last)
            floors = Floors(max(found.plain, wanted.plain), max(found.keyed, wanted.keyed))
            expected = 0 if last is None else last.sequence
            if floors == found or await self._stream.replace(link, subject, bytes(floors), expected):
                return
