"""Run the benchmarks: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
from pathlib import Path

import tornado

import tornado_sse
from benchmarks import encoder, growth, idle, parsing, scale, writing
from benchmarks.child import SERVER_CORE, pin
from benchmarks.fanout.comparison import Extent, compare
from benchmarks.fanout.plot import draw
from benchmarks.fanout.report import print_report, save
from benchmarks.fanout.trial import Plan

NAMES = ("encoder", "parsing", "writing", "idle")

# These need Linux and a C compiler, and take their time.
MORE = ("fanout", "growth", "scale")


def main() -> int:
    """Run what is asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What tornado-sse costs.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(NAMES)}, which are the default; and {', '.join(MORE)}, which need Linux and gcc",
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds, for figures that are not quoted")
    parser.add_argument(
        "--rounds", type=positive, help="default: 9 and, after encoder and writing, 3; with --quick 3 and 1"
    )
    parser.add_argument("--idle", type=positive, help="how many streams; default: 5000, with --quick 1000")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="for the results of these")
    parser.add_argument(
        "--node-modules",
        type=Path,
        default=Path("node_modules"),
        metavar="FOLDER",
        help="where packages for Node are installed, for fanout and parsing",
    )
    group = parser.add_argument_group("fanout")
    group.add_argument(
        "--subscribers", type=numbers, metavar="N,…", help="default: 100,1000,10000; --quick 100,1000"
    )
    group.add_argument(
        "--peers-python", default=sys.executable, metavar="PYTHON", help="that has peers installed"
    )
    options = parser.parse_args()
    if unknown := {*options.names} - {*NAMES, *MORE}:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(NAMES + MORE)}")
    names = options.names or NAMES
    quick = options.quick

    print(f"tornado-sse {tornado_sse.__version__}, {machine()}")
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
    try:
        if "fanout" in names:
            measure_fanout(options)
        if "growth" in names:
            extent = growth.QUICK if quick else growth.FULL
            growth.measure(extent._replace(rounds=options.rounds or extent.rounds), options.output, machine())
        if "scale" in names:
            scaling = scale.QUICK if quick else scale.FULL
            scale.measure(
                scaling._replace(rounds=options.rounds or scaling.rounds), options.output, machine()
            )
        if "writing" in names:
            writing.measure(options.rounds or (3 if quick else 9), events=5_000 if quick else 20_000)
        if "idle" in names:
            wanted = options.idle or (1_000 if quick else 5_000)
            idle.measure(options.rounds or (1 if quick else 3), allowed(wanted))
        if "encoder" in names:
            pin(SERVER_CORE)
            encoder.measure(options.rounds or (3 if quick else 9), seconds=0.01 if quick else 0.05)
        if "parsing" in names:
            pin(SERVER_CORE)
            rounds = options.rounds or (3 if quick else 9)
            parsing.measure(rounds, 100_000 if quick else 1_000_000, options.node_modules)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    print(f"\nMeasured on 127.0.0.1, each process on a core of its own: {machine()}.")
    return 0


def measure_fanout(options: argparse.Namespace) -> None:
    """Compare servers, print what was found, and write it if there is a folder for it."""
    quick = options.quick
    subscribers = options.subscribers or ([100, 1_000] if quick else [100, 1_000, 10_000])
    extent = Extent(
        subscribers,
        options.rounds or (1 if quick else 3),
        Plan(20_000, 10, 10, 1) if quick else Plan(200_000, 20, 10, 3),
        burst=100 if quick else 1_000,
        bursting=1_000 if 1_000 in subscribers else subscribers[0],
        restarting=subscribers[-2:],
        stalling=10 if quick else 50,
    )
    comparison = compare(extent, options.peers_python, options.node_modules)
    print_report(comparison)
    if options.output is not None:
        save(comparison, options.output / "fanout.json", machine())
        draw(comparison, options.output / "fanout.svg")


def numbers(text: str) -> list[int]:
    """Read whole numbers of ten or more, separated by commas."""
    found = sorted({int(part) for part in text.split(",")})
    if found[0] < 10:
        raise ValueError(found)
    return found


def positive(text: str) -> int:
    """Read a whole number of one or more."""
    number = int(text)
    if number < 1:
        raise ValueError(number)
    return number


def allowed(streams: int) -> int:
    """Return how many streams a process may have, with room to spare; raise its limit if that helps."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A tenth of the limit is what SSEHandler leaves for everything else.
    needed = (streams + idle.DESCRIPTORS) * 10 // 9 + 1
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        possible = soft * 9 // 10 - idle.DESCRIPTORS
        if possible < streams:
            if possible < 1:
                sys.exit(f"{soft} file descriptors are too few for any; see ulimit -n")
            print(f"\n{streams:,} streams need {needed:,} descriptors (ulimit -n); {possible:,} have to do")
            return possible
    return streams


def machine() -> str:
    """Say where this is."""
    return (
        f"Python {platform.python_version()}, Tornado {tornado.version}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    sys.exit(main())
