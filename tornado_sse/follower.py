"""Who shares a connection with its transport."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Follower"]


class Follower(Protocol):
    """Who sends on a transport's socket directly while nothing waits there, beside the transport itself."""

    def settle(self) -> None:
        """Add to ``Transport.bytes_sent`` what has been sent directly."""

    def on_blocked(self) -> None:
        """Stop sending directly: bytes wait now, and others would overtake them."""

    def on_drained(self) -> None:
        """Nothing waits any more."""

    def on_end(self) -> None:
        """It is all over."""
