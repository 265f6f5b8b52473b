"""Checks of what a client gets that comes back with an id.

What can be told from outside: a client that has had all events up to an id comes back with it, and the next
one it should get is known. Three answers are wrong: an event that it had already (a *double*), a later one (a
*hole*), none. A later one is no proof if it was there before the client was back, since a server may skip
what has been replaced; so it is tried right after an event.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tornado_sse.probe.finding import Finding, error, warning
from tornado_sse.probe.grammar import quoted
from tornado_sse.probe.transcript import Block, Transcript
from tornado_sse.probe.visit import Visit

__all__ = ["Outcome", "Resumption", "check_repetition", "check_resumption", "resumption"]


# How far apart two connections may be told of one event, in seconds.
_MARGIN: Final = 0.05


class Outcome(Enum):
    """What became of a resumption, as a phrase."""

    WORKS = "works"
    GAP = "works: what is lost is told"
    DOUBLE = "events come twice"
    HOLE = "events are missing"
    NOTHING = "nothing is sent again"
    REFUSED = "is refused"
    OPEN = "can't be told"


@dataclass(frozen=True, slots=True)
class Resumption:
    """Where a client resumes, and what it has to get first.

    :arg seen: what it had before, by id and data.
    :arg Block expected: the event that must come first.
    """

    last_event_id: str
    expected: Block
    seen: frozenset[tuple[str | None, str]]

    def outcome(self, original: Visit, visit: Visit) -> Outcome:
        """Return what became of it.

        :arg Visit original: the client that has stayed.
        :arg Visit visit: the one that came back.
        """
        if visit.failure or not visit.is_stream:
            return Outcome.REFUSED
        # What has no id is sent to each connection as it begins, or is nothing to resume by.
        events = [(block, event) for block, event in visit.transcript.events if block.id]
        if not events:
            return Outcome.NOTHING
        block, event = events[0]
        assert self.expected.event is not None
        if (block.id, event.data) == (self.expected.id, self.expected.event.data):
            return Outcome.WORKS
        if event.type == "gap":
            return Outcome.GAP
        # The id of an event that it had, with other data: every connection counts from its own beginning.
        if (block.id, event.data) in self.seen or (block.id or "") in {id for id, _ in self.seen}:
            return Outcome.DOUBLE
        # What was there when it was answered, or might have been, may have replaced what is expected.
        until = visit.after(original) + visit.answered + _MARGIN
        times = [other.ended for other, _ in original.transcript.events]
        return Outcome.OPEN if any(self.expected.ended < at <= until for at in times) else Outcome.HOLE


def resumption(transcript: Transcript) -> Resumption | None:
    """Return the latest place where a client could resume, or None if there is none yet."""
    events = [block for block, _ in transcript.events if block.id]
    if not events:
        return None
    expected = events[-1]
    before = [block for block in transcript.blocks if block.id and block.ended <= expected.ended]
    before = [block for block in before if block is not expected and block.id != expected.id]
    if not before:
        return None
    at = transcript.blocks.index(before[-1])
    seen = frozenset(
        (block.id, block.event.data) for block in transcript.blocks[: at + 1] if block.event is not None
    )
    last_event_id = before[-1].id
    assert last_event_id is not None
    return Resumption(last_event_id, expected, seen)


def check_resumption(resumption: Resumption, outcome: Outcome, visit: Visit) -> Iterator[Finding]:
    """Yield what is wrong with it."""
    shown = quoted(resumption.last_event_id.encode())
    remedy = (
        "Send what came after the id in Last-Event-ID, and nothing before it; where that is not kept, say "
        "so. With tornado-sse, publish to a Broker and subscribe()."
    )
    if outcome is Outcome.DOUBLE:
        first = next(block.id for block, _ in visit.transcript.events if block.id)
        yield error(
            "resume-double",
            f"A client that comes back with the id {shown} gets again what it had: the first event has the "
            f"id {quoted(first.encode())}.",
            remedy,
        )
    elif outcome in (Outcome.HOLE, Outcome.NOTHING):
        yield error(
            "resume-hole",
            f"A client that comes back with the id {shown} does not get what it missed, the event "
            f"{quoted((resumption.expected.id or '').encode())}.",
            remedy + " Without ids, nobody would expect it.",
        )
    elif outcome is Outcome.REFUSED:
        what = visit.failure or f"the answer is {visit.status}, {visit.content_type or 'of no type'}"
        yield error(
            "resume-refused",
            f"A client that comes back with the id {shown} is refused: {what}.",
            "Take any Last-Event-ID; of an unknown one say what may be missing, and go on.",
        )


def check_repetition(first: Visit, second: Visit) -> Iterator[Finding]:
    """Yield whether a response that has ended is sent again to the client that comes back."""
    had = [event.data for _, event in first.transcript.events]
    gets = [event.data for _, event in second.transcript.events]
    if had and gets[: len(had)] == had:
        yield warning(
            "repetition",
            f"The response ends, and the client that comes back gets its {len(had)} events again, for ever.",
            "Answer its reconnect with 204, or let an event tell it to close(); with tornado-sse, "
            "stream.finish().",
        )
    if second.status == 204 and second.transcript.size:
        yield error(
            "body-of-204",
            "An answer of status 204 has a body.",
            "Send none: what follows the head is taken for another answer.",
        )
