"""The command line: ``python -m demos.dashboard [--port N] [--address A]``."""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
import socket
import sys

import tornado.httpserver
import tornado.netutil

from tornado_sse import Broker, Retention, serve_until_stopped

try:
    from demos.dashboard.app import make_app
    from demos.dashboard.collector import KEEP, Collector
    from demos.dashboard.logs import LogPublisher
except ModuleNotFoundError as error:
    sys.exit(f"the dashboard needs {error.name}; install it with: pip install 'tornado-sse[demo]'")


def main() -> int:
    """Run the dashboard until it is told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demos.dashboard", description="This machine, live.")
    port = os.environ.get("PORT", "8888")
    parser.add_argument("--port", type=port_number, default=port, help="default: $PORT, or else 8888")
    parser.add_argument("--address", default="127.0.0.1", help="where to listen; default: %(default)s")
    options = parser.parse_args()

    try:
        sockets = tornado.netutil.bind_sockets(options.port, options.address)
    except OSError as error:
        hint = "; choose another with --port" if error.errno == errno.EADDRINUSE else ""
        where = f"{options.address}, port {options.port}"
        print(f"can't listen on {where}: {error.strerror}{hint}", file=sys.stderr)
        return 1
    host = f"[{options.address}]" if ":" in options.address else options.address
    asyncio.run(serve(sockets, f"http://{host}:{sockets[0].getsockname()[1]}/"))
    return 0


def port_number(text: str) -> int:
    """Read a TCP port; 0 lets the system choose a free one."""
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(port)
    return port


async def serve(sockets: list[socket.socket], url: str) -> None:
    """Serve until SIGINT or SIGTERM, then end every stream cleanly, so that its page reconnects."""
    # Whoever opens the page is sent what is kept: all that the page shows, however old.
    broker = Broker(retention=Retention(events=KEEP, age=None))
    collector = Collector(broker)
    logging.basicConfig(level=logging.INFO, handlers=[LogPublisher(broker), logging.StreamHandler()])
    server = tornado.httpserver.HTTPServer(make_app(broker, collector))
    server.add_sockets(sockets)
    print(url, flush=True)
    await serve_until_stopped(server, deadline=2)
    await collector.close()


if __name__ == "__main__":
    sys.exit(main())
