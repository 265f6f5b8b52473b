"""What was found, as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.fanout.comparison import Comparison
from benchmarks.fanout.trial import AT_ONCE, Trial
from benchmarks.table import Cell, print_note, print_table

__all__ = ["plain", "print_report", "save"]


def print_report(comparison: Comparison) -> None:
    """Print all tables."""
    _print_summary(comparison)
    _print_each(comparison, "server's CPU µs per delivery", lambda trial: trial.turns.cpu)
    _print_each(comparison, "deliveries a second", lambda trial: round(trial.turns.rate))
    _print_each(comparison, "latency ms, median, paced", lambda trial: trial.paced.reading.p50)
    _print_each(comparison, "latency ms, p99, paced", lambda trial: trial.paced.reading.p99)
    _print_each(comparison, "readers' CPU µs per delivery", lambda trial: trial.turns.reader_cpu)
    _print_each(comparison, "% of the readers' core in use", lambda trial: trial.turns.reader_share * 100)
    _print_each(comparison, "% of it in use, paced", lambda trial: trial.paced.reader_share * 100)
    _print_each(comparison, "events per read", lambda trial: trial.turns.gathered)
    print_note(
        f"""The readers are one program in C on a core of its own. The floor shows what it allows: what a
        server has above the floor is the server's. On a loopback the kernel receives on the sender's account:
        that is in the floor. Where a reader finds more than one event at a time, sending is cheaper: the
        kernel wakes it once for all. So nobody may run away from the readers: there is a short pause after
        every {AT_ONCE:,} deliveries, which is not in the deliveries a
        second. If the floor has well over one event per read all the same, the machine had other things to
        do, and ratios to it mean little."""
    )
    _print_burst(comparison)
    _print_restarts(comparison)
    _print_stalls(comparison)
    print("\nversions")
    for name in comparison.names:
        print(f"  {name}: {comparison.trials[name, comparison.extent.subscribers[0]][0].version}")


def _print_summary(comparison: Comparison) -> None:
    extent = comparison.extent
    most = max(extent.subscribers)
    rows: list[list[Cell]] = []
    for name in comparison.names:
        row: list[Cell] = [name]
        row += [
            comparison.ratio(name, number, lambda trial: trial.turns.cpu) for number in extent.subscribers
        ]
        row.append(comparison.median(name, most, lambda trial: trial.paced.reading.p99))
        row.append(comparison.median(name, most, lambda trial: trial.memory / 1024))
        row.append(round(comparison.median(name, most, lambda trial: trial.accepted)))
        rows.append(row)
    print_table(
        f"Fan-out: CPU per delivery ÷ the floor's (median; rounds: {extent.rounds})",
        (
            "",
            *(f"N={number:,}" for number in extent.subscribers),
            f"p99 ms, N={most:,}",
            "KB each",
            "accepted/s",
        ),
        rows,
    )
    plan = extent.plan
    print_note(
        f"""Events of 100 bytes to N subscribers, the event loop has a turn after each. The ratio is taken
        within each round. p99 is the delivery latency at {plan.rate} events a second for {plan.seconds:g} s.
        KB is the server's resident memory (1 KB is 1,024 bytes) for each idle subscriber, without the
        kernel's; "accepted" are connections, until the last one's response head. Both are with {most:,}
        subscribers."""
    )


def _print_each(comparison: Comparison, title: str, figure: Callable[[Trial], float]) -> None:
    numbers = comparison.extent.subscribers
    rows: list[list[Cell]] = [
        [name, *(comparison.median(name, number, figure) for number in numbers)] for name in comparison.names
    ]
    print_table(f"Fan-out: {title}", ("", *(f"N={number:,}" for number in numbers)), rows)


def _print_burst(comparison: Comparison) -> None:
    extent = comparison.extent
    rows: list[list[Cell]] = []
    for name in comparison.names:
        trials = comparison.trials.get((name, extent.bursting), [])
        if all(trial.burst for trial in trials) and trials:
            ratio = comparison.ratio(name, extent.bursting, _burst_cpu)
            rows.append([name, median(map(_burst_cpu, trials)), ratio])
    print_table(
        f"Burst: {extent.burst:,} events published in one turn to {extent.bursting:,} subscribers",
        ("", "CPU µs per delivery", "÷ a send of the floor"),
        rows,
    )


def _burst_cpu(trial: Trial) -> float:
    assert trial.burst is not None
    return trial.burst.cpu


def _print_restarts(comparison: Comparison) -> None:
    rows: list[list[Cell]] = []
    for (does, subscribers), found in sorted(comparison.restarts.items(), key=lambda item: item[0][1]):
        back = median(restart.back for restart in found)
        cpu = median(restart.cpu for restart in found)
        rows.append([does, subscribers, median(restart.down for restart in found), back, cpu])
    columns = ("killed and started again", "subscribers", "down s", "all back s", "CPU µs each")
    print_table("Restart", columns, rows)
    print_note(
        """Down is from the kill to where the port is open again: Python's start, mostly. All back is from
        there to where the last subscriber has its stream, and what it has missed."""
    )


def _print_stalls(comparison: Comparison) -> None:
    extent = comparison.extent
    rows: list[list[Cell]] = []
    for (name, stalled), found in comparison.stalls.items():
        row: list[Cell] = [name, stalled]
        row += [median(getattr(trial, figure) for trial in found) for figure in ("p50", "p99", "max", "cpu")]
        if stalled:
            alone = comparison.stalls[name, 0]
            held = median(beside.memory - trial.memory for trial, beside in zip(alone, found, strict=True))
            row.append(held / stalled / 1024)
        else:
            row.append(None)
        rows.append(row)
    columns = ("", "never read", "median ms", "p99", "max", "CPU µs per delivery", "KB held each")
    print_table(f"Stalled: {extent.bursting:,} subscribers, beside some that never read", columns, rows)
    print_note(
        f"""Latency is that of those who read, at {extent.plan.rate} events a second. Before that, the others
        have been sent more than the kernel keeps for them; what the server holds for each is its resident
        memory above what it has without them."""
    )


def save(comparison: Comparison, path: Path, machine: str) -> None:
    """Write every round's figures."""
    document = {
        "machine": machine,
        "extent": plain(comparison.extent),
        "trials": [
            {"name": name, "subscribers": number, "rounds": plain(trials)}
            for (name, number), trials in comparison.trials.items()
        ],
        "restarts": [
            {"name": name, "subscribers": number, "rounds": plain(restarts)}
            for (name, number), restarts in comparison.restarts.items()
        ],
        "stalls": [
            {"name": name, "stalled": number, "rounds": plain(stalls)}
            for (name, number), stalls in comparison.stalls.items()
        ],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def plain(value: Any) -> Any:
    """Return named tuples as dictionaries, throughout."""
    if hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
