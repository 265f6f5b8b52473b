"""What a Datastar page sends: its signals, as JSON, with every request."""

from __future__ import annotations

import json
from typing import Any, Final

from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError

__all__ = ["read_signals"]

# Requests that have no body, so that the signals are in the address.
_WITHOUT_BODY: Final = ("GET", "HEAD", "DELETE")


def read_signals(request: HTTPServerRequest) -> dict[str, Any]:
    """Return the signals that came with a request; none if there are none, as in one that sends a form.

    They are the query's ``datastar`` of a GET or DELETE request, and otherwise the body. Whatever is in them
    comes from outside: the page keeps signals whose name begins with ``_`` to itself, but nobody else has to.

    :raises HTTPError: 400, if they are not an object of JSON.
    """
    if request.method in _WITHOUT_BODY:
        data = (request.query_arguments.get("datastar") or [b""])[-1]
    elif request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/json":
        data = request.body
    else:
        data = b""
    if not data.strip():
        return {}
    try:
        signals = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise HTTPError(400, "signals that are not JSON: %s", error) from error
    if not isinstance(signals, dict):
        raise HTTPError(400, "signals that are no object")
    return signals


def _refuse(constant: str) -> None:
    # Python reads NaN and Infinity, which JSON does not have and a page never sends.
    raise ValueError(f"{constant} is not JSON")
