"""What a write returns when nobody has to wait for the client.

One object of each serves every write, where a Future each would be a cost.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

__all__ = ["READY", "TURN"]


class _Ready:
    """An awaitable that is done."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


class _Turn:
    """An awaitable that lets the event loop run once, as ``asyncio.sleep(0)`` does."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


#: Done already.
READY: Final = _Ready()

#: Done after a turn of the event loop.
TURN: Final = _Turn()
