"""The load: many subscribers in one program, ``client.c``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.child import CLIENT_CORE
from benchmarks.fanout.program import Program
from benchmarks.fanout.server import PATH

__all__ = ["Reading", "Subscribers"]

# So many connections are being opened at any time: enough to keep the server busy, few enough for its queue.
_WINDOW: Final = 100

# In seconds, of what is waited for. The slowest takes some twenty.
_PATIENCE: Final = 100


class Reading(NamedTuple):
    """What all subscribers have got, by their own account.

    ``reads`` is how often something was received. Times are in seconds, latencies in milliseconds.
    ``headed`` and ``primed`` are when the last response had its head, and some of its body; ``span`` is from
    the first event's publishing to the last delivery.
    """

    deliveries: int
    reads: int
    wall: float
    cpu: float
    headed: float
    primed: float
    span: float
    p50: float
    p90: float
    p99: float
    max: float


class Subscribers(Program):
    """Subscribers of one server."""

    def __init__(self, folder: Path) -> None:
        super().__init__("the client", [folder / "client"], CLIENT_CORE)

    def open(self, port: int, count: int, *, primed: bool, path: str = PATH) -> Reading:
        """Open more streams; return when all have their head, and a first block if ``primed``."""
        return self._open(port, count, primed=primed, events=0, path=path)

    def reopen(self, port: int, *, primed: bool, events: int) -> Reading:
        """Open all that have ended, each from its last id; return when each has got so many events."""
        return self._open(port, 0, primed=primed, events=events, path=PATH)

    def _open(self, port: int, count: int, *, primed: bool, events: int, path: str) -> Reading:
        question = ("open", port, count, _WINDOW, int(primed), events, _PATIENCE, path)
        return _check(self.ask(*question, patience=_PATIENCE + 10), events)

    def expect(self, events: int) -> None:
        """Begin to count; `finish` returns when every stream has got so many events."""
        self.ask("expect", events, _PATIENCE)

    def finish(self, events: int) -> Reading:
        """Return what was read since `expect`."""
        return _check(self.receive(_PATIENCE + 10), events)

    def cut(self) -> None:
        """End all streams. Each keeps its last id."""
        self.ask("cut")

    def wait_for_the_end(self) -> None:
        """Return when the server has ended all streams."""
        if not self.ask("ended", _PATIENCE, patience=_PATIENCE + 10)["done"]:
            raise RuntimeError("streams are still open")


def _check(answer: dict[str, Any], events: int) -> Reading:
    """Every stream must have got every event, once, in order; raise RuntimeError otherwise."""
    if not answer["done"] or answer["disorder"] or not answer["least"] == answer["most"] == events:
        raise RuntimeError(f"{events} events should have come to each, but: {answer}")
    return Reading(**{name: answer[name] for name in Reading._fields})
