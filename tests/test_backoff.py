from __future__ import annotations

from tornado_sse.backoff import Backoff


def waits(backoff: Backoff, count: int) -> list[float]:
    return [backoff.wait(healthy=False) for _ in range(count)]


def test_waits_double_with_each_failure_in_a_row() -> None:
    assert waits(Backoff(1, 100, jitter=lambda: 0), 4) == [1, 2, 4, 8]


def test_a_connection_that_went_well_makes_it_begin_anew() -> None:
    backoff = Backoff(1, 100, jitter=lambda: 0)
    waits(backoff, 5)
    assert (backoff.wait(healthy=True), backoff.failures) == (1, 0)
    assert waits(backoff, 3) == [1, 2, 4]


def test_a_wait_is_up_to_half_as_much_longer_and_never_shorter() -> None:
    found = [Backoff(1, 100).wait(healthy=True) for _ in range(100)]
    assert 1 <= min(found) < max(found) <= 1.5


def test_what_the_server_says_counts_up_to_the_longest_wait() -> None:
    backoff = Backoff(1, 30, jitter=lambda: 1)
    backoff.retry = 10
    assert backoff.wait(healthy=True) == 15
    backoff.retry = 2.0**53
    assert backoff.wait(healthy=True) == 30
    assert waits(backoff, 2000)[-1] == 30


def test_a_server_that_asks_for_no_wait_is_not_hammered_while_it_fails() -> None:
    backoff = Backoff(0, 30, jitter=lambda: 0)
    assert backoff.wait(healthy=True) == 0
    assert waits(backoff, 4) == [0, 0.2, 0.4, 0.8]
