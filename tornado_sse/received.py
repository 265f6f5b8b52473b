"""An event that has arrived, with a way back to what was written."""

from __future__ import annotations

from typing import Any

from tornado_sse.event import Event
from tornado_sse.gap import Gap, read_gap
from tornado_sse.parser import EventParser
from tornado_sse.serializers import decode

__all__ = ["ReceivedEvent", "ReceivedEventParser"]


class ReceivedEvent(Event):
    """An `Event` as an `EventSource` gives it: equal to one with the same fields, and decoded on demand.

    ``data``, ``type``, ``id``, ``retry`` and ``codec`` are those of `Event`. They are what the peer has sent,
    so they may hold what we would refuse to send. ``id`` is the last one so far (HTML, section 9.2.6), which
    is not always one of this event's own.
    """

    # An Event can't decode itself: it is below the serializers, which are told of events' rules by it. And
    # most events are decoded once or never, so that nothing is kept here.
    __slots__ = ()

    @property
    def payload(self) -> Any:
        """What was written: ``data`` decoded by ``codec``; without a codec it is ``data``.

        Decoded anew each time it is asked for. A codec is looked up as by `tornado_sse.decode`: the built-in
        ones, what was registered, and installed plugins.

        :raises DecodeError: if the data can't be read.
        :raises SerializerNotFoundError: if nobody has the codec.
        :raises SerializerPluginError: if the plugin that has it is broken.
        """
        return decode(self.codec, self.data)

    @property
    def gap(self) -> Gap | None:
        """What this event tells of events that may be missing; None if it is no ``gap`` event.

        Whoever shows a state fetches it anew; see `tornado_sse.gap`.
        """
        return read_gap(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return (self.data, self.type, self.id, self.retry, self.codec) == (
            other.data, other.type, other.id, other.retry, other.codec
        )  # fmt: skip

    __hash__ = Event.__hash__


class ReceivedEventParser(EventParser):
    """An `EventParser` whose events are each a `ReceivedEvent`."""

    __slots__ = ()

    kind = ReceivedEvent
