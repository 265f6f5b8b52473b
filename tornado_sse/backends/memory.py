"""The log in this process's memory: no setting up, no waiting, gone with the process.

It begins a new epoch each time, so clients that come back after a restart are told that they may have missed
something.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from tornado_sse.backends.base import WINDOW, Backend, Listener, Page, RetentionOf
from tornado_sse.backends.url import BackendURL
from tornado_sse.errors import BackendError, SettingError
from tornado_sse.log import ChannelLog
from tornado_sse.record import Draft, Record, new_epoch, with_id

__all__ = ["MemoryBackend", "from_url"]


class MemoryBackend(Backend):
    """Keeps channels in a dictionary.

    A channel of which nothing is left is forgotten: what remains is a floor common to all channels that are
    not in the dictionary, which is why names may come and go for ever.

    :arg retention: says how much of a channel is kept.
    :arg clock: tells the time, in seconds. The default is never set back.
    """

    name = "memory"

    def __init__(self, retention: RetentionOf, clock: Callable[[], float] = time.monotonic) -> None:
        self.epoch = new_epoch()
        self.position = 0
        self._retention = retention
        self._clock = clock
        self._listener: Listener | None = None
        self._logs: OrderedDict[str, ChannelLog] = OrderedDict()
        self._followed: set[str] = set()
        self._floor = 0
        # The positions of events with a message id, and when they were appended, by channel and id.
        self._ids: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def start(self, listener: Listener) -> None:
        """Begin to work for a broker."""
        self._listener = listener

    def append(self, draft: Draft) -> int:
        """Append an event. It is acknowledged at once."""
        listener = self._checked()
        channel = draft.channel
        now = self._clock()
        self._forget_ids(now)
        if draft.message_id is not None:
            position, _ = self._ids.setdefault((channel, draft.message_id), (self.position + 1, now))
            if position <= self.position:
                return position
        position = self.position = self.position + 1
        record = Record(position, channel, with_id(draft.frame, self.epoch, position), draft.key, now)
        log = self._logs.get(channel)
        if log is None:
            log = self._logs[channel] = ChannelLog(self._retention(channel), self._floor)
        log.append(record)
        self._forget_the_quiet(now)
        listener.on_records([record] if channel in self._followed else [], position)
        return position

    async def sync(self) -> int:
        """Return the position; there is nobody else to hear of."""
        self._checked()
        return self.position

    async def follow(self, channel: str) -> ChannelLog:
        """Begin to tell of a channel. Its log in memory is all there is."""
        self._checked()
        self._followed.add(channel)
        return self._log(channel)

    def unfollow(self, channel: str) -> None:
        """Stop telling of a channel."""
        self._followed.discard(channel)
        log = self._logs.get(channel)
        if log is not None and not len(log):
            self._forget(channel, log)

    async def read(self, channel: str, after: int, size: int) -> Page:
        """Read events of a channel."""
        log = self._log(channel)
        records, more = log.read(after, self.position, size)
        return Page(records, log.start, more)

    async def state(self, channel: str) -> Sequence[Record]:
        """Return the latest event of every key of a channel."""
        return self._log(channel).state()

    async def close(self) -> None:
        """Forget everything."""
        self._listener = None
        self._logs.clear()
        self._ids.clear()

    def _checked(self) -> Listener:
        if self._listener is None:
            raise BackendError(self.name, "it has been closed")
        return self._listener

    def _log(self, channel: str) -> ChannelLog:
        self._checked()
        log = self._logs.get(channel)
        if log is None:
            log = ChannelLog(self._retention(channel), self._floor)
            if channel in self._followed:
                self._logs[channel] = log
        else:
            log.expire(self._clock())
        return log

    def _forget_ids(self, now: float) -> None:
        while self._ids and next(iter(self._ids.values()))[1] < now - WINDOW:
            self._ids.popitem(last=False)

    def _forget_the_quiet(self, now: float) -> None:
        # Two steps around the channels for each event: however many names come, as many can go.
        for _ in range(2):
            channel, log = next(iter(self._logs.items()))
            log.expire(now)
            if len(log) or channel in self._followed:
                self._logs.move_to_end(channel)
            else:
                self._forget(channel, log)

    def _forget(self, channel: str, log: ChannelLog) -> None:
        del self._logs[channel]
        self._floor = max(self._floor, log.end)


def from_url(url: str, retention: RetentionOf) -> MemoryBackend:
    """Return the backend of ``memory://``.

    :raises SettingError: if the URL says more than that.
    """
    parsed = BackendURL(url)
    parsed.parameters({})
    if parsed.netloc or parsed.path.strip("/"):
        raise SettingError("broker", f"memory:// has no host and no path: {parsed!r}")
    return MemoryBackend(retention)
