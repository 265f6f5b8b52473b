"""What things are called in NATS: subjects, ids of messages, and what stands in a message's headers.

A log with the prefix ``p`` is one stream of these subjects. A subject has no room for a dot in a channel's
name or in a key, so what means something to NATS is escaped with per cent, of which a channel's name has
none.

=======================  ====================================================================================
``p.<channel>.e``        the events without a key
``p.<channel>.k.<key>``  the latest event of a key
``p.<channel>.f``        the channel's floors, two positions in digits: up to where events without a key may
                         have been dropped, and those with one
``p.%``                  nothing; what is published there is refused
``p-live.<…>``           what has come to ``p.<…>``, as the server tells of it
=======================  ====================================================================================
"""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from tornado_sse.errors import BackendError
from tornado_sse.record import Draft, Record, with_id

__all__ = ["KEY", "Floors", "Message", "Names", "seconds_of"]

#: The header that has an event's key, escaped as in a URL.
KEY: Final = "Tornado-Sse-Key"

# A subject's place in a line of the protocol is short, and a header's is not long either.
_LONGEST_TOKEN: Final = 200
_LONGEST_KEY: Final = 30_000

_IS_FLOORS: Final = re.compile(rb"([0-9]{1,18}) ([0-9]{1,18})").fullmatch


class Floors(NamedTuple):
    """Up to where something of a channel may have been dropped."""

    #: Of the events without a key.
    plain: int = 0
    #: Of those with one.
    keyed: int = 0

    def __bytes__(self) -> bytes:
        return b"%d %d" % self

    @classmethod
    def of(cls, message: Message | None) -> Floors:
        """Return the floors that a message says; 0 if there is none."""
        match = None if message is None else _IS_FLOORS(message.data)
        return cls() if match is None else cls(int(match[1]), int(match[2]))

    def cover(self, record: Record) -> bool:
        """Return whether an event may have been dropped, though it was still there."""
        return record.position <= (self.plain if record.key is None else self.keyed)


class Message(NamedTuple):
    """A message of a stream, as the server tells of it or answers with it."""

    #: Its number in the stream, which is the event's position.
    sequence: int
    subject: str
    data: bytes
    headers: dict[str, str]

    @classmethod
    def of(cls, received: Any) -> Message:
        """Return what a message that was received stands for.

        :raises ValueError: if it stands for none.
        """
        headers = received.headers or {}
        try:
            return cls(int(headers["Nats-Sequence"]), headers["Nats-Subject"], received.data, headers)
        except KeyError as error:
            raise ValueError(f"a message without {error}") from None

    @property
    def time(self) -> float:
        """When it was appended, in seconds since 1970."""
        return seconds_of(self.headers["Nats-Time-Stamp"])


class Names:
    """The names of a log.

    :arg str prefix: what its subjects begin with.
    """

    def __init__(self, prefix: str) -> None:
        #: The subjects of the log's stream.
        self.all = f"{prefix}.>"
        #: The subjects on which the server tells of what has come to it.
        self.live = f"{prefix}-live.>"
        #: A subject that nothing is kept of.
        self.nothing = f"{prefix}.%"
        self._root = f"{prefix}."
        self._live_root = f"{prefix}-live."

    def channel(self, channel: str) -> str:
        """Return the subjects of a channel."""
        return f"{self._root}{_token(channel)}.>"

    def live_channel(self, channel: str) -> str:
        """Return the subjects on which is told of a channel."""
        return f"{self._live_root}{_token(channel)}.>"

    def plain(self, channel: str) -> str:
        """Return the subject of a channel's events without a key."""
        return f"{self._root}{_token(channel)}.e"

    def keyed(self, channel: str) -> str:
        """Return the subjects of a channel's events with a key."""
        return f"{self._root}{_token(channel)}.k.*"

    def floors(self, channel: str) -> str:
        """Return the subject of a channel's floors."""
        return f"{self._root}{_token(channel)}.f"

    def addressed(self, draft: Draft, own_id: str) -> tuple[str, dict[str, str]]:
        """Return the subject and the headers of an event that is to be appended.

        :arg str own_id: what tells that it is the same when it is sent again, if nothing else does.

        :raises BackendError: if its key or message id can't be written.
        """
        headers = {"Nats-Msg-Id": f"n/{own_id}"}
        if draft.message_id is not None:
            headers["Nats-Msg-Id"] = f"m/{draft.channel}/{_quoted(draft.message_id)}"
        if draft.key is None:
            return self.plain(draft.channel), headers
        key = _quoted(draft.key)
        if len(key) > _LONGEST_KEY:
            raise BackendError("nats", f"a key of {len(draft.key)} characters is too long")
        token = f"={key}".replace(".", "%2E")
        if len(token) > _LONGEST_TOKEN:
            token = f"#{sha256(key.encode()).hexdigest()}"
        headers |= {KEY: f'"{key}"', "Nats-Rollup": "sub"}
        return f"{self._root}{_token(draft.channel)}.k.{token}", headers

    def channel_of(self, subject: str) -> str | None:
        """Return the channel to which events of a subject belong; None if it is of no events."""
        token, _, kind = subject.removeprefix(self._root).partition(".")
        return _channel(token) if kind[:1] in ("e", "k") else None

    def record(self, message: Message, epoch: str) -> Record | None:
        """Return the event in a message; None if there is none in it."""
        parts = message.subject.removeprefix(self._root).split(".")
        if parts[1:] != ["e"] and (len(parts) != 3 or parts[1] != "k" or KEY not in message.headers):
            return None
        key = message.headers.get(KEY)
        return Record(
            message.sequence,
            _channel(parts[0]),
            with_id(message.data, epoch, message.sequence),
            None if key is None else unquote(key[1:-1]),
            message.time,
        )


def seconds_of(text: str) -> float:
    """Return the time that a server has written, in seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def _token(channel: str) -> str:
    return channel.replace(".", "%2E")


def _channel(token: str) -> str:
    return token.replace("%2E", ".")


def _quoted(text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise BackendError("nats", f"{text!r} has no UTF-8") from None
