"""The browser module, served: ``tornado_sse.js``, what it imports, and its types.

A page imports one address that never changes, ``…/tornado_sse.js``. It leads on to one that names the
contents, ``…/<version>/tornado_sse.js``, and what that imports lies beside it. So everything but the first
step is cached for good, and files of two versions never meet in a page.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from tornado.web import HTTPError, StaticFileHandler

__all__ = ["ModuleHandler"]

_FILES = Path(__file__).with_name("static")


class ModuleHandler(StaticFileHandler):
    """Serves the browser module::

        Application([(r"/tornado_sse/(.*)", ModuleHandler), ...])

    A page then says ``import { EventStream } from "/tornado_sse/tornado_sse.js"``. Nothing is inline, so a
    Content-Security-Policy of ``script-src 'self'; connect-src 'self'`` is enough; where it has a
    ``worker-src``, that must allow ``'self'`` for streams that tabs share.

    Override ``set_default_headers()`` for headers of your own. They go with the worker's script too, and a
    policy among them is what the worker is held to.
    """

    def initialize(self) -> None:  # type: ignore[override]
        """Serve the package's own files, and no others."""
        super().initialize(str(_FILES))

    async def get(self, path: str, include_body: bool = True) -> None:
        """Answer with a file, or with where it is in this version."""
        folder, _, name = path.rpartition("/")
        if name not in _names():
            raise HTTPError(404)
        if folder == _version():
            await super().get(name, include_body)
            return
        # A page of another version gets the present one: its own is not here. The address is relative, since
        # a proxy may have taken off some of the path.
        self.set_header("Cache-Control", "no-cache")
        self.redirect("../" * (folder.count("/") + 1 if folder else 0) + f"{_version()}/{name}")

    def get_content_type(self) -> str:
        """Return a type that browsers run; the system's own table of types is not always right."""
        script = str(self.absolute_path).endswith(".js")
        return f"text/{'javascript' if script else 'plain'}; charset=utf-8"

    def set_extra_headers(self, path: str) -> None:
        """Let it be kept for good."""
        self.set_header("Cache-Control", "public, max-age=31536000, immutable")
        self.set_header("X-Content-Type-Options", "nosniff")


@functools.cache
def _names() -> frozenset[str]:
    return frozenset(file.name for file in _FILES.iterdir())


@functools.cache
def _version() -> str:
    """Return what names the contents of all files."""
    digest = hashlib.sha256()
    for name in sorted(_names()):
        content = (_FILES / name).read_bytes()
        digest.update(b"%b %d\0" % (name.encode(), len(content)) + content)
    return digest.hexdigest()[:16]
