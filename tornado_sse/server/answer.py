"""How requests are answered that do not stream: JSON, errors included, and log lines without secrets."""

from __future__ import annotations

from typing import Any, cast

from tornado.escape import json_encode
from tornado.httputil import HTTPServerRequest
from tornado.log import access_log, app_log
from tornado.web import HTTPError, RequestHandler

from tornado_sse.negotiation import allow, describe, set_cors_headers
from tornado_sse.server.access import Access, Bearer
from tornado_sse.settings import Settings

__all__ = ["Answer", "NotFound", "bearer_token", "log_request"]


class Answer(RequestHandler):
    """A handler whose errors are JSON that says what is wrong, and whose log lines show no query."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with ``{"error": "…"}``, readable for the pages that may read the answer proper."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        reason = self._reason
        if isinstance(error, HTTPError) and error.log_message and not _is_ours(error):
            reason = error.log_message % error.args if error.args else error.log_message
        if status_code == 401:
            self.set_header("WWW-Authenticate", 'Bearer realm="tornado-sse"')  # RFC 6750, section 3
        elif status_code in (429, 503):
            self.set_header("Retry-After", "5")
        elif status_code == 405:
            self.set_header("Allow", self.allowed_methods())
        self.set_cors_headers()
        self.finish_json({"error": reason})

    def finish_json(self, value: dict[str, Any]) -> None:
        """Answer with JSON on a line, as a terminal would have it."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(json_encode(value) + "\n")

    def set_cors_headers(self) -> None:
        """Let the pages read the answer that may."""
        allowed = Settings.of(self, "allowed_origins").allowed_origins
        set_cors_headers(self._headers, self.request, allowed)

    def allowed_methods(self) -> str:
        """Return what a 405 tells (RFC 9110, section 15.5.6)."""
        return allow([method for method in ("GET", "POST") if method.lower() in vars(type(self))])

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Log what is the server's fault. Tornado's own way shows the query, in which tokens travel."""
        if isinstance(value, HTTPError):
            if _is_ours(value):
                app_log.warning("%s: %s", describe(self.request), value.__cause__)
            return  # the access log has the others
        app_log.error("Uncaught exception in %s", describe(self.request), exc_info=value)

    def _request_summary(self) -> str:
        return describe(self.request)

    def ask(self, token: str | None) -> Bearer:
        """Return what may be done by who shows a token.

        :raises HTTPError: 401, if it is a token that nobody has been given.
        """
        bearer = cast(Access, self.settings["access"]).bearer(token)
        if token is not None and not bearer.known:
            raise HTTPError(401, "nobody has been given this token")
        return bearer


class NotFound(Answer):
    """Answers what no route matches."""

    def prepare(self) -> None:
        """Answer 404."""
        raise HTTPError(404, "there are /channels/<name>, /publish, /health, /ready and /metrics")


def bearer_token(request: HTTPServerRequest) -> str | None:
    """Return the token of the ``Authorization`` header, or None (RFC 6750, section 2.1)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _is_ours(error: HTTPError) -> bool:
    """Return whether an error is nothing for a client: what has caused it may name files and hosts."""
    return error.status_code >= 500 and error.__cause__ is not None


def log_request(handler: RequestHandler) -> None:
    """Log a request that has been answered; for an application's ``log_function``."""
    status = handler.get_status()
    log = access_log.info if status < 500 else access_log.warning
    log("%d %s %.2fms", status, describe(handler.request), 1000 * handler.request.request_time())
