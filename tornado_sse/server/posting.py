"""`Publish`: POST /channels/<name> and POST /publish, what is to be published.

Publishing is refused to pages of other sites. A form of such a page may POST text without asking anybody
(Fetch, section 2.2.2), and so could publish to any server that its visitor can reach. A token travels in a
header, which a form can't set; who publishes without one must be no page at all, or of an origin that is
listed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import Any, Final, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest
from tornado.routing import PathMatches
from tornado.web import HTTPError, stream_request_body

from tornado_sse.broker import Broker
from tornado_sse.errors import BrokerError
from tornado_sse.negotiation import origin_allowed
from tornado_sse.server.access import Bearer
from tornado_sse.server.answer import Answer, bearer_token
from tornado_sse.server.submission import Submission, SubmissionError, is_lines, read_body
from tornado_sse.settings import Settings

__all__ = ["PostTo", "Publish"]

#: What a request may say of its event, as a query parameter or as a header.
_HEADERS: Final = {
    "event": "SSE-Event",
    "key": "SSE-Key",
    "serializer": "SSE-Serializer",
    "id": "Idempotency-Key",
}

# So many events are read in a turn of the event loop.
_PER_TURN: Final = 50


class PostTo(PathMatches):
    """Matches POST requests to a path."""

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Return the arguments of the path, or None."""
        return super().match(request) if request.method == "POST" else None


# The body as it comes: Tornado would parse it as a form first, since curl calls it one.
@stream_request_body
class Publish(Answer):
    """Publishes what it is sent, all of it or nothing, and answers with the id or the ids."""

    #: Why nothing is published, known before the body is there.
    _refusal: HTTPError | None = None

    def prepare(self) -> None:
        """Refuse a body that is too large by its own account.

        Any other refusal waits until the body has been read: who is still sending may not see an answer that
        comes before, and has to connect anew.
        """
        # The limit is our own, with an answer that can be read.
        cast(HTTP1Connection, self.request.connection).set_max_body_size(sys.maxsize)
        self._body = bytearray()
        size = self.request.headers.get("Content-Length", "")
        if size.isdecimal():  # Tornado sees to what is no number
            self._check_size(int(size))
        try:
            self._bearer = self._identify()
        except HTTPError as error:
            self._refusal = error

    def data_received(self, chunk: bytes) -> None:
        """Collect the body, or let it go by."""
        if not self._finished:
            self._body += chunk
            try:
                self._check_size(len(self._body))
            except HTTPError as error:
                self.send_error(error.status_code, exc_info=(HTTPError, error, None))

    async def post(self, channel: str | None = None) -> None:
        """Publish."""
        if self._finished:
            return
        if self._refusal is not None:
            raise self._refusal
        self.set_cors_headers()
        content_type = self.request.headers.get("Content-Type", "")
        submissions = []
        try:
            for submission in read_body(bytes(self._body), content_type, channel=channel, **self._said()):
                if not self._bearer.may_publish(submission.channel):
                    raise HTTPError(403, "publishing to %s is not allowed", submission.channel)
                submissions.append(submission)
                if not len(submissions) % _PER_TURN:
                    await asyncio.sleep(0)
        except SubmissionError as error:
            raise HTTPError(error.status, "%s", error) from error
        ids = await self._publish(submissions)
        self.finish_json({"ids": ids} if is_lines(content_type) else {"id": ids[0]})

    # How it is done

    async def _publish(self, submissions: list[Submission]) -> list[str]:
        broker = cast(Broker, self.settings["sse_broker"])
        try:
            # In one turn, so that they follow each other in the log.
            published: list[Awaitable[str]] = [
                broker.publish(channel, payload, event=event, key=key, serializer=serializer, message_id=id)
                for channel, payload, event, key, serializer, id in submissions
            ]
        except BrokerError:
            raise HTTPError(503, "this server is about to stop") from None
        results = [await _settled(each) for each in published]
        failed = [each for each in results if isinstance(each, BrokerError)]
        if failed:
            raise HTTPError(503) from failed[0]
        return cast(list[str], results)

    def _identify(self) -> Bearer:
        """Return what may be published by whoever it is."""
        token = bearer_token(self.request)
        allowed = Settings.of(self, "allowed_origins").allowed_origins or ()
        # A page whose name has been made to point here is of this site, as far as its Host header says. Only
        # who has a token is believed that.
        listed = "*" in allowed or self.request.headers.get("Origin") in (None, *allowed)
        if not origin_allowed(self.request, allowed) or not (token or listed):
            raise HTTPError(403, "pages of this origin may not publish here")
        if self.request.headers.get("Content-Encoding", "identity") != "identity":
            raise HTTPError(415, "a body is published as it is, and must not be compressed")
        bearer = self.ask(token)
        if not bearer.publish:
            if token is None:
                raise HTTPError(401, "a token is needed to publish")
            raise HTTPError(403, "this token does not allow to publish")
        return bearer

    def _check_size(self, size: int) -> None:
        limit = cast(int, self.settings["max_body"])
        if size > limit:
            raise HTTPError(413, "a body may have %d bytes", limit)

    def _said(self) -> dict[str, str]:
        """Return what the query and the headers say of the event."""
        said: dict[str, str] = {}
        # Not by get_query_argument(), which puts blanks in the place of control characters.
        for name, values in self.request.query_arguments.items():
            if name not in _HEADERS:
                raise HTTPError(400, "there is no parameter %r; there are %s", name, ", ".join(_HEADERS))
            if len(values) > 1:
                raise HTTPError(400, "%s is there more than once", name)
            said[name] = self.decode_argument(values[0], name)
        for name, header in _HEADERS.items():
            value = self.request.headers.get(header)
            if value is not None:
                if name in said:
                    raise HTTPError(400, "%s is in the query and in a header", name)
                said[name] = self.decode_argument(value.encode("latin-1"), header)
        for name, value in said.items():
            if not value:
                raise HTTPError(400, "%s must not be empty", name)
        return said


async def _settled(published: Awaitable[str]) -> str | BrokerError:
    try:
        return await published
    except BrokerError as error:
        return error
