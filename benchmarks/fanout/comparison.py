"""All servers, in turns: what is measured, in which order, and how often."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.fanout.native import COMPILER, compiled
from benchmarks.fanout.restart import MISSED, Restart, restart
from benchmarks.fanout.roster import FLOOR, HAND, OURS, Contender, Places, present
from benchmarks.fanout.stall import Beside, beside
from benchmarks.fanout.trial import Plan, Trial, run

__all__ = ["Comparison", "Extent", "compare"]

# Who has a burst to deliver. Of others it is not known whether they gather what is published in one turn.
_BURSTING: Final = (OURS, HAND)


class Extent(NamedTuple):
    """How much is measured.

    :ivar burst: so many events are published in one turn, to as many subscribers as ``bursting`` says.
    :ivar restarting: so many subscribers lose their server.
    :ivar stalling: so many subscribers never read, beside as many as ``bursting`` says.
    """

    subscribers: Sequence[int]
    rounds: int
    plan: Plan
    burst: int
    bursting: int
    restarting: Sequence[int]
    stalling: int


class Comparison:
    """What was found, by a server's name and how many subscribers it had: one of each round."""

    def __init__(self, extent: Extent) -> None:
        self.extent = extent
        self.trials: dict[tuple[str, int], list[Trial]] = {}
        self.restarts: dict[tuple[str, int], list[Restart]] = {}
        #: By a server's name, and how many of its subscribers never read.
        self.stalls: dict[tuple[str, int], list[Beside]] = {}

    @property
    def names(self) -> list[str]:
        """Those who were compared, the floor first."""
        return list(dict.fromkeys(name for name, _ in self.trials))

    def median(self, name: str, subscribers: int, figure: Callable[[Trial], float]) -> float:
        """Return a figure's median over the rounds."""
        return median(map(figure, self.trials[name, subscribers]))

    def ratio(self, name: str, subscribers: int, figure: Callable[[Trial], float]) -> float:
        """Return a figure by the floor's CPU time for each delivery, taken within each round."""
        mine = self.trials[name, subscribers]
        floors = self.trials[FLOOR, subscribers]
        return median(figure(trial) / floor.turns.cpu for trial, floor in zip(mine, floors, strict=True))


def compare(extent: Extent, peers_python: str, node_modules: Path) -> Comparison:
    """Measure whoever is here. Servers take turns, in the other direction every other round."""
    if COMPILER is None:
        sys.exit("the load client is in C, and there is no C compiler: apt-get install gcc libc6-dev")
    comparison = Comparison(extent)
    with compiled() as native, tempfile.TemporaryDirectory() as folder:
        contenders = present(Places(native, peers_python, node_modules))
        for contender in contenders:
            for subscribers in extent.subscribers:
                comparison.trials[contender.name, subscribers] = []
        for number in range(extent.rounds):
            for contender in contenders[:: -1 if number % 2 else 1]:
                for subscribers in extent.subscribers:
                    _tell(extent, number, f"{contender.name}, {subscribers:,} subscribers")
                    burst = (
                        extent.burst if subscribers == extent.bursting and contender.name in _BURSTING else 0
                    )
                    trial = run(contender, native, subscribers, extent.plan, burst)
                    comparison.trials[contender.name, subscribers].append(trial)
            _restart_all(comparison, contenders, native, Path(folder), number)
            _stall_all(comparison, contenders, native, number)
    return comparison


def _restart_all(
    comparison: Comparison, contenders: Sequence[Contender], native: Path, folder: Path, number: int
) -> None:
    for contender in contenders:
        if contender.name not in (OURS, HAND):
            continue
        for subscribers in comparison.extent.restarting:
            _tell(comparison.extent, number, f"{contender.name}, restarted with {subscribers:,} subscribers")
            if contender.name == OURS:
                store = f"sqlite:///{folder}/{number}-{subscribers}.db"
                does = f"{contender.name}, SQLite: resumed, {MISSED} missed events each"
            else:
                store, does = None, f"{contender.name}: merely accepted"
            found = restart(contender, native, subscribers, store)
            comparison.restarts.setdefault((does, subscribers), []).append(found)


def _stall_all(comparison: Comparison, contenders: Sequence[Contender], native: Path, number: int) -> None:
    extent = comparison.extent
    for contender in contenders:
        if contender.name not in (OURS, HAND):
            continue
        for stalled in (0, extent.stalling):
            what = f"{contender.name}, {extent.bursting:,} subscribers beside {stalled:,} that never read"
            _tell(extent, number, what)
            found = beside(contender, native, extent.bursting, stalled, extent.plan)
            comparison.stalls.setdefault((contender.name, stalled), []).append(found)


def _tell(extent: Extent, number: int, what: str) -> None:
    print(f"round {number + 1} of {extent.rounds}: {what}", file=sys.stderr, flush=True)
