"""The event that tells a client that it may have missed some.

Its type is ``gap``; its data is JSON with these members:

``channel``
    the channel concerned; each has a gap of its own.
``reason``
    ``expired``: the events after the client's position are no longer retained, or not all of them.
    ``epoch``: the client's id is of another incarnation of the log. ``future``: of this one, but of a
    position that does not exist yet, as after a restored backup. ``malformed``: no log has written it.
``after``
    the id after which events may be missing: the last one of the client's that means something here, or null.
``until``
    the id up to which events may be missing. All later ones follow.

A client that needs to be complete fetches anew what it shows; one that does not may ignore it. The event's
own id is where the client is when it has dealt with it, so a client that is cut before it is told again.
"""

from __future__ import annotations

from typing import NamedTuple

from tornado_sse.errors import SerializerError
from tornado_sse.event import Event
from tornado_sse.record import format_id
from tornado_sse.serializers import decode, encode, get_serializer

__all__ = ["Gap", "gap_event", "read_gap"]


class Gap(NamedTuple):
    """What a gap event tells: the members of its data, as above."""

    #: The channel concerned.
    channel: str
    #: ``expired``, ``epoch``, ``future`` or ``malformed``.
    reason: str
    #: The id after which events may be missing, or None.
    after: str | None
    #: The id up to which events may be missing.
    until: str


def gap_event(channel: str, reason: str, epoch: str, after: int | None, until: int) -> Event:
    """Return a gap event, without an id; positions as in the log."""
    json = get_serializer("json")
    lost = {
        "channel": channel,
        "reason": reason,
        "after": None if after is None else format_id(epoch, after),
        "until": format_id(epoch, until),
    }
    return Event(encode(json, lost), "gap", codec=json.codec)


def read_gap(event: Event) -> Gap | None:
    """Return what an event that was received tells of lost events; None if it is no gap event.

    The type alone does not make it one: other servers may call something else a gap.
    """
    if event.type != "gap" or event.codec != "json":
        return None
    try:
        lost = decode("json", event.data)
        gap = Gap(*(lost[name] for name in Gap._fields))
    except (SerializerError, LookupError, TypeError):
        return None
    after, *others = gap.after, gap.channel, gap.reason, gap.until
    return gap if all(isinstance(each, str) for each in others) and isinstance(after, str | None) else None
