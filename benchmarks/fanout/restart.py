"""A server is killed and started again: how long until all its subscribers are back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.fanout.roster import Contender
from benchmarks.fanout.subscribers import Subscribers

__all__ = ["MISSED", "Restart", "restart"]

#: How many events are published while everybody is away.
MISSED: Final = 10


class Restart(NamedTuple):
    """What it took, in seconds and, of the server's CPU time, microseconds for each subscriber.

    :ivar down: from the end to where the port is open again.
    :ivar back: from there to where all have their stream, and what they have missed.
    """

    down: float
    back: float
    cpu: float


def restart(contender: Contender, native: Path, subscribers: int, store: str | None) -> Restart:
    """Kill a server and start it again on its port.

    :arg store: the broker's URL. Its subscribers resume, and get `MISSED` events that were published while
        they were away. Without one, they are merely accepted.
    """
    more = [] if store is None else [store]
    missed = 0 if store is None else MISSED
    with Subscribers(native) as readers:
        with contender.start(0, *more) as server:
            readers.open(server.port, subscribers, primed=contender.primed)
            server.kill()
            end = time.monotonic()
            readers.wait_for_the_end()
        with contender.start(server.port, *more) as server:
            down = time.monotonic() - end
            if missed:
                server.ask("burst", missed)
            cpu = server.cpu()
            reading = readers.reopen(server.port, primed=contender.primed, events=missed)
            return Restart(down, reading.wall, (server.cpu() - cpu) / subscribers * 1e6)
