"""A child that serves the handlers to be compared, on a port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from benchmarks.handlers import IDLE, WRITING

__all__ = ["serve"]


def serve(pipe: Connection[Any, Any]) -> None:
    """Serve until the pipe ends. The port comes first; then each question is answered by the memory in use.

    What a handler reports goes through the pipe too.
    """
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(_serve(pipe))


async def _serve(pipe: Connection[Any, Any]) -> None:
    routes: list[Any] = [(f"/{path}", handler) for path, (handler, _) in WRITING.items()]
    routes += [(f"/{path}", handler) for path, handler in IDLE.items()]
    server = HTTPServer(Application(routes, report=pipe.send))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    pipe.send(sockets[0].getsockname()[1])

    def on_question() -> None:
        try:
            pipe.recv()
        except (EOFError, OSError):
            os._exit(0)  # thousands of streams may be open, and none needs a farewell
        gc.collect()
        pipe.send(_resident_memory())

    asyncio.get_running_loop().add_reader(pipe.fileno(), on_question)
    await asyncio.Event().wait()


def _resident_memory() -> int:
    """Return the bytes of this process that are in memory. What the kernel has for its sockets is not in."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import psutil
    except ImportError:
        sys.exit("memory can't be measured here without psutil: pip install 'tornado-sse[demo]'")
    return int(psutil.Process().memory_info().rss)
