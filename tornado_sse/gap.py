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

from tornado_sse.event import Event
from tornado_sse.record import format_id
from tornado_sse.serializers import encode, get_serializer

__all__ = ["gap_event"]


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
