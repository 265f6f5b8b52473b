"""The log of this program, published line by line."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from tornado_sse import Broker, BrokerClosedError

__all__ = ["LOG", "LogPublisher"]

#: The channel where it is published.
LOG = "log"


class LogPublisher(logging.Handler):
    """A logging handler for the program of the running event loop; other threads may log too.

    A record is one text, with its newlines: a traceback stays in one piece.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s %(message)s", "%H:%M:%S"))
        self._broker = broker
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record published in the loop's next turn."""
        # What is logged may hold lone surrogates (a file's name, say), which are not UTF-8.
        text = self.format(record).encode("utf-8", "replace").decode()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._publish, text)

    def _publish(self, text: str) -> None:
        with contextlib.suppress(BrokerClosedError):
            self._broker.publish(LOG, text, event="log", serializer="text")
