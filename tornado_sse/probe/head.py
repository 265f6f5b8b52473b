"""Checks of an answer's head."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tornado_sse.probe.finding import Finding, advice, error, warning
from tornado_sse.probe.visit import Visit

__all__ = ["check_head", "check_status"]

_REMEDIES: Final = {
    204: "204 tells a client to stop for good. Answer 200 while there may be more to come.",
    401: "Give the probe what the server asks for: --token, or --header.",
    403: "Give the probe what the server asks for: --token, or --header.",
    404: "Look at the URL; proxies may have changed the path on the way.",
    406: "The Accept header was text/event-stream: answer that with a stream.",
}


def check_status(visit: Visit) -> Iterator[Finding]:
    """Yield what keeps a client from reading the answer at all."""
    if not visit.status:
        yield error(
            "no-answer",
            f"There was no answer{visit.failure and ': '}{visit.failure}.",
            "Send the head at once: in Tornado, set the headers and await self.flush() before the first "
            "event; an SSEHandler does so.",
        )
    elif visit.status != 200:
        phrase = f"{visit.status} {visit.start_line.reason}".strip()
        remedy = _REMEDIES.get(visit.status, "Answer 200; a client takes anything else for the end.")
        yield error("status", f"The answer is {phrase!r}.", remedy)
        if visit.status == 204 and visit.transcript.size:
            yield error(
                "body-of-204",
                "An answer of status 204 has a body.",
                "Send none: what follows the head is taken for another answer.",
            )
    elif visit.content_type != "text/event-stream":
        shown = visit.headers.get("Content-Type", "")
        yield error(
            "content-type",
            f"The type is {shown!r}, and a browser reads text/event-stream alone."
            if shown
            else "There is no Content-Type, and a browser reads text/event-stream alone.",
            "Send Content-Type: text/event-stream; charset=utf-8.",
        )


def check_head(visit: Visit) -> Iterator[Finding]:
    """Yield what is wrong with the head of an event stream."""
    headers = visit.headers
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", headers.get("Content-Type", ""), re.IGNORECASE)
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        yield error(
            "charset",
            f"The charset is {charset[1]!r}, and an event stream is always UTF-8.",
            "Send charset=utf-8, or none: Chromium refuses any other.",
        )
    cache = {part.strip().lower().partition("=")[0] for part in headers.get("Cache-Control", "").split(",")}
    if not cache & {"no-cache", "no-store"}:
        yield warning(
            "cacheable",
            "Caches on the way may keep the stream, and give it to others.",
            "Send Cache-Control: no-cache, no-transform.",
        )
    elif "no-transform" not in cache:
        yield advice(
            "transformable",
            "Cache-Control does not say no-transform.",
            "Send Cache-Control: no-cache, no-transform; some proxies compress what is not so marked, and "
            "collect before they do.",
        )
    yield from _check_buffering(visit)
    if "Content-Length" in headers:
        yield error(
            "content-length",
            f"Content-Length is {headers['Content-Length']!r}: the stream ends there.",
            "Send none. In Tornado, flush() before finish(); a body that is written by finish() alone is "
            "no stream.",
        )
    if (encoding := headers.get("Content-Encoding", "").lower() or "identity") != "identity":
        yield error(
            "unasked-encoding",
            f"The stream is encoded as {encoding!r}, though identity was asked for.",
            "Look at Accept-Encoding before compressing; in nginx, gzip off for this location.",
        )
    if visit.damage:
        yield error(
            "framing",
            f"The framing of the body is damaged: {visit.damage}.",
            "Leave Transfer-Encoding to the server, and end a response with its last chunk.",
        )


def _check_buffering(visit: Visit) -> Iterator[Finding]:
    asked = visit.headers.get("X-Accel-Buffering", "").lower()
    if asked == "yes":
        yield warning(
            "proxy-buffering",
            "X-Accel-Buffering is yes: nginx is told to collect the stream.",
            "Send X-Accel-Buffering: no.",
        )
    # nginx keeps the header to itself, so behind one nothing can be told from its absence.
    elif asked != "no" and not {"Via", "X-Cache", "Cf-Ray"} & {*visit.headers} and not _is_nginx(visit):
        yield advice(
            "proxy-buffering",
            "An nginx in front of it would collect the stream.",
            "Send X-Accel-Buffering: no, or set proxy_buffering off in nginx.",
        )


def _is_nginx(visit: Visit) -> bool:
    return visit.headers.get("Server", "").lower().startswith(("nginx", "openresty"))
