"""`run`: one process that serves, from its start to its exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.web import Application

from tornado_sse.broker import Broker
from tornado_sse.errors import BackendError, BrokerError
from tornado_sse.observer import Observer
from tornado_sse.server.answer import NotFound, log_request
from tornado_sse.server.application import make_application
from tornado_sse.server.options import ServerOptions
from tornado_sse.shutdown import serve_until_stopped

__all__ = ["CANNOT_START", "STOPPING", "run"]

#: The exit code of a process that could not begin to serve.
CANNOT_START: Final = 3

#: What stops a server. They are to be blocked when `run` is called, and are let through when somebody
#: listens.
STOPPING: Final = frozenset({signal.SIGTERM, signal.SIGINT})

# How long the log may take to open, in seconds. Signals wait until then.
_START: Final = 30.0

# How long a connection may take to send a request's head and its body, in seconds.
_HEAD: Final = 75.0
_BODY: Final = 60.0


def run(
    options: ServerOptions,
    sockets: Sequence[socket.socket],
    serving: Callable[[], object],
    *,
    parent: int | None = None,
    metrics: Sequence[socket.socket] = (),
) -> int:
    """Serve until a signal comes; return the exit code.

    :arg sockets: where to listen.
    :arg serving: called when requests are answered.
    :arg parent: a descriptor that can be read when the parent has died, upon which this process stops too.
    :arg metrics: where to tell figures, if not on the others.
    """
    try:
        asyncio.run(_serve(options, sockets, serving, parent, metrics))
    except BrokerError as error:
        print(f"tornado-sse: {error}", file=sys.stderr)
        return CANNOT_START
    return 0


async def _serve(
    options: ServerOptions,
    sockets: Sequence[socket.socket],
    serving: Callable[[], object],
    parent: int | None,
    metrics: Sequence[socket.socket],
) -> None:
    observer, routes = _metrics(options)
    backend = options.open_backend()
    broker = Broker(backend, observer=observer)
    try:
        async with asyncio.timeout(_START):
            await broker.start()
    except (BrokerError, TimeoutError) as error:
        await broker.close()
        if isinstance(error, BrokerError):
            raise
        raise BackendError(backend.name, f"it did not answer within {_START:g} s") from None
    apart = HTTPServer(Application(routes, default_handler_class=NotFound, log_function=log_request))
    apart.add_sockets(metrics)
    server = HTTPServer(
        make_application(options, broker, backend, *(() if metrics else routes)),
        xheaders=options.xheaders,
        trusted_downstream=[*options.trusted_proxies],
        max_body_size=options.max_body,
        idle_connection_timeout=_HEAD,
        body_timeout=_BODY,
    )
    server.add_sockets(sockets)
    loop = asyncio.get_running_loop()
    if parent is not None:
        loop.add_reader(parent, _stop, loop, parent)
    # Both happen when the next line has begun to listen for signals, and waits.
    loop.call_soon(signal.pthread_sigmask, signal.SIG_UNBLOCK, STOPPING)
    loop.call_soon(serving)
    # A terminal's SIGINT is for the parent, which passes it on as a SIGTERM.
    signals = STOPPING if parent is None else (signal.SIGTERM,)
    await serve_until_stopped(server, deadline=options.drain, signals=signals)
    apart.stop()
    await apart.close_all_connections()


def _stop(loop: asyncio.AbstractEventLoop, parent: int) -> None:
    loop.remove_reader(parent)
    os.kill(os.getpid(), signal.SIGTERM)


def _metrics(options: ServerOptions) -> tuple[Observer | None, list[Any]]:
    """Return an observer and a route for Prometheus, if its client is installed.

    Several processes have each their own figures, and who answers on a port in common is left to chance.
    """
    if options.processes > 1 and options.metrics_port is None:
        return None, []
    try:
        from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

        from tornado_sse.metrics import Metrics, MetricsHandler
    except ModuleNotFoundError:
        logging.getLogger("tornado_sse").info("no /metrics: pip install 'tornado-sse[metrics]'")
        return None, []
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    metrics = Metrics(registry)
    return metrics, [("/metrics", MetricsHandler, {"metrics": metrics})]
