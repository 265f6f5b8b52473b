"""Exactly once, for as long as you like: ``python -m tests.soak redis --deliveries 1000000``.

Three server processes share a port and a log. A hundred readers follow its channels; they are cut at any
byte, stall, resume by header or query, and find themselves at another process each time. Six publishers try
each event again until it is acknowledged. Over and over one of the servers is killed with ``kill -9``, and so
is the store, unless it is a file. In the end every reader must have had every event of its channels once, in
order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests import nats_server, valkey
from tests.outliving import Server, outlive
from tests.support import reserved_address

# Of the hundred readers two in three follow any one channel.
_READERS = 66

_PER_TURN = 1_000


def main() -> int:
    """Return the exit code; what is wrong is an AssertionError."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Exactly once.")
    parser.add_argument("store", choices=("sqlite", "redis", "nats"))
    parser.add_argument("--deliveries", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--processes", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=None, help="as a run has printed it")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    turns = max(1, options.deliveries // (_READERS * _PER_TURN))
    print(f"{options.store}, seed {seed}: {turns} times something is killed", flush=True)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        reserved_address() as address,
        store(options.store, Path(folder)) as (url, kill),
    ):
        servers = [Server(url, address[1]) for _ in range(options.processes)]
        rng = random.Random(seed)
        delivered = asyncio.run(
            outlive(servers, address, rng, kill, turns=turns, events=_PER_TURN, say=_progress)
        )
    seconds = time.monotonic() - began
    print(f"{delivered:,} deliveries in {seconds:.0f} s: each event once, in order, none lost")
    return 0


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def store(name: str, folder: Path) -> Iterator[tuple[str, Callable[[], object] | None]]:
    """Start a store; yield its URL, and what kills it and starts it again."""
    if name == "sqlite":
        yield f"sqlite:///{folder}/events.db", None
        return
    running = valkey.running("valkey", folder) if name == "redis" else nats_server.running(folder)
    with running as server:

        def kill() -> None:
            server.kill()
            server.start()

        yield server.url, kill


if __name__ == "__main__":
    sys.exit(main())
