"""``tornado-sse tail``: the events of servers, as they come."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from tornado_sse.cli.asked import headers_of, request_options
from tornado_sse.cli.printer import LinePrinter, PrettyPrinter, Printer, RawPrinter
from tornado_sse.cli.visible import visible
from tornado_sse.client import EventSource
from tornado_sse.errors import ConnectionFailedError, EventSourceError, EventTooLargeError, ResponseError

__all__ = ["tail"]

# Exit codes, besides those of every command.
_REFUSED: Final = 1
_NO_CONNECTION: Final = 3
_TOO_FEW: Final = 4
_TERMINATED: Final = 128 + signal.SIGTERM

# Answers of a server, or of a proxy before it, that is about to be there again.
_PASSING: Final = frozenset({429, 502, 503, 504})

# How often the last line of the terminal is brought up to date, in seconds.
_TICK: Final = 0.25


class _EnoughError(Exception):
    """There have been as many events as were asked for."""


class _Source(EventSource):
    """Tells a printer of what happens, and gives up at once if there was never a stream."""

    def __init__(self, url: str, printer: Printer, label: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.label = label
        self.has_opened = False
        self._printer = printer

    def on_open(self) -> None:
        self.has_opened = True
        self._printer.state("open", self.label)

    def on_error(self, error: EventSourceError, delay: float) -> None:
        if not self.has_opened:
            raise error
        self._printer.state(f"{error}; again in {delay:.1f} s", self.label)

    def gives_up(self, error: ResponseError) -> bool:
        return not self.has_opened or error.status not in _PASSING

    def on_data(self, data: bytes) -> None:
        self._printer.data(data)


@click.command()
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option("--event", "types", multiple=True, metavar="TYPE", help="Only these. May be repeated.")
@click.option("--last-event-id", metavar="ID", help="Resume after this event.")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="End after so many seconds.")
@click.option("--raw", is_flag=True, help="The bytes as they come, decompressed.")
@click.option("--ndjson", is_flag=True, help="Lines of JSON, also on a terminal.")
@click.option("--full", is_flag=True, help="Show long payloads whole, on a terminal.")
@click.option("--data", metavar="BODY", help="POST this; @FILE is a file's contents, @- stdin's.")
@click.option("--method", help="Instead of GET, or of POST with --data.")
@click.option(
    "--reconnect/--no-reconnect", default=None, help="After a response has ended; by default for GET."
)
@request_options
@click.pass_context
def tail(context: click.Context, /, urls: tuple[str, ...], **given: Any) -> None:
    """Print the events of each URL as they come, decoded.

    \b
    tornado-sse tail http://127.0.0.1:8000/channels/news
    tornado-sse tail http://127.0.0.1:8000/channels/prices --count 3 | jq .payload
    tornado-sse tail http://127.0.0.1:8000/answers --data '{"question": "why"}'

    In a terminal events are for people. Otherwise each is a line of JSON: type, id, and payload if the event
    says how to decode it, or else data; with several URLs also url. --raw is neither. A lost connection is
    made anew and resumed, which stderr tells.

    The exit code is:

    \b
    0 when the server has said that this is all, --count has been reached,
    or --timeout has passed and there was no --count
    1 if it answers with something else than an event stream
    2 if the command line makes no sense
    3 if there was no connection
    4 if there were fewer events than --count
    130 after Ctrl-C

    Anybody on this machine can read the command line of a process: give the token by the environment. It
    is sent to each URL.
    """
    if given["raw"] and (given["ndjson"] or given["types"] or len(urls) > 1):
        raise click.UsageError("--raw is all that one URL sends, as it is")
    if given["last_event_id"] and len(urls) > 1:
        raise click.UsageError("--last-event-id is of one URL")
    headers = headers_of(given["headers"], given["token"])
    body = _body(given["data"])
    if body is not None:
        headers = {"Content-Type": _type_of(body), **{name.title(): headers[name] for name in headers}}
    printer = _printer(given)
    labels = [url.partition("?")[0] if len(urls) > 1 else "" for url in urls]
    sources = [
        (url, label, {
            "headers": headers,
            "body": body,
            "method": (given["method"] or ("GET" if body is None else "POST")).upper(),
            "last_event_id": given["last_event_id"],
            "reconnect": given["reconnect"],
        })
        for url, label in zip(urls, labels, strict=True)
    ]  # fmt: skip
    try:
        code = asyncio.run(_Tail(printer, given).run(sources))
    except asyncio.CancelledError:
        code = _TERMINATED
    finally:
        printer.close()
    context.exit(code)


class _Tail:
    def __init__(self, printer: Printer, given: dict[str, Any]) -> None:
        self._printer = printer
        self._types = frozenset(given["types"])
        self._count = given["count"]
        self._timeout = given["timeout"]
        self._left = self._count or 0
        self._sources: list[_Source] = []

    async def run(self, sources: Sequence[tuple[str, str, dict[str, Any]]]) -> int:
        """Print until there is nothing more to print; return the exit code."""
        task = asyncio.current_task()
        assert task is not None
        # Otherwise the terminal would be left without its cursor.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        self._sources = [_Source(url, self._printer, label, **options) for url, label, options in sources]
        tasks = [asyncio.create_task(self._follow(source)) for source in self._sources]
        ticking = asyncio.create_task(self._tick())
        try:
            async with asyncio.timeout(self._timeout):
                codes = await asyncio.gather(*tasks)
        except _EnoughError:
            return 0
        except TimeoutError:
            if not any(source.has_opened for source in self._sources):
                self._complain(f"no stream within {self._timeout:g} seconds")
                return _NO_CONNECTION
            return _TOO_FEW if self._count else 0
        finally:
            for each in (*tasks, ticking):
                each.cancel()
            await asyncio.wait([*tasks, ticking])
        return max(codes) or (_TOO_FEW if self._count else 0)

    async def _follow(self, source: _Source) -> int:
        try:
            async for event in source:
                if self._types and event.type not in self._types:
                    continue
                self._printer.event(event, source.label)
                self._left -= 1
                if not self._left:
                    raise _EnoughError
        except (EventSourceError, EventTooLargeError) as error:
            self._complain(_reason(error))
            return _NO_CONNECTION if isinstance(error, ConnectionFailedError) else _REFUSED
        return 0

    async def _tick(self) -> None:
        while True:
            self._printer.tick()
            await asyncio.sleep(_TICK)

    def _complain(self, reason: str) -> None:
        self._printer.close()
        print(f"tornado-sse: {visible(' '.join(reason.split()))}", file=sys.stderr)


def _reason(error: Exception) -> str:
    body = error.body if isinstance(error, ResponseError) else ""
    # A page of HTML tells nothing in a line.
    return f"{error}: {body[:200]}" if body and not body.lstrip().startswith("<") else str(error)


def _printer(given: dict[str, Any]) -> Printer:
    terminal = sys.stdout.isatty()
    if given["raw"]:
        return RawPrinter(sys.stdout.buffer, terminal=terminal)
    if given["ndjson"] or not terminal:
        return LinePrinter(sys.stdout.buffer, terminal=terminal)
    console = Console(markup=False, highlight=False, emoji=False)
    return PrettyPrinter(console, full=given["full"])


def _body(data: str | None) -> bytes | None:
    if data is None or not data.startswith("@"):
        return None if data is None else os.fsencode(data)
    if data == "@-":
        return sys.stdin.buffer.read()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise click.ClickException(f"{data[1:]} can't be read: {error.strerror}") from error


def _type_of(body: bytes) -> str:
    try:
        json.loads(body)
    except ValueError:
        return "text/plain; charset=utf-8"
    return "application/json"
