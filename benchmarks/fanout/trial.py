"""One server and its subscribers, measured once."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.fanout.program import Server
from benchmarks.fanout.roster import Contender
from benchmarks.fanout.subscribers import Reading, Subscribers

__all__ = ["AT_ONCE", "Fanout", "Plan", "Trial", "publish", "publish_in_turns", "run"]

# Of an event's path through a server, the first few times are not like the others.
_WARM_UP: Final = 5


#: So many deliveries follow upon each other without a pause.
AT_ONCE: Final = 2_000


class Plan(NamedTuple):
    """How much is done in a trial.

    :ivar deliveries: how many there are at least, of events that have their turn to themselves.
    :ivar events: how many events there are at least.
    :ivar rate: events a second when latency is measured.
    :ivar seconds: how long that takes.
    """

    deliveries: int
    events: int
    rate: int
    seconds: float


class Fanout(NamedTuple):
    """What publishing cost: the server's CPU µs for each delivery, and what the readers say.

    :ivar paused: for how many seconds nothing was published, on purpose.
    """

    cpu: float
    paused: float
    reading: Reading

    @property
    def rate(self) -> float:
        """Deliveries a second, without the pauses."""
        return self.reading.deliveries / (self.reading.span - self.paused)

    @property
    def gathered(self) -> float:
        """How many events came at once, on average."""
        return self.reading.deliveries / self.reading.reads

    @property
    def reader_cpu(self) -> float:
        """The readers' CPU time for each delivery, in microseconds."""
        return self.reading.cpu / self.reading.deliveries * 1e6

    @property
    def reader_share(self) -> float:
        """How much of the readers' core was in use."""
        return self.reading.cpu / self.reading.wall


class Trial(NamedTuple):
    """What one trial found.

    :ivar memory: resident bytes of each idle subscriber.
    :ivar accepted: connections a second.
    """

    version: str
    memory: float
    accepted: float
    turns: Fanout
    paced: Fanout
    burst: Fanout | None


def run(contender: Contender, native: Path, subscribers: int, plan: Plan, burst: int = 0) -> Trial:
    """Measure a fresh server; a burst of so many events comes last."""
    few = max(1, min(100, subscribers // 10))
    with contender.start() as server, Subscribers(native) as readers:
        readers.open(server.port, few, primed=contender.primed)
        before = server.memory()
        opened = readers.open(server.port, subscribers - few, primed=contender.primed)
        after = server.memory()
        events = max(plan.events, plan.deliveries // subscribers)
        publish_in_turns(server, readers, _WARM_UP, subscribers)
        return Trial(
            server.version,
            memory=(after - before) / (subscribers - few),
            accepted=(subscribers - few) / opened.headed,
            turns=publish_in_turns(server, readers, events, subscribers),
            paced=publish(
                server, readers, "pace", plan.rate, plan.seconds, events=round(plan.rate * plan.seconds)
            ),
            burst=publish(server, readers, "burst", burst, events=burst) if burst else None,
        )


def publish_in_turns(server: Server, readers: Subscribers, events: int, subscribers: int) -> Fanout:
    """Have so many events published, each in a turn of its own, with a pause now and then."""
    return publish(server, readers, "publish", events, max(1, AT_ONCE // subscribers), events=events)


def publish(server: Server, readers: Subscribers, *command: object, events: int) -> Fanout:
    """Have so many events published; return when every subscriber has got all."""
    readers.expect(events)
    cpu = server.cpu()
    server.tell(*command)
    reading = readers.finish(events)
    paused = server.receive().get("paused", 0.0)
    cpu = server.cpu() - cpu
    return Fanout(cpu / reading.deliveries * 1e6, paused, reading)
