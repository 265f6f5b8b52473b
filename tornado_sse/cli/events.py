"""`EventReader`: from lines to events, checked, in batches that fit in a request."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from io import FileIO
from typing import Final

from tornado_sse.cli.source import read_lines
from tornado_sse.server.submission import Submission, SubmissionError, read_body, read_line

__all__ = ["EventReader"]

# What goes in one request: few enough for a server's limits, many enough not to wait for each.
_MOST_EVENTS: Final = 500
_MOST_BYTES: Final = 128 * 1024


class EventReader:
    """Makes an event of each line.

    :arg usual: has what a line does not say: all of an event but its payload, and its id.
    :arg str kind: what a line is: ``"text"``, ``"json"`` for a JSON value, or ``"ndjson"`` for an object that
        says more of its event than the payload.
    """

    def __init__(self, usual: Submission, kind: str) -> None:
        self._usual = usual
        self._kind = kind
        # Ids that nobody else has, by which an event that is sent again is known.
        self._prefix = secrets.token_hex(8)
        self._number = 0

    def one(self, data: bytes, id: str | None) -> list[Submission]:
        """Return the event of one payload, which is not a line, as a batch.

        :raises SubmissionError: if it can't be published.
        """
        return [self._event(data)._replace(id=id or self._id())]

    async def batches(self, files: Sequence[FileIO]) -> AsyncIterator[list[Submission]]:
        """Yield the events of the lines of files, as they come.

        What comes before a line that can't be published is there before the error is. Blank lines are events
        of text, and nothing in JSON.

        :raises SubmissionError: if a line can't be published.
        :raises SourceError: if a file can't be read.
        """
        async for lines in read_lines(files):
            for some in _split(lines):
                batch: list[Submission] = []
                for line in some:
                    self._number += 1
                    if self._kind != "text" and not line.strip():
                        continue
                    try:
                        event = self._event(line)
                    except SubmissionError as error:
                        if batch:
                            yield batch
                        raise SubmissionError(error.status, f"line {self._number}: {error}") from error
                    batch.append(event if event.id else event._replace(id=self._id()))
                if batch:
                    yield batch

    def _event(self, data: bytes) -> Submission:
        if self._kind == "ndjson":
            return read_line(data, self._usual)
        content_type = "application/json" if self._kind == "json" else "text/plain"
        channel, _, event, key, serializer, _ = self._usual
        (submission,) = read_body(
            data, content_type, channel=channel, event=event, key=key, serializer=serializer
        )
        return submission

    def _id(self) -> str:
        return f"{self._prefix}-{self._number}"


def _split(lines: Sequence[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == _MOST_EVENTS or size + len(line) > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    yield batch
