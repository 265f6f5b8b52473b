"""The open streams of an application in this process, and how many there may be."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Hashable

from tornado.web import Application

from tornado_sse.settings import Settings
from tornado_sse.stream import Stream

__all__ = ["Capacity"]

try:
    import resource
except ImportError:  # Windows has no limit to ask for
    _DEFAULT_LIMIT = 8_000
else:
    # Above its limit of descriptors a Tornado server can't even refuse: accept() fails, the socket stays
    # readable, and the loop spins. So streams leave a tenth for files, databases and ordinary requests.
    _descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    _DEFAULT_LIMIT = 1_000_000 if _descriptors == resource.RLIM_INFINITY else max(1, _descriptors * 9 // 10)

_NOBODY: tuple[Hashable, ...] = ()


class Capacity:
    """Knows an application's open streams; `Capacity.of` finds or makes it."""

    __slots__ = ("__weakref__", "_by_holder", "_streams", "draining", "on_end")

    def __init__(self) -> None:
        # With who is counted for each: the address, the user, where they are limited.
        self._streams: dict[Stream, tuple[Hashable, ...]] = {}
        self._by_holder: Counter[Hashable] = Counter()
        #: `release`, for `Stream.on_end`: one for all, rather than one made for each.
        self.on_end = self.release
        #: Whether no more streams are to be opened, because the process is about to end.
        self.draining = False

    @classmethod
    def of(cls, application: Application) -> Capacity:
        """Return the streams of an application."""
        capacity = _capacities.get(application)
        if capacity is None:
            capacity = _capacities[application] = cls()
        return capacity

    @property
    def streams(self) -> list[Stream]:
        """The streams that are open or being opened."""
        return list(self._streams)

    @property
    def used(self) -> int:
        """How many streams are open or being opened."""
        return len(self._streams)

    def acquire(self, stream: Stream, address: str, user: Hashable) -> int | None:
        """Take a place for a stream; its settings say how many there are.

        Returns None, or the status with which to refuse it: 503 if there is no room, 429 if its address or
        its user has had its share (RFC 6585, section 4). With ``max_streams`` None the process's
        descriptors are the limit.
        """
        settings: Settings = stream.settings
        most = settings.max_streams
        if self.draining or len(self._streams) >= (_DEFAULT_LIMIT if most is None else most):
            return 503
        holders = _NOBODY
        for kind, who, share in (
            ("address", address, settings.max_streams_per_address),
            ("user", user, settings.max_streams_per_user),
        ):
            if share is not None and who is not None:
                if self._by_holder[kind, who] >= share:
                    return 429
                holders += ((kind, who),)
        for holder in holders:
            self._by_holder[holder] += 1
        self._streams[stream] = holders
        return None

    def release(self, stream: Stream) -> None:
        """Give a stream's place back."""
        for holder in self._streams.pop(stream):
            self._by_holder[holder] -= 1
            if not self._by_holder[holder]:
                del self._by_holder[holder]


_capacities: weakref.WeakKeyDictionary[Application, Capacity] = weakref.WeakKeyDictionary()
