"""How long to wait before a server is asked again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

__all__ = ["Backoff"]

# A wait is up to this much longer than it would have to be, at random, so that the clients of a server that
# has restarted don't come back all at once.
_JITTER: Final = 0.5

# What doubles when the server has asked for no wait at all, in seconds.
_LEAST: Final = 0.1


class Backoff:
    """Waiting times that double with every failure in a row.

    The first one is the reconnection time: the server's ``retry``, or ``retry`` until it has sent one. It is
    never cut short, since a server asks for it to be left alone; only ``longest`` bounds it, because a server
    that asks for a year is mistaken or hostile.

    :arg float retry: seconds.
    :arg float longest: seconds; no wait is longer, whatever the server says and however often it failed.
    """

    def __init__(self, retry: float, longest: float, jitter: Callable[[], float] = random.random) -> None:
        #: The reconnection time in seconds. The server sets it.
        self.retry = retry
        self.longest = longest
        #: How often it has failed in a row.
        self.failures = 0
        self._jitter = jitter

    def wait(self, *, healthy: bool) -> float:
        """Return how long to wait, in seconds, after a connection that went well or that did not."""
        self.failures = 0 if healthy else self.failures + 1
        wait = self.retry
        if self.failures > 1:
            wait = max(wait, _LEAST) * 2.0 ** min(self.failures - 1, 64)
        return min(wait, self.longest / (1 + _JITTER)) * (1 + _JITTER * self._jitter())
