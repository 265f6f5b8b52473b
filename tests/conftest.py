"""Fixtures for all tests: an event loop of their own, and no stray warning or log record."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tornado.web
import trustme
from tornado.ioloop import IOLoop
from tornado.platform.asyncio import AsyncIOLoop

from tests.nats_server import Server as NATSServer
from tests.nats_server import running as running_nats
from tests.serving import Command
from tests.support import Connect, Connection, Logs
from tests.valkey import PROGRAMS, Server, running


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """Take the place of pytest-tornado's fixture, which relies on what newer Pythons have removed."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    io_loop = AsyncIOLoop(asyncio_loop=loop, make_current=False)
    yield io_loop
    pending = asyncio.all_tasks(loop)
    for task in pending:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    asyncio.set_event_loop(None)
    io_loop.close(all_fds=True)


@pytest.fixture(autouse=True)
def logs() -> Iterator[Logs]:
    """Collect what is logged; a warning or worse that a test does not claim fails it."""
    logs = Logs()
    root = logging.getLogger()
    root.addHandler(logs)
    levels = {name: logging.getLogger(name).level for name in ("tornado_sse", "tornado")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield logs
    # A task or Future that died unheard says so when it is collected.
    gc.collect()
    root.removeHandler(logs)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    stray = [record for record in logs.records if record.levelno >= logging.WARNING]
    assert not stray, "unexpected log records:\n" + "\n".join(map(logging.Formatter().format, stray))


@pytest.fixture
def connect(http_server: object, http_port: int) -> Iterator[Connect]:
    """Connect to the test's server; what is open at the end is closed."""
    with contextlib.ExitStack() as stack:

        async def connect() -> Connection:
            connection = await Connection.open("127.0.0.1", http_port)
            stack.callback(connection.close)
            return connection

        yield connect


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Set the routes of the test's application, which is otherwise empty."""
    app: tornado.web.Application = request.getfixturevalue("app")

    def serve(*handlers: type[tornado.web.RequestHandler], **settings: object) -> None:
        app.settings.update(settings)
        for handler in handlers:
            path = f"/{_path(handler)}"
            app.add_handlers(".*", [(path, handler), (f"{path}/([^/]+)", handler)])

    return serve


def _path(handler: type) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", handler.__name__).lower()


@pytest.fixture
def app() -> tornado.web.Application:
    """Return the application that pytest-tornado's http_server serves."""
    return tornado.web.Application([])


@pytest.fixture(scope="session")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's and a client's TLS settings, with a certificate made for this run."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start ``tornado-sse``; what runs at the end is killed."""
    with contextlib.ExitStack() as stack:

        def command(*arguments: str, **environment: str) -> Command:
            it = Command(tmp_path, *arguments, **environment)
            stack.callback(it.close)
            return it

        yield command


@pytest.fixture(scope="session", params=PROGRAMS)
def redis_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Run a Valkey or Redis server for all tests that let it live; each has its own prefix there."""
    with running(request.param, tmp_path_factory.mktemp(request.param) / "data") as server:
        yield server


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NATSServer]:
    """Run a NATS server for all tests that let it live; each has its own stream there."""
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server
