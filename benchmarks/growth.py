"""How what it costs grows: with subscribers, with channels, with what a subscriber has missed.

Of tornado-sse alone, with the servers and the load of `benchmarks.fanout`. Everything is on 127.0.0.1, and
databases are in the system's folder for what is temporary.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from benchmarks.fanout.native import COMPILER, compiled
from benchmarks.fanout.plot import canvas, scale
from benchmarks.fanout.roster import Contender, ours
from benchmarks.fanout.subscribers import Subscribers
from benchmarks.fanout.trial import publish, publish_in_turns
from benchmarks.table import Cell, print_note, print_table

__all__ = ["FULL", "QUICK", "Extent", "measure"]

# Of those who follow the channel whose latency is measured.
_HANDFUL: Final = 10

_RATE: Final = 100

# By how many publish at once: how many events there are altogether.
_ACKNOWLEDGED: Final = {1: 1_000, 10: 5_000, 100: 20_000}

# Where what a subscriber has missed comes from.
_BACKLOGS: Final = {"memory": "memory", "sqlite": "SQLite, just started"}

#: A quantity that grows, and the medians of what it costs then.
Curve = dict[int, tuple[float, ...]]


class Extent(NamedTuple):
    """How far things grow, and how much is done at each point."""

    subscribers: tuple[int, ...]
    channels: tuple[int, ...]
    backlog: tuple[int, ...]
    deliveries: int
    seconds: float
    rounds: int


FULL: Final = Extent(
    (10, 100, 1_000, 10_000),
    (1, 10, 100, 1_000, 10_000, 100_000),
    (10, 100, 1_000, 10_000, 100_000),
    deliveries=200_000,
    seconds=2,
    rounds=3,
)
QUICK: Final = Extent(
    (10, 100, 1_000), (1, 100, 10_000), (10, 1_000, 10_000), deliveries=20_000, seconds=0.5, rounds=1
)


def measure(extent: Extent, output: Path | None, machine: str) -> None:
    """Measure, print, and if there is a folder for output, write ``growth.json`` and ``growth.svg``."""
    if COMPILER is None:
        sys.exit("the load client is in C, and there is no C compiler: apt-get install gcc libc6-dev")
    with compiled() as native, tempfile.TemporaryDirectory() as folder:
        growing = _Growing(ours(), native, Path(folder))
        curves = {
            "deliveries": _repeat(extent, extent.subscribers, growing.deliver),
            "channels": _repeat(extent, extent.channels, growing.publish),
            "memory": _repeat(extent, extent.backlog, growing.resume),
            "sqlite": _repeat(extent, extent.backlog, growing.resume_from_disk),
            "acknowledged": _repeat(extent, tuple(_ACKNOWLEDGED), growing.acknowledge),
        }
    _print(curves, extent)
    if output is not None:
        document = {"machine": machine, "extent": extent._asdict(), **curves}
        (output / "growth.json").write_text(json.dumps(document, indent=1) + "\n")
        _draw(curves, output / "growth.svg")


class _Growing:
    """Each method measures one point in a fresh server."""

    def __init__(self, contender: Contender, native: Path, folder: Path) -> None:
        self._contender = contender
        self._native = native
        self._folder = folder
        self._databases = 0

    def deliver(self, extent: Extent, subscribers: int) -> tuple[float, ...]:
        """Return the server's CPU µs per delivery."""
        events = max(20, extent.deliveries // subscribers)
        with self._contender.start() as server, Subscribers(self._native) as readers:
            readers.open(server.port, subscribers, primed=True)
            publish_in_turns(server, readers, 5, subscribers)
            return (publish_in_turns(server, readers, events, subscribers).cpu,)

    def publish(self, extent: Extent, channels: int) -> tuple[float, ...]:
        """Return the latency's median and 99th percentile in ms, and each channel's KB."""
        with self._contender.start() as server, Subscribers(self._native) as readers:
            before = server.memory()
            server.ask("fill", channels - 1)  # and the one that is published to
            after = server.memory()
            readers.open(server.port, _HANDFUL, primed=True)
            publish_in_turns(server, readers, 5, _HANDFUL)
            events = round(_RATE * extent.seconds)
            reading = publish(server, readers, "pace", _RATE, extent.seconds, events=events).reading
            return reading.p50, reading.p99, (after - before) / channels / 1024

    def resume(self, extent: Extent, backlog: int) -> tuple[float, ...]:
        """Return how many ms it takes until a subscriber has what it missed."""
        with self._contender.start() as server, Subscribers(self._native) as readers:
            readers.open(server.port, 1, primed=True)
            readers.cut()
            server.ask("store", backlog)
            return (readers.reopen(server.port, primed=True, events=backlog).wall * 1e3,)

    def resume_from_disk(self, extent: Extent, backlog: int) -> tuple[float, ...]:
        """Return the same of a server that has just started, and has everything on disk."""
        url = self._database()
        with Subscribers(self._native) as readers:
            with self._contender.start(0, url) as server:
                readers.open(server.port, 1, primed=True)
                readers.cut()
                server.ask("store", backlog)
            with self._contender.start(0, url) as server:
                return (readers.reopen(server.port, primed=True, events=backlog).wall * 1e3,)

    def acknowledge(self, extent: Extent, publishers: int) -> tuple[float, ...]:
        """Return how many events a second are on disk, as their publishers know."""
        count = min(_ACKNOWLEDGED[publishers], extent.deliveries // 10)
        with self._contender.start(0, self._database()) as server:
            seconds: float = server.ask("publishers", publishers, count)["seconds"]
            return (count / seconds,)

    def _database(self) -> str:
        self._databases += 1
        return f"sqlite:///{self._folder}/{self._databases}.db"


def _repeat(
    extent: Extent, points: tuple[int, ...], measure_point: Callable[[Extent, int], tuple[float, ...]]
) -> Curve:
    """Measure all points in each round, and return the medians."""
    found: dict[int, list[tuple[float, ...]]] = {point: [] for point in points}
    for number in range(extent.rounds):
        for point, results in found.items():
            print(
                f"round {number + 1} of {extent.rounds}: {measure_point.__name__}, {point:,}", file=sys.stderr
            )
            results.append(measure_point(extent, point))
    return {point: tuple(map(median, zip(*results, strict=True))) for point, results in found.items()}


def _print(curves: dict[str, Curve], extent: Extent) -> None:
    rounds = f"(median; rounds: {extent.rounds})"
    print_table(
        f"Growth: with subscribers {rounds}",
        ("subscribers", "CPU µs per delivery"),
        [[point, cpu] for point, (cpu,) in curves["deliveries"].items()],
    )
    print_table(
        f"Growth: with channels, {_HANDFUL} subscribers of one of them {rounds}",
        ("channels", "latency ms, median", "p99", "KB per channel"),
        [[point, *figures] for point, figures in curves["channels"].items()],
    )
    print_note(f"Each channel retains an event of 100 bytes. Latency is at {_RATE} events a second.")
    rows: list[list[Cell]] = []
    for where, label in _BACKLOGS.items():
        for point, (milliseconds,) in curves[where].items():
            rows.append([label, point, milliseconds, round(point / milliseconds * 1e3)])
    print_table(
        f"Growth: with the events that one subscriber has missed {rounds}",
        ("kept in", "missed", "ms", "events/s"),
        rows,
    )
    print_note(
        "From connecting to the last event. SQLite's server has just started: it has them on disk only."
    )
    print_table(
        f"SQLite: publishes that have been acknowledged {rounds}",
        ("publishers at once", "events/s"),
        [[point, round(rate)] for point, (rate,) in curves["acknowledged"].items()],
    )
    print_note("Each publisher awaits the acknowledgement of an event before it publishes the next.")


def _draw(curves: dict[str, Curve], path: Path) -> None:
    if (drawing := canvas(3)) is None:
        return
    figure, (delivering, publishing, resuming) = drawing
    _line(delivering, curves["deliveries"], 0)
    delivering.set(title="Delivering", xlabel="subscribers", ylabel="server's CPU µs per delivery")
    _line(publishing, curves["channels"], 0, "median")
    _line(publishing, curves["channels"], 1, "99th percentile")
    publishing.set(title="Publishing", xlabel="channels", ylabel="latency ms")
    for where, label in _BACKLOGS.items():
        _line(resuming, curves[where], 0, label)
    resuming.set(title="Resuming", xlabel="events missed", ylabel="ms")
    scale(resuming)
    for axis in (delivering, publishing):
        scale(axis, upright=False)
        axis.set_ylim(bottom=0)
    for axis in (publishing, resuming):
        axis.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def _line(axis: Any, curve: Curve, figure: int, label: str | None = None) -> None:
    axis.plot(list(curve), [figures[figure] for figures in curve.values()], marker="o", label=label)
