"""Checks of how other requests than a browser's are answered: HEAD, HTTP/1.0, other origins, other types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tornado_sse.probe.finding import Finding, error, warning
from tornado_sse.probe.visit import Visit

__all__ = ["ORIGIN", "check_any_type", "check_head_method", "check_old_version", "check_origin"]

#: Whose page a server can't have allowed (RFC 2606, section 2).
ORIGIN: Final = "https://probe.invalid"


def check_head_method(visit: Visit) -> Iterator[Finding]:
    """Yield what is wrong with the answer to HEAD."""
    if visit.failure:
        yield warning(
            "head",
            f"HEAD is not answered: {visit.failure}.",
            "Answer with the head that GET has, and end it; some proxies and monitors ask so.",
        )
    elif visit.transcript.size:
        yield error(
            "head",
            "The answer to HEAD has a body.",
            "Send none: what follows the head is taken for another answer.",
        )
    elif visit.status == 200 and visit.content_type != "text/event-stream":
        yield warning(
            "head",
            f"HEAD says that the type is {visit.content_type!r}.",
            "Answer HEAD with the head that GET has.",
        )


def check_any_type(visit: Visit) -> Iterator[Finding]:
    """Yield what is wrong with the answer to who takes any type."""
    if visit.failure or not (visit.is_stream or visit.status in (429, 503)):
        yield warning(
            "accept",
            f"With Accept: */* the answer is {visit.failure or visit.status}; so ask curl and fetch().",
            "Answer 406 if Accept excludes text/event-stream, and only then.",
        )


def check_old_version(visit: Visit) -> Iterator[Finding]:
    """Yield what is wrong with the answer to a request by HTTP/1.0, as proxies still make it."""
    if visit.failure or visit.status != 200:
        return
    if "Transfer-Encoding" in visit.headers:
        yield error(
            "http10-chunked",
            "A request by HTTP/1.0 is answered in chunks, which it does not know.",
            "End the body with the connection, or let nginx ask by proxy_http_version 1.1.",
        )
    elif (
        "Content-Length" not in visit.headers and visit.headers.get("Connection", "").lower() == "keep-alive"
    ):
        yield error(
            "http10-keep-alive",
            "A request by HTTP/1.0 is promised that the connection is kept, where its end is that of the "
            "body.",
            "Send Connection: close.",
        )


def check_origin(visit: Visit) -> Iterator[Finding]:
    """Yield what a page of any other site may do; the request must have come from `ORIGIN`."""
    allowed = visit.headers.get("Access-Control-Allow-Origin", "")
    credentials = visit.headers.get("Access-Control-Allow-Credentials", "").lower() == "true"
    vary = {name.strip().lower() for name in visit.headers.get("Vary", "").split(",")}
    if allowed in ("*", ORIGIN) and credentials:
        yield error(
            "cors-credentials",
            "A page of any site may read the stream with its visitor's cookies."
            if allowed == ORIGIN
            else "Access-Control-Allow-Origin is * with credentials, which browsers refuse.",
            "Name the origins that may: sse_allowed_origins, with tornado-sse.",
        )
    elif allowed == ORIGIN and not vary & {"origin", "*"}:
        yield warning(
            "cors-vary",
            "The answer depends on the Origin, and caches are not told so.",
            "Send Vary: Origin.",
        )
