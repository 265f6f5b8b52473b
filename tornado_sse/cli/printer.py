"""Events on stdout: for people, for programs, or byte for byte.

Each printer is told of events, of bytes, and of what happens to the connections.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from typing import Any, BinaryIO, Final, Protocol

from rich.console import Console, Group
from rich.highlighter import JSONHighlighter
from rich.live import Live
from rich.text import Text

from tornado_sse.cli.visible import visible, visible_bytes, visible_json
from tornado_sse.errors import SSEError
from tornado_sse.received import ReceivedEvent
from tornado_sse.serializers import encode, get_serializer

__all__ = ["LinePrinter", "PrettyPrinter", "Printer", "RawPrinter"]

# How many characters of a payload are shown, unless all of them are asked for; of bytes, how many bytes.
_LONGEST: Final = 2000
_LONGEST_BYTES: Final = 24

# The rate is that of so many seconds.
_WINDOW: Final = 5.0

# The types of events, told apart by colour.
_COLOURS: Final = ("cyan", "green", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta")


class Printer(Protocol):
    """Where events go."""

    def event(self, event: ReceivedEvent, source: str) -> None:
        """Print an event. ``source`` tells from where, if there are several; else it is empty."""

    def data(self, data: bytes) -> None:
        """Take note of a stream's bytes."""

    def state(self, words: str, source: str) -> None:
        """Take note of what has become of a connection."""

    def tick(self) -> None:
        """Bring up to date what is shown; called some times a second."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class _Plain:
    """What printers have in common that are for programs: no more than is asked for."""

    def __init__(self, out: BinaryIO, *, terminal: bool) -> None:
        self._out = out
        self._terminal = terminal

    def data(self, data: bytes) -> None:
        """Ignore it."""

    def state(self, words: str, source: str) -> None:
        """Say it on stderr, unless it is what was to be expected."""
        if words != "open":
            print(f"tornado-sse: {visible(words)}", file=sys.stderr, flush=True)

    def tick(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._out.flush()


class LinePrinter(_Plain):
    """Events as newline-delimited JSON.

    An object for each: ``type``, ``id`` if there is one, then ``payload`` if the event names a codec that can
    be decoded, or else ``data``. ``codec`` says how it was written, ``problem`` why it could not be decoded.
    """

    def event(self, event: ReceivedEvent, source: str) -> None:
        """Print an event."""
        line: dict[str, Any] = {"url": source} if source else {}
        line["type"] = event.type
        if event.id:
            line["id"] = event.id
        try:
            payload = "" if event.codec is None else _as_json(event.payload)
        except SSEError as error:
            payload = ""
            line["problem"] = str(error)
        if event.codec is not None:
            line["codec"] = event.codec
        if not payload:
            line["data"] = event.data
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        if payload:
            text = f'{text[:-1]},"payload":{payload}}}'
        self._write((visible_json(text) if self._terminal else text).encode() + b"\n")


class RawPrinter(_Plain):
    """The bytes of a stream, as they come. On a terminal, without those that it would obey."""

    def event(self, event: ReceivedEvent, source: str) -> None:
        """Ignore it: its bytes have been printed."""

    def data(self, data: bytes) -> None:
        """Print them."""
        self._write(visible_bytes(data).encode() if self._terminal else data)


class PrettyPrinter:
    """Events for people: decoded, in colours, with a line at the bottom that tells how many there are.

    :arg bool full: show payloads whole, however long they are.
    """

    def __init__(self, console: Console, *, full: bool = False) -> None:
        self._console = console
        self._full = full
        self._highlight = JSONHighlighter()
        self._colours: dict[str, str] = {}
        self._count = self._size = 0
        self._recent: deque[tuple[float, int]] = deque()  # when, and bytes; 0 of them for an event
        self._states: dict[str, str] = {}
        self._live = Live(console=console, auto_refresh=False, transient=True, get_renderable=self._footer)
        if console.is_terminal:
            self._live.start()

    def event(self, event: ReceivedEvent, source: str) -> None:
        """Print an event."""
        self._count += 1
        self._recent.append((time.monotonic(), 0))
        type = event.type or ""
        colour = self._colours.setdefault(type, _COLOURS[len(self._colours) % len(_COLOURS)])
        line = Text()
        line.append(time.strftime("%H:%M:%S"), "dim")
        if source:
            line.append(f"  {visible(source)}", "dim")
        line.append(f"  {visible(type)[:40]}", f"bold {colour}")
        if event.id:
            line.append(f"  {visible(event.id)[:60]}", "dim")
        self._console.print(line + Text("  ") + self._payload(event), soft_wrap=True)

    def _payload(self, event: ReceivedEvent) -> Text:
        if (gap := event.gap) is not None:
            after = "the beginning" if gap.after is None else gap.after
            words = f"events of {gap.channel} may be missing, from {after} to {gap.until} ({gap.reason})"
            return Text(visible(words), "bold yellow")
        if event.codec is None:
            return Text(self._cut(visible(event.data, keep="\n").replace("\n", "\n          ")))
        try:
            payload = event.payload
            if isinstance(payload, bytes):
                return _hex(payload)
            text = Text(self._cut(visible_json(_as_json(payload))))
        except SSEError as error:
            shown = Text(self._cut(visible(event.data)))
            return shown + Text(f"  ({visible(str(error))})", "red")
        self._highlight.highlight(text)
        return text

    def _cut(self, text: str) -> str:
        if self._full or len(text) <= _LONGEST:
            return text
        return f"{text[:_LONGEST]} … {len(text):,} characters, of which --full shows all"

    def data(self, data: bytes) -> None:
        """Count them."""
        self._size += len(data)
        self._recent.append((time.monotonic(), len(data)))

    def state(self, words: str, source: str) -> None:
        """Show it; if it is no good news, keep it."""
        self._states[source] = visible(words)
        if words != "open":
            self._console.print(Text(f"{source and source + ': '}{visible(words)}", "yellow"), soft_wrap=True)
        self.tick()

    def tick(self) -> None:
        """Bring the last line up to date."""
        if self._live.is_started:
            self._live.refresh()

    def _footer(self) -> Group:
        now = time.monotonic()
        while self._recent and self._recent[0][0] < now - _WINDOW:
            self._recent.popleft()
        sizes = [size for _, size in self._recent]
        is_open = any(words == "open" for words in self._states.values())
        line = Text("● open" if is_open else "○ connecting", "green" if is_open else "yellow")
        line.append(
            f"   {self._count:,} event{'s' * (self._count != 1)}   {sizes.count(0) / _WINDOW:.1f}/s"
            f"   {_bytes(sum(sizes) / _WINDOW)}/s   {_bytes(self._size)}",
            "dim",
        )
        return Group(line)

    def close(self) -> None:
        """Take the last line away."""
        self._live.stop()


def _as_json(payload: Any) -> str:
    """Return a payload as JSON; bytes as base64."""
    return encode(get_serializer("json"), payload)


def _hex(data: bytes) -> Text:
    text = Text(f"{len(data):,} bytes ", "italic")
    text.append(data[:_LONGEST_BYTES].hex(" "), "dim")
    return text.append(" …", "dim") if len(data) > _LONGEST_BYTES else text


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
