"""Where the log lives."""

from __future__ import annotations

from tornado_sse.backends.base import Backend, Listener, Page, RetentionOf
from tornado_sse.backends.memory import MemoryBackend
from tornado_sse.errors import BackendNotFoundError

__all__ = ["Backend", "Listener", "MemoryBackend", "Page", "RetentionOf", "open_backend"]


def open_backend(url: str | None, retention: RetentionOf) -> Backend:
    """Return the backend of a URL."""
    if url is None:
        return MemoryBackend(retention)
    raise BackendNotFoundError(url, ["memory://"])
