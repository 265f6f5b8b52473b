"""CPU time per event that is written to one stream, from the call to the kernel.

The server's own CPU time, user and system, around a burst of equal events to one reader on another core.
The reader compares every byte of the body.
"""

from __future__ import annotations

from statistics import median
from typing import Final

from benchmarks.child import CLIENT_CORE, SERVER_CORE, Child
from benchmarks.client import read
from benchmarks.handlers import WRITING, Cost
from benchmarks.server import serve
from benchmarks.table import Cell, print_note, print_table

__all__ = ["measure"]

# What is shown, the path, and whether TCP_NODELAY is set by hand. Of each kind, SSE comes first.
_VARIANTS: Final = (
    ("text: stream.write()", "text/sse", False),
    ("  write(), flush()", "text/hand", False),
    ("  write(), flush(), nodelay", "text/hand", True),
    ("  socket.send() alone", "text/send", False),
    ("JSON: stream.write_json()", "json/sse", False),
    ("  dumps(), write(), flush()", "json/hand", False),
    ("  dumps(), write(), flush(), nodelay", "json/hand", True),
)

_PACES: Final = {
    "burst": "in a burst",
    "turns": "with a turn of the event loop after each",
    "single": "one by one, each a packet of its own",
}

_COLUMNS: Final = (
    "one stream", "CPU µs", "SSE ÷ this", "wall µs", "packets", "reader CPU µs", "bytes",
)  # fmt: skip

# A burst's cost, and the reader's CPU time.
Burst = tuple[Cost, float]


def measure(rounds: int, events: int) -> None:
    """Measure and print. Variants take turns, in the other direction every other round."""
    results: dict[str, list[list[Burst]]] = {pace: [[] for _ in _VARIANTS] for pace in _PACES}
    with Child(serve, SERVER_CORE) as server, Child(read, CLIENT_CORE) as reader:
        port = server.receive()
        for number in range(rounds + 1):
            for pace, bursts in results.items():
                for index in range(len(_VARIANTS))[:: 1 if number % 2 else -1]:
                    burst = _burst(server, reader, port, index, pace, _events(pace, events))
                    if number:  # the first round warms up
                        bursts[index].append(burst)
    for pace, bursts in results.items():
        count = _events(pace, events)
        print_table(
            f"Writing: per event, {count:,} events {_PACES[pace]} (median; rounds: {rounds})",
            _COLUMNS,
            [_row(bursts, index, count) for index in range(len(_VARIANTS))],
        )
    print_note(
        """CPU is the server's. "SSE ÷ this" is the CPU time of the first line of its kind by that of this
        line, taken in each round. socket.send() alone is the floor for a send each. A stream puts together
        what is written in one turn of the event loop, and gives the loop a turn every 64 events of its own
        accord; by hand nobody does either. A stream sets TCP_NODELAY, Tornado by hand does not: the kernel
        then puts events together, which is cheaper here and on a real network holds them back for a round
        trip; "nodelay" sets it there too. The reader waits for the server and not the reverse while its CPU
        time is below the wall time."""
    )


def _events(pace: str, events: int) -> int:
    return events // 20 if pace == "single" else events


def _burst(server: Child, reader: Child, port: int, index: int, pace: str, events: int) -> Burst:
    _, path, nodelay = _VARIANTS[index]
    _, event = WRITING[path]
    query = f"events={events}&pace={pace}&nodelay={'yes' if nodelay else 'no'}"
    reader.tell("burst", port, f"{path}?{query}", event, events)
    reading: float = reader.receive()
    return server.receive(), reading


def _row(bursts: list[list[Burst]], index: int, events: int) -> list[Cell]:
    label, path, _ = _VARIANTS[index]
    mine = bursts[index]
    kind = path.split("/")[0]
    ours = [path for _, path, _ in _VARIANTS].index(f"{kind}/sse")
    ratio = None
    if ours != index:
        ratio = median(our.cpu / cost.cpu for (our, _), (cost, _) in zip(bursts[ours], mine, strict=True))
    packets = [cost.packets / events for cost, _ in mine if cost.packets is not None]
    return [
        label,
        median(cost.cpu for cost, _ in mine) / events * 1e6,
        ratio,
        median(cost.wall for cost, _ in mine) / events * 1e6,
        median(packets) if packets else None,
        median(reading for _, reading in mine) / events * 1e6,
        len(WRITING[path][1]),
    ]
