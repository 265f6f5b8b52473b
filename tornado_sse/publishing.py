"""What ``publish()`` returns: an awaitable of the event's id."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from tornado_sse.backends import Backend
from tornado_sse.flow import TURN
from tornado_sse.record import format_id

__all__ = ["Published", "Publishing"]


class Published:
    """The id of an event that has been acknowledged already."""

    __slots__ = ("_id", "_wait")

    def __init__(self, id: str, *, wait: bool) -> None:
        self._id = id
        self._wait = wait

    def __await__(self) -> Generator[Any, Any, str]:
        if self._wait:
            yield from TURN.__await__()
        return self._id


class Publishing:
    """The id of an event that waits for its acknowledgement."""

    __slots__ = ("_backend", "_position")

    def __init__(self, backend: Backend, position: asyncio.Future[int]) -> None:
        self._backend = backend
        self._position = position

    def __await__(self) -> Generator[Any, Any, str]:
        # Shielded: who is cancelled while waiting has published all the same.
        position = yield from asyncio.shield(self._position).__await__()
        return format_id(self._backend.epoch, position)
