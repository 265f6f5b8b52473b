"""Stopping a server so that no client loses anything and nobody waits: one line in ``main()``."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable

from tornado.httpserver import HTTPServer
from tornado.web import Application

from tornado_sse.broker import Broker
from tornado_sse.capacity import Capacity
from tornado_sse.draining import drain

__all__ = ["drain_application", "serve_until_stopped"]


async def serve_until_stopped(
    server: HTTPServer,
    *,
    deadline: float = 10.0,
    signals: Iterable[int] = (signal.SIGTERM, signal.SIGINT),
) -> None:
    """Wait for a signal, then end all streams and stop the server::

        async def main():
            server = Application([...], sse_broker=broker).listen(8888)
            await serve_until_stopped(server)

        asyncio.run(main())

    From the signal on new streams are refused (503, with Retry-After), those that are open end as complete
    over the first half of the deadline, each with a reconnection time of its own, and then the server and the
    application's ``sse_broker`` are closed. Ordinary requests are served until then. When this returns, the
    process may end.

    :arg server: what ``Application.listen()`` returns, or an `.HTTPServer` with an application.
    :arg float deadline: how long it may take, in seconds; what is not through by then is cut.
    :arg signals: which signals stop it. A second one is the system's to act on: it ends the process.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    numbers = tuple(signals)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        await stop.wait()
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
    application = server.request_callback
    if isinstance(application, Application):
        await drain_application(application, deadline)
    server.stop()
    await server.close_all_connections()


async def drain_application(application: Application, deadline: float = 10.0) -> None:
    """End all streams of an application, refusing new ones, and close its ``sse_broker``.

    For servers that have signals and an order of stopping of their own; see `serve_until_stopped`.
    """
    capacity = Capacity.of(application)
    capacity.draining = True
    await drain(capacity.streams, deadline)
    broker = application.settings.get("sse_broker")
    if isinstance(broker, Broker):
        await broker.close()
