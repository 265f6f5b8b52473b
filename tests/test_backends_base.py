from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tornado_sse.backends.base import Backend, Page
from tornado_sse.log import ChannelLog
from tornado_sse.record import Draft, Record

METHODS = {"start", "append", "sync", "follow", "unfollow", "read", "state", "close"}


class Complete(Backend):
    """The least that a backend is."""

    name = "complete"

    def start(self, listener: object) -> None: ...

    def append(self, draft: Draft) -> int | asyncio.Future[int]:
        return 1

    async def sync(self) -> int:
        return 0

    async def follow(self, channel: str) -> ChannelLog:
        raise NotImplementedError

    def unfollow(self, channel: str) -> None: ...

    async def read(self, channel: str, after: int, size: int) -> Page:
        return Page([], 0, False)

    async def state(self, channel: str) -> Sequence[Record]:
        return []

    async def close(self) -> None: ...


def test_a_backend_begins_with_no_epoch_and_nothing_told() -> None:
    backend = Complete()
    assert (backend.name, backend.epoch, backend.position) == ("complete", "", 0)


def test_the_contract_has_these_methods_and_each_is_documented() -> None:
    assert Backend.__abstractmethods__ == METHODS
    for name in METHODS:
        assert getattr(Backend, name).__doc__, name


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_backend_that_lacks_one_cannot_be_made(name: str) -> None:
    lacking = type("Lacking", (Complete,), {name: getattr(Backend, name)})
    with pytest.raises(TypeError, match=name):
        lacking()


def test_a_page_says_what_it_is() -> None:
    assert Page([], 5, True)._asdict() == {"records": [], "floor": 5, "more": True}
