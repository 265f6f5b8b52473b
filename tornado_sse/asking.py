"""Asking for a stream, again and again: with headers that may change, and wherever redirects lead."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import Any

from tornado.netutil import Resolver

from tornado_sse.errors import RedirectError, SettingError
from tornado_sse.exchange import Answer, Exchange, Limits
from tornado_sse.request import REDIRECTS, Request

__all__ = ["Asker", "Headers"]

#: Headers, or what returns them when they are needed.
Headers = Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]


class Asker:
    """What an `.EventSource` asks for, and how. Its arguments are those of the same names there.

    :raises SettingError: if one makes no sense.
    """

    def __init__(
        self,
        url: str,
        method: str,
        headers: Headers | None,
        body: bytes | str | None,
        *,
        max_redirects: int,
        limits: Limits,
        ssl_options: ssl.SSLContext | dict[str, Any] | None,
        compression: bool,
        resolver: Resolver | None,
    ) -> None:
        if not (method.isascii() and method.isalpha()) or method in ("HEAD", "CONNECT"):
            raise SettingError("method", f"must be one that is answered with a stream, not {method!r}")
        if body is not None and method == "GET":
            raise SettingError("body", "needs a method that has one, as POST")
        if max_redirects < 0:
            raise SettingError("max_redirects", f"must be 0 or more, not {max_redirects!r}")
        self._url = url
        self._headers = headers
        self._body = body.encode() if isinstance(body, str) else body
        #: The request, without the headers that are not known yet. What can be said against it is said now.
        self.request = Request.to(url, method, {} if callable(headers) else headers or {}, self._body)
        self._max_redirects = max_redirects
        self._limits = limits
        self._options: dict[str, Any] = {
            "ssl_options": ssl_options,
            "compression": compression,
            "resolver": resolver,
        }
        #: The latest exchange, or None.
        self.exchange: Exchange | None = None

    async def ask(self, last_event_id: str) -> tuple[Exchange, Answer]:
        """Return an exchange whose answer is no redirect, and the answer. It is the caller's to close.

        :raises ConnectionFailedError: if there is no answer.
        :raises RedirectError: if it is redirected too often, or to where it does not go.
        """
        request = self.request
        if callable(self._headers):
            headers = self._headers()
            if isawaitable(headers):
                headers = await headers
            request = Request.to(self._url, request.method, headers, self._body)
        location = ""
        for _ in range(self._max_redirects + 1):
            self.exchange = Exchange(request, self._limits, last_event_id=last_event_id, **self._options)
            try:
                answer = await self.exchange.open()
            except BaseException:
                self.close()
                raise
            if answer.status not in REDIRECTS or "Location" not in answer.headers:
                return self.exchange, answer
            self.close()
            location = answer.headers["Location"]
            request = request.redirected(answer.status, location)
        raise RedirectError(self.request.url, location, f"it is redirect {self._max_redirects + 1} in a row")

    def close(self) -> None:
        """Close the socket of the latest exchange at once."""
        if self.exchange is not None:
            self.exchange.close()
