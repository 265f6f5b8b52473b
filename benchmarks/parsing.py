"""Nanoseconds per event, bytes to events, without a socket: ours, and others' as their users call them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter
from types import SimpleNamespace
from typing import Any, Final

from benchmarks.shapes import EVENTS
from benchmarks.table import Cell, print_note, print_table
from tornado_sse import EventParser, encode_event

__all__ = ["measure"]

#: A piece as it comes from a socket.
_PIECE: Final = 64 * 1024

#: What runs others' parsers for Node, and the package that it runs.
_SCRIPT: Final = Path(__file__).with_suffix(".mjs")
_PACKAGE: Final = "eventsource-parser"

#: How many events are found in some pieces, of which it is told how many there are.
Parse = Callable[[list[bytes], int], int]

#: The same, and the seconds that it takes.
Timed = Callable[[list[bytes], int], tuple[int, float]]


def measure(rounds: int, size: int, node_modules: Path) -> None:
    """Measure and print; each stream has about so many bytes.

    :arg node_modules: where packages for Node are installed.
    """
    parsers: dict[str, Timed] = {"tornado-sse": _timed(_ours)}
    for name, (module, parse) in _OTHERS.items():
        if find_spec(module) is not None:
            parsers[name] = _timed(parse)
    if not shutil.which("node") or not (node_modules / _PACKAGE).is_dir():
        print(f"without {_PACKAGE} (Node): npm install {_PACKAGE}, and --node-modules (now {node_modules})")
        _measure(rounds, size, parsers)
        return
    with _node(node_modules) as timed:
        _measure(rounds, size, {**parsers, f"{_PACKAGE} (Node)": timed})


def _measure(rounds: int, size: int, parsers: dict[str, Timed]) -> None:
    rows: list[list[Cell]] = []
    for name, event in EVENTS.items():
        frame = encode_event(event)
        count = max(1, size // len(frame))
        stream = frame * count
        pieces = [stream[i : i + _PIECE] for i in range(0, len(stream), _PIECE)]
        times: dict[str, list[float]] = {each: [] for each in parsers}
        for _ in range(rounds):
            for each, parse in parsers.items():
                found, seconds = parse(pieces, count)
                times[each].append(seconds / count)
                if found != count:
                    raise RuntimeError(f"{each} found {found} of {count} events: {name}")
        nanoseconds = [round(median(each) * 1e9) for each in times.values()]
        rows.append([name, *nanoseconds, round(len(frame) / nanoseconds[0] * 1e3)])
    columns = ("event", *parsers, "tornado-sse, MB/s")
    print_table(f"Parser: nanoseconds per event (median; rounds: {rounds})", columns, rows)
    if missing := {*_OTHERS} - {*parsers}:
        print_note(f"Not installed: {', '.join(sorted(missing))}. The extra `bench` has them.")


def _timed(parse: Parse) -> Timed:
    def timed(pieces: list[bytes], count: int) -> tuple[int, float]:
        begun = perf_counter()
        found = parse(pieces, count)
        return found, perf_counter() - begun

    return timed


@contextlib.contextmanager
def _node(node_modules: Path) -> Iterator[Timed]:
    """Run Node. It has its own clock: how the pieces get there does not count."""
    command: list[str | Path] = ["node", _SCRIPT, node_modules.resolve()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        pipes = process.stdin, process.stdout

        def timed(pieces: list[bytes], count: int) -> tuple[int, float]:
            to, back = pipes
            assert to is not None
            assert back is not None
            print(json.dumps([b64encode(piece).decode() for piece in pieces]), file=to, flush=True)
            found, seconds = json.loads(back.readline())
            return found, seconds

        yield timed


def _ours(pieces: list[bytes], count: int) -> int:
    parser = EventParser()
    return sum(len(parser.feed(piece)) for piece in pieces)


def _httpx_sse(pieces: list[bytes], count: int) -> int:
    import httpx
    from httpx_sse import EventSource

    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=iter(pieces))
    return sum(1 for _ in EventSource(response).iter_sse())


def _sseclient(pieces: list[bytes], count: int) -> int:
    from sseclient import SSEClient

    source: Iterator[Any] = SSEClient(iter(pieces)).events()
    return sum(1 for _ in source)


def _aiohttp(pieces: list[bytes], count: int) -> int:
    from aiohttp.base_protocol import BaseProtocol
    from aiohttp.streams import StreamReader
    from aiohttp_sse_client2.client import EventSource

    async def read() -> int:
        loop = asyncio.get_running_loop()
        reader = StreamReader(BaseProtocol(loop), 2**30, loop=loop)
        for piece in pieces:
            reader.feed_data(piece)
        source = EventSource("http://127.0.0.1/", session=object())
        source._response = SimpleNamespace(status=200, content=reader)
        for _ in range(count):  # it would connect again at the end
            await anext(source)
        return count

    return asyncio.run(read())


_OTHERS: Final[dict[str, tuple[str, Parse]]] = {
    "httpx-sse": ("httpx_sse", _httpx_sse),
    "aiohttp-sse-client2": ("aiohttp_sse_client2", _aiohttp),
    "sseclient-py": ("sseclient", _sseclient),
}
