"""Publishing: from a payload to what is appended, and the awaitable of the id that comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, Final

from tornado_sse.backends import Backend
from tornado_sse.encoder import encode_event
from tornado_sse.errors import InvalidEventError
from tornado_sse.event import Event, check_line
from tornado_sse.flow import TURN
from tornado_sse.record import Draft, check_channel, format_id
from tornado_sse.serializers import encode, get_serializer

__all__ = ["Published", "Publishing", "make_draft"]

# How many characters a message id may have: room for two UUIDs and a name.
_LONGEST_MESSAGE_ID: Final = 200


def make_draft(
    channel: str,
    payload: object,
    event: str | None,
    key: str | None,
    serializer: str,
    message_id: str | None,
) -> Draft:
    """Return an event that is ready to be appended; see `Broker.publish` for what is raised."""
    check_channel(channel)
    chosen = get_serializer(serializer)
    frame = encode_event(Event(encode(chosen, payload), event, codec=chosen.codec))
    if key is not None:
        _check_name("key", key)
    if message_id is not None:
        _check_name("message_id", message_id)
        if len(message_id) > _LONGEST_MESSAGE_ID:
            reason = f"must have at most {_LONGEST_MESSAGE_ID} characters"
            raise InvalidEventError("message_id", message_id, reason)
    return Draft(channel, frame, key, message_id)


def _check_name(field: str, value: str) -> None:
    check_line(field, value)
    if not value:
        raise InvalidEventError(field, value, "must not be empty; None stands for none")


class Published:
    """The id of an event that has been acknowledged already."""

    __slots__ = ("_id", "_wait")

    def __init__(self, id: str, *, wait: bool) -> None:
        self._id = id
        self._wait = wait

    def __await__(self) -> Generator[Any, Any, str]:
        if self._wait:
            yield from TURN.__await__()
        return self._id


class Publishing:
    """The id of an event that waits for its acknowledgement."""

    __slots__ = ("_backend", "_position")

    def __init__(self, backend: Backend, position: asyncio.Future[int]) -> None:
        self._backend = backend
        self._position = position

    def __await__(self) -> Generator[Any, Any, str]:
        # Shielded: who is cancelled while waiting has published all the same.
        position = yield from asyncio.shield(self._position).__await__()
        return format_id(self._backend.epoch, position)
