"""What the servers here have in common: how they are told what to do, and the events they publish.

A server is a program of its own. Its first argument is its port on 127.0.0.1, or 0 for any. It begins with a
line of JSON on standard output: ``port``, ``pid`` (whose CPU time and memory are measured), ``version``. Then
it does what it reads on standard input, a command a line, and answers each with a line of JSON when it is
done. The end of the input ends it.

==================  =======================================================================
publish COUNT MANY  so many events, the event loop has a turn after each, and after so many of
                    them a pause; the answer says how long these were: ``paused``, in seconds
burst COUNT         so many events in one turn
pace RATE SECONDS   so many events a second
collect             free what is garbage
==================  =======================================================================

Only the standard library is imported, for these programs run in the environments of what they compare.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

__all__ = ["CHANNEL", "PATH", "Publisher", "compose", "follow", "listen", "obey", "pause"]

#: Where the stream is that everybody reads.
CHANNEL: Final = "news"
PATH: Final = f"/events/{CHANNEL}"

# The one that opens connections has a hundred under way. More than that must fit, or the kernel drops some
# and tries them again a second later.
_BACKLOG: Final = 1024

# In seconds. Whatever happens, nothing is left running.
_LIFETIME: Final = 900

_SIZE: Final = 100

# In seconds.
_PAUSE: Final = 0.005


def compose(number: int) -> str:
    """Return an event's data, 100 bytes: when it was published, and its number. The client reads both."""
    return f"@{time.monotonic_ns():020d}#{number:010d}".ljust(_SIZE, ".")


def listen() -> socket.socket:
    """Listen on the port that the command line names."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    return socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)


async def pause() -> float:
    """Let the readers come up; return how many seconds that took.

    On a loopback a reader that lags behind makes sending cheaper: the kernel need not wake it, and puts
    what is sent together. Who sends fast would then be rewarded for a slow reader.
    """
    start = time.perf_counter()
    await asyncio.sleep(_PAUSE)
    return time.perf_counter() - start


class Publisher:
    """Publishes as it is told.

    :arg publish: publishes one event to `CHANNEL`. If it returns an awaitable, then of the last of several
        events: it is awaited before the answer.
    """

    def __init__(self, publish: Callable[[str], Any]) -> None:
        self._publish = publish
        self.commands: dict[str, Callable[..., Awaitable[dict[str, object] | None]]] = {
            "publish": self._publish_in_turns,
            "burst": self._publish_in_one_turn,
            "pace": self._publish_at_a_rate,
            "collect": self._collect,
        }

    async def _publish_in_turns(self, count: str, many: str) -> dict[str, object]:
        published = None
        paused = 0.0
        for number in range(int(count)):
            published = self._publish(compose(number))
            await asyncio.sleep(0)
            if number % int(many) == int(many) - 1:
                paused += await pause()
        await _settled(published)
        return {"paused": paused}

    async def _publish_in_one_turn(self, count: str) -> None:
        published = None
        for number in range(int(count)):
            published = self._publish(compose(number))
        await _settled(published)

    async def _publish_at_a_rate(self, rate: str, seconds: str) -> None:
        published = None
        start = time.monotonic()
        for number in range(round(float(rate) * float(seconds))):
            await asyncio.sleep(max(0, start + number / float(rate) - time.monotonic()))
            published = self._publish(compose(number))
        await _settled(published)

    async def _collect(self) -> None:
        gc.collect()


async def obey(listener: socket.socket, publisher: Publisher, version: str) -> None:
    """Introduce this process and do what it is told, until it is told no more."""
    await follow(publisher, port=listener.getsockname()[1], pid=os.getpid(), version=version)
    os._exit(0)  # thousands of streams may be open, and none needs a farewell


async def follow(publisher: Publisher, **introduction: object) -> None:
    """Do what is told, until the input ends; what is measured may be another process."""
    signal.alarm(_LIFETIME)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    _say(**introduction)
    while line := await reader.readline():
        name, *arguments = line.decode().split()
        answer = await publisher.commands[name](*arguments)
        _say(done=True, **(answer or {}))


def _say(**answer: object) -> None:
    print(json.dumps(answer), flush=True)


async def _settled(published: Any) -> None:
    if published is not None:
        await published
