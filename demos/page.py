"""What demos have in common: a page's files, who may ask for what, a server's start and end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler, StaticFileHandler

from tornado_sse import SSEError, serve_until_stopped

__all__ = ["Asset", "SameSite", "arguments", "files", "serve"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class SameSite(RequestHandler):
    """A handler for its own pages, and for programs."""

    def prepare(self) -> None:
        """Refuse what another site's page asks for in the name of its visitor."""
        host, headers = self.request.host, self.request.headers
        # Without TLS, but on localhost, browsers tell the origin alone; other programs tell nothing.
        origin, site = headers.get("Origin", f"http://{host}"), headers.get("Sec-Fetch-Site", "none")
        if origin.partition("://")[2] != host or site not in ("none", "same-origin"):
            raise HTTPError(403)


class Asset(StaticFileHandler):
    """A file of the page."""

    def set_default_headers(self) -> None:
        """Put the policy on every answer, errors included."""
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-cache")


def arguments(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser for what every demo can be told."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument("--port", type=int, default=8888, help="0 takes a free one; default: %(default)s")
    parser.add_argument("--address", default="127.0.0.1", help="where to listen; default: %(default)s")
    return parser


def files(folder: Path) -> tuple[str, type[Asset], dict[str, object]]:
    """Return the route of a page and its files, which comes after all others."""
    return r"/(.*)", Asset, {"path": folder, "default_filename": "index.html"}


async def serve(
    application: Application,
    options: argparse.Namespace,
    start: Callable[[], Awaitable[object]],
    said: str = "",
) -> None:
    """Serve until SIGINT or SIGTERM; what keeps it from starting is one line.

    :arg start: is called when the address is known to be free, before anybody is served.
    :arg str said: what else is printed when it has started, after its address.
    """
    server = HTTPServer(application, max_body_size=32 * 1024)
    try:
        sockets = bind_sockets(options.port, options.address)
        await start()
    except (OSError, SSEError) as error:
        sys.exit(f"can't start: {error}")
    server.add_sockets(sockets)
    print(f"http://{options.address}:{sockets[0].getsockname()[1]}/", flush=True)
    if said:
        print(said, flush=True)
    await serve_until_stopped(server, deadline=2)
