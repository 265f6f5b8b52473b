"""How many streams an application may have open at once in this process."""

from __future__ import annotations

import weakref

from tornado.web import Application

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


class Capacity:
    """Counts an application's open streams; `Capacity.of` finds or makes the count."""

    __slots__ = ("__weakref__", "used")

    def __init__(self) -> None:
        #: How many streams are open or being opened.
        self.used = 0

    @classmethod
    def of(cls, application: Application) -> Capacity:
        """Return the count of an application."""
        return _capacities.setdefault(application, cls())

    def acquire(self, limit: int | None) -> bool:
        """Take a place if there is one; with ``limit`` None the process's descriptors are the limit."""
        if self.used >= (_DEFAULT_LIMIT if limit is None else limit):
            return False
        self.used += 1
        return True

    def release(self) -> None:
        """Give a place back."""
        self.used -= 1


_capacities: weakref.WeakKeyDictionary[Application, Capacity] = weakref.WeakKeyDictionary()
