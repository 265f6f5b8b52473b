"""Stopping a server so that no client loses anything and nobody waits: one line in ``main()``."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from typing import Final

from tornado.httpserver import HTTPServer
from tornado.web import Application

from tornado_sse.broker import Broker
from tornado_sse.capacity import Capacity
from tornado_sse.draining import drain

__all__ = ["drain_application", "serve_until_stopped"]

# How often to look whether the last requests have been answered, in seconds.
_STEP: Final = 0.02


async def serve_until_stopped(
    server: HTTPServer,
    *,
    application: Application | None = None,
    deadline: float = 10.0,
    signals: Iterable[int] = (signal.SIGTERM, signal.SIGINT),
) -> None:
    """Wait for a signal, then end all streams and stop the server::

        async def main():
            server = Application([...], sse_broker=broker).listen(8888)
            await serve_until_stopped(server)

        asyncio.run(main())

    From the signal on new streams are refused (503, with Retry-After), and those that are open end as
    complete over the first half of the deadline (a few take less), each with a reconnection time of its own.
    Ordinary requests are served until then. Then nobody may connect any more, what slow readers lack is sent,
    requests that have arrived are answered, and the application's ``sse_broker`` and the server are closed.
    When this returns, the process may end.

    :arg server: what ``Application.listen()`` returns, or an `.HTTPServer` with an application.
    :arg application: whose streams to end, where the server calls a router or a wrapper of the application's.
    :arg float deadline: how long it may take, in seconds; what is not through by then is cut.
    :arg signals: which signals stop it. A second one is the system's to act on: it ends the process.

    :raises TypeError: if the server has no application of its own, and none is named.
    """
    if application is None:
        if not isinstance(server.request_callback, Application):
            raise TypeError(
                f"this server calls a {type(server.request_callback).__name__}: say which application's "
                "streams are to be ended, as in serve_until_stopped(server, application=application)"
            )
        application = server.request_callback
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
    over = loop.time() + deadline

    def stop_listening() -> None:
        server.stop()
        # Tornado does not say who is being answered, but those who are not are read from, for their next
        # request or the rest of one. A browser would ask for a stream on such a connection, and be refused.
        for connection in server._connections:
            if connection.stream.reading():
                connection.stream.close()

    # A proxy would go on using its connections, and never leave; each is closed with its next response.
    server.conn_params.no_keep_alive = True
    try:
        await _end_streams(application, deadline, stop_listening)
        while server._connections and loop.time() < over:
            stop_listening()
            await asyncio.sleep(_STEP)
        await _close_broker(application)
    finally:
        server.stop()
        await server.close_all_connections()


async def drain_application(application: Application, deadline: float = 10.0) -> None:
    """End all streams of an application, refusing new ones, and close its ``sse_broker``.

    For servers that have signals and an order of stopping of their own; see `serve_until_stopped`.
    """
    await _end_streams(application, deadline)
    await _close_broker(application)


async def _end_streams(
    application: Application, deadline: float, told: Callable[[], object] | None = None
) -> None:
    capacity = Capacity.of(application)
    capacity.draining = True
    await drain(capacity.streams, deadline, told)


async def _close_broker(application: Application) -> None:
    broker = application.settings.get("sse_broker")
    if isinstance(broker, Broker):
        await broker.close()
