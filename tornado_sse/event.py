"""One event, as the standard knows it, and the rules for what may be in it.

An `Event` is checked when it is built and can't change afterwards, so whoever is handed one (the
encoder above all) has nothing left to check. That is what makes field injection impossible rather
than merely unlikely: there is no other way to the wire.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

from tornado_sse.errors import InvalidEventError

__all__ = ["Event", "check_line", "received_event"]

# A field's value ends at CR or LF, and a reader ignores an id that holds NUL (HTML, section 9.2.6).
# NUL is refused in the other single-line fields too: C programs on the way would cut them there.
_BREAKS_A_LINE = re.compile(r"[\r\n\0]").search

# The codec is a name for programs: letters that need no quoting in a field, a header or a file name.
_IS_CODEC = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}").fullmatch


@dataclass(frozen=True, slots=True, init=False)
class Event:
    """An event, immutable and valid from the moment it exists.

    :arg str data: the event's text. Any text: newlines are the encoder's business. Empty is fine.
    :arg str type: the event's type; None for the default, which a reader calls ``"message"``.
        A parsed event always has one.
    :arg str id: what the client sends back as ``Last-Event-ID``. The empty string resets it.
        A parsed event carries the last id seen so far.
    :arg int retry: the client's reconnection time in milliseconds, as on the wire.
    :arg str codec: how ``data`` was made from something that is not text; see `tornado_sse.serializers`.

    :raises InvalidEventError: if a field holds what would not survive the wire: CR, LF or NUL in
        ``type`` or ``id``, a lone surrogate anywhere, a ``retry`` that is no whole number of
        milliseconds. Values are refused, never repaired.

    Source: WHATWG HTML, sections 9.2.5 and 9.2.6. ``codec`` is this project's own field; the
    standard has readers ignore fields they don't know.
    """

    data: str
    type: str | None = None
    id: str | None = None
    retry: int | None = None
    codec: str | None = None

    def __init__(
        self,
        data: str,
        type: str | None = None,
        id: str | None = None,
        retry: int | None = None,
        codec: str | None = None,
    ) -> None:
        if not isinstance(data, str):
            raise InvalidEventError("data", data, "must be str; serialize it first")
        if not data.isascii():
            _check_encodable("data", data)
        if type is not None:
            check_line("type", type)
            if not type:
                raise InvalidEventError("type", type, "must not be empty; None is the default type")
        if id is not None:
            check_line("id", id)
        if retry is not None:
            _check_retry(retry)
        if codec is not None and not (isinstance(codec, str) and _IS_CODEC(codec)):
            raise InvalidEventError("codec", codec, "must be a short name of letters, digits, . _ + and -")
        _set_data(self, data)
        _set_type(self, type)
        _set_id(self, id)
        _set_retry(self, retry)
        _set_codec(self, codec)


# A frozen dataclass assigns its fields by object.__setattr__, which takes twice as long as this. Every event
# that is written or read passes here.
_set_data, _set_type, _set_id, _set_retry, _set_codec = (
    getattr(Event, field.name).__set__ for field in fields(Event)
)


def received_event(
    data: str,
    type: str,
    id: str,
    retry: int | None = None,
    codec: str | None = None,
    kind: type[Event] = Event,
) -> Event:
    """Return an event as a parser read it, unchecked: what a peer sent is what it sent.

    A type with NUL in it, say, may be received, though we refuse to send one.

    :arg kind: the class it is to be of.
    """
    event: Any = _Draft()
    event.data = data
    event.type = type
    event.id = id
    event.retry = retry
    event.codec = codec
    event.__class__ = kind
    return event  # type: ignore[no-any-return]


class _Draft:
    """An event before it is frozen. To give it its class last takes less than half the time of other ways."""

    __slots__ = ("codec", "data", "id", "retry", "type")


def check_line(field: str, value: object) -> None:
    """Check a value that must stay on one line of the stream.

    :raises InvalidEventError: if it is not str, or holds CR, LF, NUL or a lone surrogate.
    """
    if not isinstance(value, str):
        raise InvalidEventError(field, value, "must be str")
    if _BREAKS_A_LINE(value):
        raise InvalidEventError(field, value, "must not contain CR, LF or NUL")
    if not value.isascii():
        _check_encodable(field, value)


def _check_encodable(field: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidEventError(field, value, "holds a lone surrogate, which is not UTF-8") from error


def _check_retry(value: object) -> None:
    # bool is an int to Python, and `retry: True` is nothing to a reader.
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidEventError("retry", value, "must be a whole number of milliseconds")
    if value < 0:
        raise InvalidEventError("retry", value, "must not be negative")
