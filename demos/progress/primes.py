"""The work of a job: counting primes, a part at a time."""

from __future__ import annotations

from math import isqrt

__all__ = ["count_primes"]


def count_primes(start: int, end: int) -> int:
    """Return how many primes there are from ``start`` up to, but without, ``end``."""
    start = max(start, 2)
    if end <= start:
        return 0
    is_prime = bytearray([1]) * (end - start)
    for divisor in _up_to(isqrt(end - 1)):
        first = max(divisor * divisor, -(-start // divisor) * divisor) - start
        is_prime[first::divisor] = bytes(len(range(first, len(is_prime), divisor)))
    return sum(is_prime)


def _up_to(limit: int) -> list[int]:
    return [number for number in range(2, limit + 1) if all(number % d for d in range(2, isqrt(number) + 1))]
