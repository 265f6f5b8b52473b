"""What somebody asks to have published: from the body of a request to events, all of them checked.

A body's Content-Type says what its payload is, and the serializer how that is written as an event:

=========================================================  ============  ===================
Content-Type                                               payload       serializer
=========================================================  ============  ===================
none, ``text/…``, ``application/x-www-form-urlencoded``    text          text, as it is
``application/json``, ``…+json``                           JSON's value  json, compactly
``application/octet-stream``, ``image/…``, ``audio/…`` …   bytes         binary
``application/x-ndjson``                                   see below     json
=========================================================  ============  ===================

The last of the first row is what ``curl -d`` sends if it is told nothing else; it is not taken for a form.

A body of newline-delimited JSON has an event on each line, an object of ``data``, which may be any JSON
value, and as it needs them ``event``, ``key``, ``id``, ``serializer`` and ``channel``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tornado_sse.errors import DecodeError, SerializerPluginError, SSEError
from tornado_sse.publishing import make_draft
from tornado_sse.serializers import decode

__all__ = ["LINES", "MOST_LINES", "Submission", "SubmissionError", "is_lines", "read_body", "read_line"]

#: The media type of newline-delimited JSON.
LINES: Final = "application/x-ndjson"

#: How many events one body may hold. All of them are published in one turn of the event loop, which holds up
#: everybody else for some 20 µs each.
MOST_LINES: Final = 1_000

_LINES: Final = (LINES, "application/ndjson", "application/jsonl")
_IS_TEXT: Final = re.compile(r"|text/.+|application/x-www-form-urlencoded").fullmatch
_IS_JSON: Final = re.compile(r"application/json|application/[^/]+\+json").fullmatch
_IS_BINARY: Final = re.compile(r"application/octet-stream|(?:image|audio|video|font)/.+").fullmatch

_MEMBERS: Final = ("data", "channel", "event", "key", "id", "serializer")


class SubmissionError(SSEError, ValueError):
    """Something that can't be published. ``status`` is how to answer, the message is for who sent it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Submission(NamedTuple):
    """An event to publish, as the arguments of `tornado_sse.Broker.publish` name its parts."""

    channel: str
    payload: Any
    event: str | None = None
    key: str | None = None
    serializer: str = "json"
    #: By which a repetition is known.
    id: str | None = None

    def check(self) -> None:
        """Find out whether it can be published, without doing so.

        :raises SubmissionError: if not.
        """
        channel, payload, event, key, serializer, id = self
        try:
            make_draft(channel, payload, event, key, serializer, id)
        except SerializerPluginError:
            raise  # not of who sent it
        except SSEError as error:
            raise SubmissionError(400, str(error)) from error


def is_lines(content_type: str) -> bool:
    """Return whether a ``Content-Type`` header announces newline-delimited JSON."""
    return _media_type(content_type) in _LINES


def read_body(
    body: bytes,
    content_type: str,
    *,
    channel: str | None,
    event: str | None = None,
    key: str | None = None,
    serializer: str | None = None,
    id: str | None = None,
) -> Iterator[Submission]:
    """Yield the events of a body, each checked. For lines, the arguments are what a line has that says
    nothing else.

    :arg channel: where to publish; None if the lines have to say it.

    :raises SubmissionError: if the body, or one of its events, makes no sense.
    """
    kind = _media_type(content_type)
    if kind in _LINES:
        if id is not None:
            raise SubmissionError(400, "an id is for one event: give each line its own")
        yield from _read_lines(body, Submission(channel or "", None, event, key, serializer or "json"))
        return
    if channel is None:
        raise SubmissionError(415, f"publish to several channels with lines of JSON, as {LINES}")
    payload: Any
    if _IS_TEXT(kind):
        payload, usual = _text(body), "text"
    elif _IS_JSON(kind):
        payload, usual = _json(_text(body)), "json"
    elif _IS_BINARY(kind):
        payload, usual = body, "binary"
    else:
        raise SubmissionError(
            415,
            f"{kind!r} is not published; there are text/plain, application/json, application/octet-stream "
            f"and {LINES}",
        )
    submission = Submission(channel, payload, event, key, serializer or usual, id)
    submission.check()
    yield submission


def read_line(line: bytes, usual: Submission) -> Submission:
    """Return the event of one line of JSON, checked.

    :arg usual: has what the line does not say. If it names a channel, the line can't name another.

    :raises SubmissionError: if the line makes no sense.
    """
    value = _json(_text(line))
    if not isinstance(value, dict):
        raise SubmissionError(400, 'an event is an object such as {"data": "hello"}')
    for name, part in value.items():
        if name not in _MEMBERS:
            raise SubmissionError(400, f"an event has no {name!r}; it has {', '.join(_MEMBERS)}")
        if name != "data" and not (isinstance(part, str) and part):
            raise SubmissionError(400, f"{name} must be text, and not empty")
    if "data" not in value:
        raise SubmissionError(400, "an event needs data; it may be null")
    if usual.channel and value.get("channel", usual.channel) != usual.channel:
        raise SubmissionError(
            400, f"all these events go to {usual.channel}; POST /publish takes several channels"
        )
    if not usual.channel and "channel" not in value:
        raise SubmissionError(400, "an event needs a channel here")
    submission = Submission(payload=value.pop("data"), **{**_given(usual), **value})
    submission.check()
    return submission


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _given(usual: Submission) -> dict[str, Any]:
    return {name: part for name, part in usual._asdict().items() if name != "payload"}


def _read_lines(body: bytes, usual: Submission) -> Iterator[Submission]:
    count = 0
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line.strip():
            continue
        count += 1
        if count > MOST_LINES:
            raise SubmissionError(
                413, f"there are more than {MOST_LINES:,} events; send them in several requests"
            )
        try:
            yield read_line(line, usual)
        except SubmissionError as error:
            raise SubmissionError(error.status, f"line {number}: {error}") from error


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise SubmissionError(
            400, f"this is no UTF-8 at byte {error.start}; bytes are sent as application/octet-stream"
        ) from error


def _json(text: str) -> Any:
    try:
        return decode("json", text)
    except DecodeError as error:
        raise SubmissionError(400, f"this is no JSON: {error.reason}") from error
