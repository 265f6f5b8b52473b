"""A client's request: where it goes, what it carries, and where a redirect takes it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, quote, unquote_to_bytes, urljoin, urlsplit

from tornado.httputil import HTTPHeaders, HTTPInputError

from tornado_sse.errors import RedirectError, SettingError

__all__ = ["REDIRECTS", "Request"]

#: The statuses that send a client elsewhere (Fetch, section 2.2.6).
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_PORTS: Final = {"http": 80, "https": 443}

# What a browser leaves in a path or a query as it is; the rest is escaped. A % is taken for an escape.
_SAFE: Final = "/%:@!$&'()*+,;=~?[]|"

# Of the caller's headers, those that may follow a redirect to another origin. All others may be a secret:
# Authorization and Cookie are only the best known of them.
_HARMLESS: Final = frozenset({"Accept", "Accept-Language", "Cache-Control", "Content-Type", "User-Agent"})

# Set by this package, and nonsense in any other way.
_OURS: Final = {
    "Content-Length": "is the body's",
    "Transfer-Encoding": "is how the body is sent",
    "Last-Event-Id": "is what last_event_id is for",
    "Accept-Encoding": "is what compression is for",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask for. Build it with `to`.

    :arg str method: the method.
    :arg str url: without user, password and fragment, with what must be escaped escaped.
    :arg headers: the caller's, and ``Host`` unless it is there.
    :arg bytes body: or None.
    """

    method: str
    url: str
    headers: HTTPHeaders
    body: bytes | None

    @classmethod
    def to(cls, url: str, method: str, headers: Mapping[str, str], body: bytes | None) -> Request:
        """Return a request. User and password in the URL become ``Authorization``, unless that is there.

        :raises SettingError: if it makes no sense.
        """
        try:
            parts = _split(url)
        except ValueError as error:
            raise SettingError("url", str(error)) from None
        ours = HTTPHeaders()
        for name, value in headers.items():
            try:
                ours.add(name, value)
            except (HTTPInputError, TypeError, AttributeError):
                raise SettingError("headers", f"has what can't be a header: {name!r}") from None
        if parts.username is not None and "Authorization" not in ours:
            userinfo = parts.netloc.rpartition("@")[0].partition(":")
            credentials = b":".join(map(unquote_to_bytes, userinfo[::2]))
            ours["Authorization"] = f"Basic {b64encode(credentials).decode()}"
        for name, use in _OURS.items():
            if name in ours:
                raise SettingError("headers", f"has {name}, which {use}")
        return cls(method, _unparse(parts), ours, body)

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: where its secrets may go."""
        parts = urlsplit(self.url)
        return parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme]

    @property
    def target(self) -> str:
        """What goes into the request line (RFC 9112, section 3.2.1)."""
        parts = urlsplit(self.url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    @property
    def host(self) -> str:
        """What goes into the ``Host`` header."""
        return urlsplit(self.url).netloc

    def redirected(self, status: int, location: str) -> Request:
        """Return the request to make when this one has been answered with a redirect.

        As in Fetch, section 4.4, what was a POST may become a GET without a body. To another origin go none
        of the caller's headers but a harmless few; the body goes where 307 and 308 ask for it.

        :raises RedirectError: if it leads nowhere, or from TLS to none: what follows would be anybody's to
            read and to write.
        """
        try:
            parts = _split(urljoin(self.url, _as_utf8(location)))
        except ValueError as error:
            raise RedirectError(self.url, location, str(error)) from None
        if parts.scheme == "http" and self.url.startswith("https:"):
            raise RedirectError(self.url, location, "it leads from https to http")
        method, body = self.method, self.body
        headers = self.headers.copy()
        if status == 303 or (status in (301, 302) and method == "POST"):
            method, body = "GET", None
            headers.pop("Content-Type", None)
        result = Request(method, _unparse(parts), headers, body)
        if result.origin != self.origin:
            for name in [name for name in headers if name not in _HARMLESS]:
                del headers[name]
        return result


def _split(url: object) -> SplitResult:
    """Take a URL apart; raise ValueError with what is wrong with it."""
    if not isinstance(url, str):
        raise ValueError(f"must be str, not {type(url).__name__}")
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("must be a URL like https://example.org/path")
    try:
        if parts.port == 0:
            raise ValueError
        parts.hostname.encode("idna")
    except ValueError:  # UnicodeError is one
        raise ValueError("has a host or a port that can't be one") from None
    return parts


def _unparse(parts: SplitResult) -> str:
    host = parts.hostname or ""
    host = host if host.isascii() else host.encode("idna").decode()
    netloc = f"[{host}]" if ":" in host else host
    if parts.port is not None and parts.port != _PORTS[parts.scheme]:
        netloc += f":{parts.port}"
    query = parts.query and f"?{quote(parts.query, safe=_SAFE)}"
    return f"{parts.scheme}://{netloc}{quote(parts.path or '/', safe=_SAFE)}{query}"


def _as_utf8(location: str) -> str:
    """Return a Location as servers mean it: Tornado hands headers over as latin-1."""
    try:
        return location.encode("latin-1").decode()
    except UnicodeError:
        return location
