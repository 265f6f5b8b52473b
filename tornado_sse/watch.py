"""One poller for all idle connections of an event loop.

A connection that registers with the event loop costs it seven objects (handle, context, key and so on), which
the garbage collector visits over and over: with ten thousand idle ones that is most of its work. Here each is
an entry in a dictionary, and a number in the kernel. The event loop watches one descriptor, the poller's own,
which is readable when something is the matter with any of them.

It takes epoll(7). Elsewhere there is no watch, and each connection goes to the event loop.
"""

from __future__ import annotations

import logging
import select
import weakref
from asyncio import AbstractEventLoop
from contextvars import Context
from typing import Final, Protocol

__all__ = ["Watch", "Watched"]

_log = logging.getLogger("tornado_sse")

# How many are called in one turn of the event loop; the others are not forgotten.
_MOST: Final = 256


class Watched(Protocol):
    """What a `Watch` can look after."""

    def on_readable(self) -> None:
        """Read what is there: bytes, the end, or an error. Called again as long as there is any."""

    def on_loop_closed(self) -> None:
        """Close the socket: the event loop has been closed."""


class Watch:
    """The shared poller of one event loop; `Watch.of` finds or makes it."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        # Weak, so that the entry in the table below does not keep its key alive.
        self._loop = weakref.ref(loop)
        self._members: dict[int, Watched] = {}
        self._poller: select.epoll | None = None

    @classmethod
    def of(cls, loop: AbstractEventLoop) -> Watch | None:
        """Return the watch of an event loop, or None where there can be none."""
        if not hasattr(select, "epoll"):
            return None
        watch = _watches.get(loop)
        if watch is None:
            # Of the sockets of a loop that was closed with streams open nobody else knows.
            for each in [each for each in _watches if each.is_closed()]:
                for member in list(_watches.pop(each)._members.values()):
                    member.on_loop_closed()
            watch = _watches[loop] = cls(loop)
        return watch

    def __len__(self) -> int:
        return len(self._members)

    def add(self, descriptor: int, member: Watched) -> None:
        """Have ``member.on_readable`` called when there is something to read."""
        if self._poller is None:
            loop = self._loop()
            assert loop is not None
            self._poller = select.epoll()
            # In a context of its own: what is in that of the first stream is nobody else's to see.
            Context().run(loop.add_reader, self._poller.fileno(), self._on_ready)
        self._poller.register(descriptor, select.EPOLLIN)
        self._members[descriptor] = member

    def discard(self, descriptor: int) -> None:
        """Forget a member, before its descriptor is closed. The last one takes the poller with it."""
        if self._members.pop(descriptor, None) is None:
            return
        assert self._poller is not None
        try:
            self._poller.unregister(descriptor)
        except OSError:
            pass  # it has been closed all the same, which the kernel knows
        if not self._members:
            loop = self._loop()
            if loop is not None and not loop.is_closed():
                loop.remove_reader(self._poller.fileno())
            self._poller.close()
            self._poller = None

    def _on_ready(self) -> None:
        assert self._poller is not None
        for descriptor, _ in self._poller.poll(0, _MOST):
            member = self._members.get(descriptor)
            if member is None:
                continue  # one that was called before it has ended it
            try:
                member.on_readable()
            except Exception:
                # One member's defect must not take the others' news with it.
                _log.exception("Reading failed for %r", member)
                self.discard(descriptor)


_watches: weakref.WeakKeyDictionary[AbstractEventLoop, Watch] = weakref.WeakKeyDictionary()
