"""The page, and the stream that feeds it."""

from __future__ import annotations

from pathlib import Path

import tornado.web
from bokeh.settings import settings as bokeh_settings

import tornado_sse
from demos.dashboard.collector import READINGS, Collector
from demos.dashboard.logs import LOG
from tornado_sse.browser import ModuleHandler

__all__ = ["make_app"]

_HERE = Path(__file__).parent / "static"
# Bokeh's wheel brings its own JavaScript: nothing is downloaded, and nothing is copied into this repository.
_BOKEH = Path(bokeh_settings.bokehjs_path()) / "js"

# Everything comes from this server, and nothing that is shown can become code. One door is open: BokehJS
# keeps its styles in <style> elements inside its shadow roots, and knows neither nonces nor constructed
# style sheets. Attributes stay closed to styles, since markup smuggled into a page would use those first.
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob: data:",
        "style-src 'self'",
        "style-src-elem 'self' 'unsafe-inline'",
        "style-src-attr 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Live(tornado_sse.SSEHandler):
    """Everything the page shows, on one stream: each payload goes by the serializer that suits it."""

    sse_retry = 1.0

    async def open(self) -> None:
        """Send all that is kept, or to a page that comes back what it lacks, and then what comes."""
        await self.subscribe(READINGS, LOG, start="earliest")
        self.settings["collector"].start()


class Asset(tornado.web.StaticFileHandler):
    """A file of the page. Cached, but asked about each time, so that an edit shows on reload."""

    def set_extra_headers(self, path: str) -> None:
        """Add what a browser should refuse, and keep."""
        self.set_header("Cache-Control", "no-cache")

    def set_default_headers(self) -> None:
        """Put the policy on every answer, errors included."""
        for name, value in _HEADERS.items():
            self.set_header(name, value)


class Module(ModuleHandler):
    """The browser module, under the same policy."""

    set_default_headers = Asset.set_default_headers


class NotFound(tornado.web.ErrorHandler):
    """The answer to every other address."""

    set_default_headers = Asset.set_default_headers


def make_app(broker: tornado_sse.Broker, collector: Collector) -> tornado.web.Application:
    """Return the application: a stream, the files of the page, and the three scripts it is built on."""
    return tornado.web.Application(
        [
            (r"/live", Live),
            (r"/tornado_sse/(.*)", Module),
            (r"/(bokeh(?:-api)?\.min\.js)", Asset, {"path": _BOKEH}),
            (r"/(.*)", Asset, {"path": _HERE, "default_filename": "index.html"}),
        ],
        default_handler_class=NotFound,
        default_handler_args={"status_code": 404},
        sse_broker=broker,
        collector=collector,
    )
