"""A real Chromium, and servers for it to talk to.

Playwright's sync API runs an event loop of its own in the test's thread, so every server here lives in a
thread or a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import pytest
import tornado.httpserver
import tornado.netutil
import tornado.web
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright

from tests.support import SECOND

T = TypeVar("T")

#: How long to wait for a browser or a program. What is in order comes at once; slow machines take long.
PATIENCE = 20 * SECOND

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = [
    "--no-sandbox",  # Chromium refuses to run as root with it, and containers often lack what it needs
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


# As long as this folder and no longer: while it runs, Playwright's loop counts as the running one of this
# thread, and the loops of other tests would refuse to run.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A running Chromium: TORNADO_SSE_CHROMIUM, or the first that is installed."""
    path = os.environ.get("TORNADO_SSE_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        reason = f"no Chromium: set TORNADO_SSE_CHROMIUM, or install one of {', '.join(_NAMES)}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield running
        running.close()


class Complaints:
    """What a page complained about: on its console, by uncaught errors, by failed or refused requests."""

    def __init__(self, page: Page) -> None:
        self.seen: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.seen.append(f"uncaught: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.seen.append(f"console.{message.type}: {message.text}")

    def _failed(self, request: Request) -> None:
        # A page that closes a stream aborts a request: that is how it is done. One that is left aborts the
        # loading of its worker.
        by_page = request.resource_type in ("eventsource", "fetch") or request.url.endswith("/worker.js")
        if not (by_page and request.failure == "net::ERR_ABORTED"):
            self.seen.append(f"failed: {request.url} {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.seen.append(f"status {response.status}: {response.url}")

    def take(self) -> list[str]:
        """Return the complaints so far and forget them: for what a test provokes."""
        seen, self.seen = self.seen, []
        return seen


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Any]]:
    """``open_page(**options)`` gives a page in a context of its own; no page may complain by the end.

    ``context=`` opens another tab of an earlier page's context instead. The page's `Complaints` are its
    attribute ``complaints``.
    """
    with contextlib.ExitStack() as contexts:
        pages = []

        def open_page(*, context: Any = None, **options: Any) -> Any:
            if context is None:
                context = browser.new_context(**options)
                contexts.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(PATIENCE * 1000)
            page.complaints = Complaints(page)
            pages.append(page)
            return page

        yield open_page
        complaints = [complaint for page in pages for complaint in page.complaints.take()]
    assert not complaints


class Server:
    """A Tornado application in a thread, on a free port."""

    def __init__(self, application: tornado.web.Application) -> None:
        self._application = application
        self._started: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="server")
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._started.result(PATIENCE)}"

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
        server = tornado.httpserver.HTTPServer(self._application)
        server.add_sockets(sockets)
        self._started.set_result(sockets[0].getsockname()[1])
        await self._stop.wait()
        server.stop()
        await server.close_all_connections()

    def run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine where the application runs, and return its result."""
        return asyncio.run_coroutine_threadsafe(function(), self._loop).result(PATIENCE)

    def close(self) -> None:
        """Stop serving and wait for the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[[tornado.web.Application], Server]]:
    """``start_server(application)`` starts a `Server` that runs until the end of the session."""
    with contextlib.ExitStack() as servers:

        def start_server(application: tornado.web.Application) -> Server:
            server = Server(application)
            servers.callback(server.close)
            return server

        yield start_server
