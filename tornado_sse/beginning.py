"""Where a subscriber begins, and what its client is told before the first event.

An id says where its client is, if it is of this log; what comes after it is sent, and `Subscriber` finds out
by itself when some of that is gone. An id that means nothing here makes a fresh start, announced by a ``gap``
event for each channel: never an error, never a guess at what the client may have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from tornado_sse.backends import Backend
from tornado_sse.event import Event
from tornado_sse.fanout import FanOut
from tornado_sse.gap import gap_event
from tornado_sse.group import merged
from tornado_sse.observer import Observer
from tornado_sse.record import Record, format_id, parse_id
from tornado_sse.subscriber import Snapshot, preface

__all__ = ["STARTS", "Beginning", "begin", "primer"]

#: Where a client that does not resume may begin, besides after an event's id.
STARTS: Final = ("new", "earliest", "state")

_NONE: Final[Mapping[str, int]] = {}


class Beginning(NamedTuple):
    """Where a subscriber begins."""

    #: The client has, or is told that it lacks, all events up to this position.
    cursor: int
    #: What is sent first.
    frames: Sequence[bytes] = ()
    #: What is sent then to say where the client is, as a block without data.
    marker: bytes = b""
    #: As `Subscriber` has them.
    skipped: Mapping[str, int] = _NONE
    told: Mapping[str, int] = _NONE


async def begin(
    names: tuple[str, ...],
    resume: str | None,
    start: str,
    snapshot: Snapshot | None,
    fanout: FanOut,
    observer: Observer,
) -> Beginning:
    """Find out where a client of joined channels begins.

    :arg resume: the id that it resumes from, or None.
    :arg start: where it begins otherwise: one of `STARTS`, or an event's id.

    :raises BackendError: if the log can't be read.
    """
    backend = fanout.backend
    while True:
        epoch = backend.epoch
        beginning = await _begin(names, resume, start, snapshot, fanout, observer)
        if backend.epoch == epoch:
            return beginning


async def _begin(
    names: tuple[str, ...],
    resume: str | None,
    start: str,
    snapshot: Snapshot | None,
    fanout: FanOut,
    observer: Observer,
) -> Beginning:
    backend = fanout.backend
    if resume is None and start not in STARTS:
        resume, start = start, "new"
    problem = None
    if resume is not None:
        problem, position = await _understand(resume, backend)
    # What has been told in this turn goes to those who are live first, so that all begin at the same place.
    fanout.flush()
    now = fanout.sent
    if problem is None and resume is not None:
        return Beginning(position)
    if problem is None and start == "new":
        return Beginning(now)

    shown: list[Event] = []
    state: list[Sequence[Record]] = []
    firsts = [now]
    skipped: dict[str, int] = {}
    told: dict[str, int] = {}
    for name in names:
        event = None
        if snapshot is not None and (problem is not None or start == "state"):
            event = await snapshot(name)
        if event is not None:
            shown.append(event)
        elif start == "state":
            log = fanout.channels[name].log
            assert log is not None
            state.append([record for record in log.state() if record.position <= now])
        if start == "earliest" and event is None:
            page = await backend.read(name, 0, 1)
            told[name] = page.floor
            firsts += [record.position - 1 for record in page.records[:1]]
        else:
            # What the snapshot shows had happened by now at least, and nothing older may follow it.
            skipped[name] = now
    cursor = min(firsts)
    gaps = []
    if problem is not None:
        for name in names:
            observer.on_gap(name, problem)
            gaps.append(gap_event(name, problem, backend.epoch, None, told.get(name, now)))
    records = merged(state)
    # A client that is cut among these is told all again, but for the events of the state it has seen.
    frames = preface(gaps + shown, backend.epoch, records[0].position - 1 if records else cursor)
    frames += [record.frame for record in records]
    marker = b"id: %b\n\n" % format_id(backend.epoch, now).encode() if records else b""
    return Beginning(cursor, frames, marker, skipped, told)


async def _understand(resume: str, backend: Backend) -> tuple[str | None, int]:
    """Return what is wrong with an id, or None, and its position."""
    parsed = parse_id(resume)
    if parsed is None:
        return "malformed", 0
    epoch, position = parsed
    if epoch == backend.epoch and position > backend.position:
        # Another process may have acknowledged what this one has not heard of yet.
        await backend.sync()
    if epoch != backend.epoch:
        return "epoch", 0
    return (None, position) if backend.reaches(position) else ("future", 0)


def primer(position: int, epoch: str, retry: int, *, alone: bool) -> bytes:
    """Return what a stream begins with: a reconnection time in milliseconds, and an id if it is `alone`.

    A block without data is no event, but its id is remembered (WHATWG HTML, section 9.2.6). When frames
    follow, it is not alone: one of them has the id, and the time joins the first of them.
    """
    if not alone:
        return b"retry: %d\n" % retry
    return b"id: %b\nretry: %d\n\n" % (format_id(epoch, position).encode(), retry)
