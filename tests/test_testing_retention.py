from __future__ import annotations

import pytest

from tornado_sse.backends import MemoryBackend
from tornado_sse.log import Retention
from tornado_sse.testing.probe import Probe
from tornado_sse.testing.retention import check_age, check_keys, check_limits, retention

pytestmark = pytest.mark.gen_test


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def test_what_is_not_limited_is_kept_whole() -> None:
    assert retention("anything") == Retention(None, None, None, None)
    assert retention("limited.events").events == 10
    assert retention("limited.age").age == 60


async def test_each_check_stands_alone() -> None:
    clock = Clock()
    for check in (check_keys, check_limits):
        await check(Probe(MemoryBackend(retention, clock), 1.0))
    await check_age(Probe(MemoryBackend(retention, clock), 1.0), clock.advance)


async def test_age_is_not_checked_by_a_clock_that_the_backend_does_not_go_by() -> None:
    with pytest.raises(AssertionError, match=r"still has an event of 'limited.age' that is too old"):
        await check_age(Probe(MemoryBackend(retention), 0.2), Clock().advance)
