"""Payloads and events by name, the same for whatever is measured."""

from __future__ import annotations

from typing import Any, Final

from tornado_sse import Event

__all__ = ["BYTES", "EVENTS", "RECORD", "TEXT"]

#: A reading, as dashboards send them.
RECORD: Final[dict[str, Any]] = {"symbol": "AAPL", "price": 187.25, "volume": 1200, "at": 1700000000.125}

#: 100 bytes of text.
TEXT: Final = "The quick brown fox jumps over the lazy dog. " * 2 + "0123456789"

#: 1 KB that is no text.
BYTES: Final = bytes(range(256)) * 4

_JSON = '{"symbol":"AAPL","price":187.25,"volume":1200,"at":1700000000.125}'

#: Events as the encoder gets them.
EVENTS: Final = {
    "small JSON": Event(_JSON),
    "100 bytes of text": Event(TEXT),
    "20 lines": Event("\n".join(["a line of a log file"] * 20)),
    "8 KB of text": Event("x" * 8192),
    "8 KB, not ASCII": Event("é" * 4096),
    "every field": Event(_JSON, "quote", "1700000000-42", 3000, "json"),
}
