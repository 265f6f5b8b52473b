"""Nanoseconds per event, without a socket: to bytes, and from the payload to bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import median
from timeit import Timer
from typing import Any, Final

from benchmarks.shapes import BYTES, EVENTS, RECORD, TEXT
from benchmarks.table import Cell, print_table
from tornado_sse import Event, encode, encode_event, get_serializer

__all__ = ["measure"]

_PAYLOADS: Final[dict[str, tuple[str, Any]]] = {
    "json, small": ("json", RECORD),
    "json, 100 of them": ("json", [RECORD] * 100),
    "text, 100 bytes": ("text", TEXT),
    "binary, 1 KB": ("binary", BYTES),
    "msgpack, small": ("msgpack", RECORD),
    "msgpack, 1 KB of bytes": ("msgpack", {"frame": BYTES}),
}


def measure(rounds: int, seconds: float) -> None:
    """Measure and print; each figure takes about so many seconds a round."""
    jobs: dict[str, Callable[[], bytes]] = {}
    for name, event in EVENTS.items():
        jobs[f"encode_event: {name}"] = _encoding(event)
    for name, (serializer, payload) in _PAYLOADS.items():
        jobs[f"from the payload: {name}"] = _serializing(serializer, payload)
    jobs["by hand: json.dumps, small"] = lambda: f"data: {json.dumps(RECORD)}\n\n".encode()
    jobs["by hand: text, 100 bytes"] = lambda: f"event: tick\ndata: {TEXT}\n\n".encode()

    timers = {name: Timer(job) for name, job in jobs.items()}
    calls = {name: max(1, round(seconds / _once(timer))) for name, timer in timers.items()}
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, timer in timers.items():
            times[name].append(timer.timeit(calls[name]) / calls[name])
    rows: list[list[Cell]] = []
    for name, job in jobs.items():
        size, time = len(job()), median(times[name])
        rows.append([name, round(time * 1e9), size, round(size / time / 1e6)])
    print_table(f"Encoder: per event (median; rounds: {rounds})", ("event", "ns", "bytes", "MB/s"), rows)


def _encoding(event: Event) -> Callable[[], bytes]:
    return lambda: encode_event(event)


def _serializing(name: str, payload: Any) -> Callable[[], bytes]:
    def job() -> bytes:
        serializer = get_serializer(name)
        return encode_event(Event(encode(serializer, payload), codec=serializer.codec))

    return job


def _once(timer: Timer) -> float:
    calls, seconds = timer.autorange()
    return seconds / calls
