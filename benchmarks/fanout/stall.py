"""Some subscribers never read: what the others notice of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.fanout.roster import Contender
from benchmarks.fanout.server import PATH
from benchmarks.fanout.subscribers import Subscribers
from benchmarks.fanout.trial import AT_ONCE, Plan, publish, publish_in_turns

__all__ = ["Beside", "beside"]

# So many events come before the readers do. The kernel holds some three megabytes for one that reads nothing.
_FILL: Final = 30_000

_REQUEST: Final = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode()

# In seconds, for a response to begin.
_PATIENCE: Final = 30


class Beside(NamedTuple):
    """What those who read got: the latency's median and percentiles in milliseconds.

    :ivar cpu: the server's CPU µs for each of their deliveries.
    :ivar memory: how many bytes the server has grown by what was published before they came.
    """

    p50: float
    p99: float
    max: float
    cpu: float
    memory: int


def beside(contender: Contender, native: Path, readers: int, stalled: int, plan: Plan) -> Beside:
    """Publish at the plan's rate to readers beside some that have stalled; there may be none of these."""
    with contender.start() as server, Subscribers(native) as clients, _never_reading(server.port, stalled):
        memory = -server.memory()
        server.ask("publish", _FILL, AT_ONCE // max(1, stalled))
        memory += server.memory()
        clients.open(server.port, readers, primed=contender.primed)
        publish_in_turns(server, clients, 5, readers)
        events = round(plan.rate * plan.seconds)
        found = publish(server, clients, "pace", plan.rate, plan.seconds, events=events)
        reading = found.reading
        return Beside(reading.p50, reading.p99, reading.max, found.cpu, memory)


@contextmanager
def _never_reading(port: int, count: int) -> Iterator[None]:
    """Have so many streams open that are never read, for as long as a ``with`` block."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            stalled = stack.enter_context(socket.socket())
            stalled.settimeout(_PATIENCE)
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect(("127.0.0.1", port))
            stalled.sendall(_REQUEST)
            opened.append(stalled)
        for stalled in opened:
            stalled.recv(1, socket.MSG_PEEK)
        yield
