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
