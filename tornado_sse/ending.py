"""Why an `EventSource` ended."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Ending"]


class Ending(StrEnum):
    """Why an `EventSource` ended."""

    #: The server has said that there is nothing more to come: 204, or `Stream.finish` on our servers.
    FINISHED = "finished"
    #: The response was complete, and no other was wanted (``reconnect=False``).
    COMPLETE = "complete"
    #: `EventSource.close` was called, or the consumer was cancelled.
    CLOSED = "closed"
    #: Iterating raises what went wrong; it is ``EventSource.error``, too.
    FAILED = "failed"
