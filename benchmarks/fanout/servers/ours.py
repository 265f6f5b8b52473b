"""tornado-sse: `SSEHandler` and `Broker`. After the port, the broker's URL may follow.

Commands of its own:

=========================  ================================================================
store COUNT                that many events, acknowledged in parcels
fill COUNT                 one event to each of so many channels
publishers MANY COUNT      so many at once publish that many together; each awaits every one
spread RATE EACH CHANNELS  so many events a second in all, so many to each of so many channels in turn
=========================  ================================================================
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable
from typing import Final

import tornado
from tornado.httpserver import HTTPServer
from tornado.web import Application

import tornado_sse
from benchmarks.fanout.server import CHANNEL, Publisher, compose, listen, obey
from tornado_sse import Broker, Retention, SSEHandler

# Enough for the longest backlog that is measured.
_RETENTION: Final = Retention(events=200_000, bytes=None, age=None)

_PARCEL: Final = 500


class _Events(SSEHandler):
    async def open(self, channel: str) -> None:
        await self.subscribe(channel)


class _Publisher(Publisher):
    def __init__(self, broker: Broker) -> None:
        super().__init__(lambda text: broker.publish(CHANNEL, text, serializer="text"))
        self._broker = broker
        self.commands |= {
            "store": self._store,
            "fill": self._fill,
            "publishers": self._publish_at_once,
            "spread": self._publish_to_many,
        }

    def _send(self, channel: str, number: int) -> Awaitable[str]:
        return self._broker.publish(channel, compose(number), serializer="text")

    async def _store(self, count: str) -> None:
        total = int(count)
        for first in range(0, total, _PARCEL):
            parcel = [self._send(CHANNEL, number) for number in range(first, min(first + _PARCEL, total))]
            await asyncio.gather(*parcel)

    async def _fill(self, count: str) -> None:
        total = int(count)
        for first in range(0, total, _PARCEL):
            await asyncio.gather(*(self._send(f"c{n}", 0) for n in range(first, min(first + _PARCEL, total))))

    async def _publish_at_once(self, many: str, count: str) -> dict[str, object]:
        async def publish(numbers: range) -> None:
            for number in numbers:
                await self._send(CHANNEL, number)

        start = time.perf_counter()
        await asyncio.gather(*(publish(range(first, int(count), int(many))) for first in range(int(many))))
        return {"seconds": time.perf_counter() - start}

    async def _publish_to_many(self, rate: str, each: str, channels: str) -> None:
        start = time.monotonic()
        published = []
        for number in range(int(each) * int(channels)):
            await asyncio.sleep(max(0, start + number / float(rate) - time.monotonic()))
            turn, channel = divmod(number, int(channels))
            published.append(self._send(f"c{channel}", turn))
        await asyncio.gather(*published)


async def main() -> None:
    """Serve until the input ends."""
    broker = Broker(sys.argv[2], retention=_RETENTION) if len(sys.argv) > 2 else Broker(retention=_RETENTION)
    listener = listen()
    listener.setblocking(False)
    HTTPServer(Application([(r"/events/([\w.]+)", _Events)], sse_broker=broker)).add_socket(listener)
    versions = f"tornado-sse {tornado_sse.__version__}, Tornado {tornado.version}"
    await obey(listener, _Publisher(broker), versions)


if __name__ == "__main__":
    asyncio.run(main())
