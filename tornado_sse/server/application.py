"""`make_application`: the routes of a server."""

from __future__ import annotations

from typing import Any

from tornado.routing import Rule
from tornado.web import Application

from tornado_sse.backends import Backend
from tornado_sse.broker import Broker
from tornado_sse.server.access import Access
from tornado_sse.server.answer import NotFound, log_request
from tornado_sse.server.health import Health, Ready
from tornado_sse.server.options import ServerOptions
from tornado_sse.server.posting import PostTo, Publish
from tornado_sse.server.reading import ChannelStream

__all__ = ["make_application"]


def make_application(options: ServerOptions, broker: Broker, backend: Backend, *routes: Any) -> Application:
    """Return the application that serves a broker's channels.

    ==========================  ==============================================================================
    ``GET /channels/<name>``    the channel as an event stream; see `tornado_sse.server.reading`
    ``POST /channels/<name>``   publishes the body; see `tornado_sse.server.posting`
    ``POST /publish``           publishes lines of JSON that name their channels
    ``GET /health``             the process is up
    ``GET /ready``              it may be sent clients
    ==========================  ==============================================================================

    :arg backend: the broker's.
    :arg routes: more routes.
    """
    return Application(
        [
            Rule(PostTo("/channels/([^/]*)"), Publish),
            ("/publish", Publish),
            ("/channels/([^/]*)", ChannelStream),
            ("/health", Health),
            ("/ready", Ready),
            *routes,
        ],
        default_handler_class=NotFound,
        log_function=log_request,
        sse_broker=broker,
        access=Access(options.grants),
        backend=backend,
        max_body=options.max_body,
        **{f"sse_{name}": value for name, value in options.streams.items()},
    )
