"""A process that appends to an SQLite log until it is ended, and prints what has been acknowledged.

Run as ``python -m tests.publisher <path> <channel> <count> <publishers>``. It says "ready" first and begins
when it gets a line; a line for each event says its position and its data.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from tornado_sse.backends import SQLiteBackend
from tornado_sse.log import Retention
from tornado_sse.record import Draft, Record


class Ear:
    def on_records(self, records: Sequence[Record], position: int) -> None: ...

    def on_gap(self, channel: str) -> None: ...

    def on_epoch(self) -> None: ...


async def main(path: str, channel: str, count: int, publishers: int) -> None:
    backend = SQLiteBackend(path, lambda channel: Retention(None, None, None, None))
    backend.start(Ear())
    await backend.sync()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

    async def publish(number: int) -> None:
        for i in range(count):
            data = f"{number}.{i}"
            future = backend.append(Draft(channel, b"data: %b\n\n" % data.encode()))
            print(await future, data, flush=True)

    await asyncio.gather(*(publish(number) for number in range(publishers)))
    await backend.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
