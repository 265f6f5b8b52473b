"""Memory per stream that waits, and how fast streams are opened.

Resident memory of a fresh server before and after its clients have come, less what the first hundred
needed. What the kernel holds for each socket is not in it.
"""

from __future__ import annotations

from statistics import median
from typing import Final

from benchmarks.child import CLIENT_CORE, SERVER_CORE, Child
from benchmarks.client import read
from benchmarks.server import serve
from benchmarks.table import print_note, print_table

__all__ = ["DESCRIPTORS", "measure"]

_VARIANTS: Final = {
    "idle/opened": "SSEHandler, open() has returned",
    "idle/on-close": "SSEHandler, open() has returned, has on_close()",
    "idle/waiting": "SSEHandler, open() waits",
    "idle/hand": "by hand: flush(), then wait",
}

_WARM_UP: Final = 100

#: How many descriptors a process needs besides the streams it is asked for.
DESCRIPTORS: Final = _WARM_UP + 200


def measure(rounds: int, streams: int) -> None:
    """Measure and print. Variants take turns."""
    results: dict[str, list[tuple[float, float]]] = {path: [] for path in _VARIANTS}
    for _ in range(rounds):
        for path, result in results.items():
            result.append(_open(path, streams))
    print_table(
        f"Idle: {streams:,} streams (median; rounds: {rounds})",
        ("each waits", "KB per stream", "least", "most", "opened per s"),
        [
            [
                _VARIANTS[path],
                median(memory for memory, _ in result),
                min(memory for memory, _ in result),
                max(memory for memory, _ in result),
                round(median(rate for _, rate in result)),
            ]
            for path, result in results.items()
        ],
    )
    print_note(
        """Resident memory of the server (1 KB is 1,024 bytes), after gc.collect(); the kernel's memory for
        the sockets is not in it. Requests are as a browser's. The rate is from the first connect to the last
        response head, 64 at a time. The fewer the streams, the more of the heap's high-water mark, some
        megabytes that opening them needs for a moment, falls to each."""
    )


def _open(path: str, streams: int) -> tuple[float, float]:
    """Return KB per stream, and streams opened per second."""
    with Child(serve, SERVER_CORE) as server, Child(read, CLIENT_CORE) as client:
        port = server.receive()
        client.ask("open", port, path, _WARM_UP)
        before = server.ask("memory")
        seconds = client.ask("open", port, path, streams)
        after = server.ask("memory")
        alive = client.ask("alive")
        if alive != _WARM_UP + streams:
            raise RuntimeError(f"only {alive} of {_WARM_UP + streams} streams are still open")
    return (after - before) / 1024 / streams, streams / seconds
