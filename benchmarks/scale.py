"""What it costs to share a log: several server processes on one store, and the store's part in each event.

Of tornado-sse alone, with the servers and the load of `benchmarks.fanout`. The servers are on one core, the
store and the readers on the other; so latencies are those of a busy machine, and CPU times are what is to be
compared.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.fanout.native import COMPILER, compiled
from benchmarks.fanout.program import Server
from benchmarks.fanout.roster import ours
from benchmarks.fanout.subscribers import Reading, Subscribers
from benchmarks.stores import SHARED, STORES, Store, start
from benchmarks.table import print_note, print_table

__all__ = ["FULL", "QUICK", "Extent", "measure"]

# How many publish at once, and how many events that makes altogether.
_ACKNOWLEDGED: Final = {1: 2_000, 10: 10_000, 100: 30_000}

# Events a second: for latency, with hosts, and over all channels.
_RATE: Final = 1_000
_HOSTS_RATE: Final = 200
_CHANNELS_RATE: Final = 500

# Who follows the channel whose latency is measured.
_HANDFUL: Final = 10

#: What was measured, and at what.
Point = tuple[str, str, int]


class Extent(NamedTuple):
    """How far things grow, and how much is done at each point."""

    hosts: tuple[int, ...]
    subscribers: int
    channels: tuple[int, ...]
    seconds: float
    rounds: int


FULL: Final = Extent((1, 2, 3, 4), 250, (1, 10, 100, 1_000), seconds=5, rounds=3)
QUICK: Final = Extent((1, 2), 100, (1, 100), seconds=1, rounds=1)


def measure(extent: Extent, output: Path | None, machine: str) -> None:
    """Measure, print, and if there is a folder for output, write ``scale.json``."""
    if COMPILER is None:
        sys.exit("the load client is in C, and there is no C compiler: apt-get install gcc libc6-dev")
    found: dict[Point, list[tuple[float, ...]]] = {}
    with compiled() as native:
        for number in range(extent.rounds):
            for point, run in _points(extent).items():
                print(f"round {number + 1} of {extent.rounds}: {point}", file=sys.stderr)
                with start(point[1]) as store, Subscribers(native) as readers:
                    found.setdefault(point, []).append(run(extent, store, readers, point[2]))
    medians = {point: tuple(map(median, zip(*results, strict=True))) for point, results in found.items()}
    _print(medians, extent)
    if output is not None:
        figures = [[*point, *figures] for point, figures in medians.items()]
        document = {"machine": machine, "extent": extent._asdict(), "figures": figures}
        (output / "scale.json").write_text(json.dumps(document, indent=1) + "\n")


_Run = Callable[[Extent, Store, Subscribers, int], tuple[float, ...]]


def _points(extent: Extent) -> dict[Point, _Run]:
    points: dict[Point, _Run] = {}
    for store, shared in STORES.items():
        points["latency", store, 2 if shared else 1] = _latency
        points |= {("acknowledged", store, many): _acknowledge for many in _ACKNOWLEDGED}
    for store in SHARED:
        points |= {("hosts", store, hosts): _spread_over_hosts for hosts in extent.hosts}
        points |= {("channels", store, channels): _follow_channels for channels in extent.channels}
    return points


def _latency(extent: Extent, store: Store, readers: Subscribers, hosts: int) -> tuple[float, ...]:
    """Return the median and the 99th percentile in ms, from one process to the readers of another."""
    with ExitStack() as stack:
        servers = [stack.enter_context(ours().start(0, store.url)) for _ in range(hosts)]
        readers.open(servers[-1].port, _HANDFUL, primed=True)
        _pace(servers[0], readers, _RATE, 0.2)
        reading = _pace(servers[0], readers, _RATE, extent.seconds)
        return reading.p50, reading.p99


def _acknowledge(extent: Extent, store: Store, readers: Subscribers, publishers: int) -> tuple[float, ...]:
    """Return how many events a second have been acknowledged, and the store's CPU µs for each."""
    count = round(_ACKNOWLEDGED[publishers] * min(1, extent.seconds / FULL.seconds))
    with ours().start(0, store.url) as server:
        server.ask("publishers", publishers, publishers)
        cpu = store.cpu()
        seconds: float = server.ask("publishers", publishers, count)["seconds"]
        return count / seconds, (store.cpu() - cpu) / count * 1e6


def _spread_over_hosts(extent: Extent, store: Store, readers: Subscribers, hosts: int) -> tuple[float, ...]:
    """Return CPU µs: of a server for each delivery, and of the store for each event."""
    with ExitStack() as stack:
        servers = [stack.enter_context(ours().start(0, store.url)) for _ in range(hosts)]
        for server in servers:
            readers.open(server.port, extent.subscribers, primed=True)
        _pace(servers[0], readers, _HOSTS_RATE, 0.2)
        cpu, own = store.cpu(), sum(server.cpu() for server in servers)
        reading = _pace(servers[0], readers, _HOSTS_RATE, extent.seconds)
        used = sum(server.cpu() for server in servers) - own
        events = reading.deliveries / (hosts * extent.subscribers)
        return used / reading.deliveries * 1e6, (store.cpu() - cpu) / events * 1e6


def _follow_channels(extent: Extent, store: Store, readers: Subscribers, channels: int) -> tuple[float, ...]:
    """Return CPU µs for each event, of a server that follows the channels and of the store, and p99 in ms."""
    each = max(1, round(_CHANNELS_RATE * extent.seconds / channels))
    with ours().start(0, store.url) as writer, ours().start(0, store.url) as server:
        for number in range(channels):
            readers.open(server.port, 1, primed=True, path=f"/events/c{number}")
        cpu, own = store.cpu(), server.cpu()
        readers.expect(each)
        writer.tell("spread", _CHANNELS_RATE, each, channels)
        reading = readers.finish(each)
        writer.receive()
        events = each * channels
        return (server.cpu() - own) / events * 1e6, (store.cpu() - cpu) / events * 1e6, reading.p99


def _pace(server: Server, readers: Subscribers, rate: int, seconds: float) -> Reading:
    readers.expect(round(rate * seconds))
    server.tell("pace", rate, seconds)
    reading = readers.finish(round(rate * seconds))
    server.receive()
    return reading


def _print(medians: dict[Point, tuple[float, ...]], extent: Extent) -> None:
    rounds = f"(median; rounds: {extent.rounds})"

    def rows(kind: str) -> list[list[str | float | None]]:
        return [[store, at, *figures] for (each, store, at), figures in medians.items() if each == kind]

    print_table(
        f"Scale: from publish() to the subscribers, {_RATE} events a second {rounds}",
        ("store", "processes", "ms, median", "p99"),
        rows("latency"),
    )
    print_note("With two processes, one publishes and the other has the subscribers.")
    print_table(
        f"Scale: acknowledged publishes, one process {rounds}",
        ("store", "publishers at once", "events/s", "store's CPU µs per event"),
        rows("acknowledged"),
    )
    print_table(
        f"Scale: with hosts, {extent.subscribers} subscribers each {rounds}",
        ("store", "hosts", "CPU µs per delivery", "store's CPU µs per event"),
        rows("hosts"),
    )
    print_table(
        f"Scale: with followed channels, one subscriber each {rounds}",
        ("store", "channels", "CPU µs per event", "store's CPU µs per event", "p99 ms"),
        rows("channels"),
    )
