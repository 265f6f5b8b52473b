"""A backend that a test holds by itself, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Generic, TypeVar

from tornado_sse.backends.base import Backend, Page
from tornado_sse.log import ChannelLog, Retention
from tornado_sse.record import Draft, Record

__all__ = ["UNLIMITED", "Ear", "Opened", "held"]

UNLIMITED = Retention(None, None, None, None)

B = TypeVar("B", bound=Backend)


class Ear:
    """Who is told."""

    def __init__(self) -> None:
        self.told: list[Record] = []
        self.position = 0
        self.epochs = 0
        self.gaps: list[str] = []

    def on_records(self, records: Sequence[Record], position: int) -> None:
        self.told += records
        self.position = position

    def on_gap(self, channel: str) -> None:
        self.gaps.append(channel)

    def on_epoch(self) -> None:
        self.epochs += 1

    @property
    def positions(self) -> list[int]:
        return [record.position for record in self.told]


class Opened(Generic[B]):
    """A backend, and who is told."""

    def __init__(self, backend: B) -> None:
        self.backend = backend
        self.ear = Ear()
        backend.start(self.ear)

    async def append(
        self, channel: str = "a", data: bytes = b"x", key: str | None = None, message_id: str | None = None
    ) -> int:
        position = self.backend.append(Draft(channel, b"data: %b\n\n" % data, key, message_id))
        assert isinstance(position, asyncio.Future)
        return await position

    async def positions(self, channel: str = "a", after: int = 0) -> list[int]:
        return [record.position for record in await self.all(channel, after)]

    async def all(self, channel: str = "a", after: int = 0) -> list[Record]:
        records: list[Record] = []
        more = True
        while more:
            page: Page = await self.backend.read(channel, after, 65536)
            records += page.records
            after, more = (page.records[-1].position if page.records else after), page.more
        return records


def held(log: ChannelLog) -> list[int]:
    """Return the positions of the events of a log in memory."""
    return [record.position for record in log.read(0, 10**18, 10**9)[0]]
