"""What a request asks for, and the head of the answer.

Everything here looks at an `.HTTPServerRequest` and says something about it; nothing is sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final
from urllib.parse import quote, urlsplit

from tornado.httputil import HTTPHeaders, HTTPServerRequest

__all__ = [
    "FINAL",
    "accepts_event_stream",
    "allow",
    "begin_head",
    "describe",
    "is_final",
    "last_event_id",
    "origin_allowed",
    "set_cors_headers",
    "status_for",
]

#: How an id ends that tells a client's reconnect that there is nothing more to come. The id itself is
#: the whole memory of it: whichever process answers the reconnect reads it there.
FINAL: Final = "~final"

_LONGEST_TARGET: Final = 200

# The charset is what event streams always have, and keeps careless readers from guessing latin-1.
# no-transform keeps proxies from compressing (which buffers), X-Accel-Buffering keeps nginx from collecting
# the whole response before it sends any. The connection is not used again after a stream, so it says so
# (RFC 9112, section 9.6).
_STREAM_HEADERS: Final = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "Connection": "close",
}


def status_for(request: HTTPServerRequest, methods: Collection[str], allowed: Collection[str] | None) -> int:
    """Return how a request must be answered: 200 with a stream, 204, or an error.

    :arg methods: those that open a stream; HEAD is taken for GET.
    :arg allowed: the origins, as in `origin_allowed`.
    """
    if ("GET" if request.method == "HEAD" else request.method) not in methods:
        return 405
    if not origin_allowed(request, allowed):
        return 403
    if not accepts_event_stream(request):
        return 406
    return 204 if is_final(last_event_id(request)) else 200


def allow(methods: Collection[str]) -> str:
    """Return methods as the ``Allow`` header lists them; where GET is answered, HEAD is."""
    return ", ".join(sorted({*methods} | ({"HEAD"} if "GET" in methods else set())))


def begin_head(request: HTTPServerRequest, headers: HTTPHeaders) -> bool:
    """Add what an event stream's head must have, keeping what the application has set.

    Returns whether the body is to be sent in chunks; otherwise it ends with the connection.
    """
    headers["Content-Type"] = "text/event-stream; charset=utf-8"
    for name, value in _STREAM_HEADERS.items():
        if name not in headers:
            headers[name] = value
    # Framing is decided here, whatever was set.
    for name in ("Content-Length", "Transfer-Encoding"):
        if name in headers:
            del headers[name]
    if request.method == "HEAD":
        del headers["Connection"]  # there is no stream to close it after
        return False
    if request.version == "HTTP/1.1":
        return True
    # Tornado would promise to keep the connection of a client that asks for it, where the end of the
    # connection is the end of the body.
    request.headers.pop("Connection", None)
    return False


def last_event_id(request: HTTPServerRequest) -> str | None:
    """Return the id that the client resumes from, or None if it starts afresh.

    The ``Last-Event-ID`` header comes first (WHATWG HTML, section 9.2.4), then the query parameter
    ``last_event_id`` for clients that can't set a header. The empty string counts as none.
    """
    received = request.headers.get_list("Last-Event-ID")
    if received:
        # Clients send UTF-8, Tornado hands it over as latin-1. Several headers with different ids
        # contradict each other; joined they equal no id, where picking one could replay the wrong events.
        value = received[0] if len({*received}) == 1 else ",".join(received)
        try:
            value = value.encode("latin-1").decode()
        except UnicodeError:
            pass  # not UTF-8: left as it came, it equals no id either
    else:
        value = (request.query_arguments.get("last_event_id") or [b""])[-1].decode("utf-8", "replace")
    return value or None


def is_final(event_id: str | None) -> bool:
    """Return whether an id was the last of a stream that ended for good."""
    return event_id is not None and event_id.endswith(FINAL)


def accepts_event_stream(request: HTTPServerRequest) -> bool:
    """Return whether the ``Accept`` header allows ``text/event-stream`` (RFC 9110, section 12.5.1).

    No header allows everything. Of several ranges that match, the most specific one decides.
    """
    accept = ",".join(request.headers.get_list("Accept"))
    if accept == "text/event-stream":
        return True  # what an EventSource says
    ranges = dict(_media_ranges(accept))
    if not ranges:
        return True
    for media_range in ("text/event-stream", "text/*", "*/*"):
        if media_range in ranges:
            return ranges[media_range] > 0
    return False


def _media_ranges(accept: str) -> Iterator[tuple[str, float]]:
    for element in accept.split(","):
        media_range, *parameters = (part.strip().lower() for part in element.split(";"))
        if media_range:
            weight = 1.0
            for parameter in parameters:
                name, _, value = parameter.partition("=")
                if name.strip() == "q":
                    try:
                        weight = float(value)
                    except ValueError:
                        pass  # a weight that can't be read does not exclude
            yield media_range, weight


def origin_allowed(request: HTTPServerRequest, allowed: Collection[str] | None) -> bool:
    """Return whether a page that may have caused this request may open streams.

    With ``allowed`` None nothing is looked at: without CORS headers a browser keeps a foreign page from
    reading the stream anyway. Otherwise the page must be of this site or of an origin in the collection.
    Programs other than browsers send none of these headers and are let through.
    """
    if allowed is None or "*" in allowed:
        return True
    origin = request.headers.get("Origin")
    if origin is None:
        # A request without CORS (an <img>, a link) has no Origin; newer browsers say where it is from.
        return request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
    # The scheme is not compared for the same site: a proxy that ends TLS changes it.
    try:
        return origin in allowed or urlsplit(origin).netloc.lower() == request.host.lower()
    except ValueError:
        return False


def set_cors_headers(
    headers: HTTPHeaders, request: HTTPServerRequest, allowed: Collection[str] | None
) -> None:
    """Let the pages of allowed origins read the response (Fetch, section 3.2)."""
    if allowed is None:
        return
    if "*" in allowed:
        # Never with credentials: that would let any page read with its visitor's cookies.
        headers["Access-Control-Allow-Origin"] = "*"
        return
    headers.add("Vary", "Origin")
    origin = request.headers.get("Origin")
    if origin is not None and origin in allowed:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Allow-Credentials"] = "true"


def describe(request: HTTPServerRequest) -> str:
    """Return a request's name for a log line: method, path, parameters without their values, address.

    Values are left out because tokens travel in them, and so are names without a value, which may be one.
    What could be taken for something else in a line is quoted, and nothing is long.
    """
    names = ",".join(quote(name, safe="") for name, values in request.query_arguments.items() if any(values))
    target = f"{quote(request.path, safe='/%:@!$&()*+,;=~')}{names and '?'}{names}"
    if len(target) > _LONGEST_TARGET:
        target = f"{target[:_LONGEST_TARGET]}…"
    return f"{request.method} {target} from {request.remote_ip}"
