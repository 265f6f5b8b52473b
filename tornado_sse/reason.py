"""Why a stream ended."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Reason"]


class Reason(StrEnum):
    """Why a stream ended."""

    #: The application called ``close()``, or left ``async with``.
    CLOSED = "closed"
    #: The application called ``finish()``: the client is told not to come back.
    FINISHED = "finished"
    #: The client went away.
    DISCONNECTED = "disconnected"
    #: The client took nothing for ``sse_stall_timeout`` seconds.
    STALLED = "stalled"
    #: The stream reached ``sse_max_age``.
    EXPIRED = "expired"
    #: The client sent more than it has any reason to.
    FLOODED = "flooded"
    #: The application failed; the client sees an incomplete response and resumes.
    FAILED = "failed"
    #: What it was allowed to see, or whose stream it was, is not allowed any more.
    REVOKED = "revoked"
    #: The log that it followed has begun anew.
    RESET = "reset"
    #: The process is about to stop.
    DRAINED = "drained"

    @property
    def clean(self) -> bool:
        """Whether such an end is complete: what was written has been sent, and the client can tell."""
        return self in _CLEAN


_CLEAN = frozenset(
    {Reason.CLOSED, Reason.FINISHED, Reason.EXPIRED, Reason.REVOKED, Reason.RESET, Reason.DRAINED}
)
