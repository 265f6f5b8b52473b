from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from tornado_sse import ReceivedEvent, encode, get_serializer
from tornado_sse.cli.printer import LinePrinter, PrettyPrinter, RawPrinter
from tornado_sse.gap import gap_event
from tornado_sse.received import ReceivedEventParser


def event(data: str = "", type: str = "message", id: str = "", codec: str | None = None) -> ReceivedEvent:
    lines = [f"event: {type}", f"id: {id}", *(f"data: {line}" for line in data.split("\n"))]
    lines += [f"codec: {codec}"] if codec else []
    (found,) = ReceivedEventParser().feed("\n".join([*lines, "", ""]).encode())
    assert isinstance(found, ReceivedEvent)
    return found


def written(payload: object, serializer: str) -> ReceivedEvent:
    it = get_serializer(serializer)
    return event(encode(it, payload), codec=it.codec)


def line(it: ReceivedEvent, source: str = "", *, terminal: bool = False) -> Any:
    out = io.BytesIO()
    LinePrinter(out, terminal=terminal).event(it, source)
    text = out.getvalue().decode()
    assert text.endswith("\n")
    assert not terminal or text[:-1].isprintable()
    return json.loads(text)


def test_an_event_is_a_line_of_json() -> None:
    assert line(event("two\nlines", "greet", "7")) == {"type": "greet", "id": "7", "data": "two\nlines"}
    assert line(event("1"), "http://a/") == {"url": "http://a/", "type": "message", "data": "1"}
    for serializer in ("json", "msgpack"):
        found = line(written({"a": [1, None, "\x1b\u202e"]}, serializer), terminal=True)
        assert found == {"type": "message", "codec": serializer, "payload": {"a": [1, None, "\x1b\u202e"]}}
    assert line(written(b"\xff\x00", "binary"))["payload"] == "/wA="
    assert line(written(None, "json"))["payload"] is None


def test_what_can_not_be_decoded_is_data() -> None:
    found = line(event("{", codec="json"))
    assert (found["data"], found["codec"]) == ("{", "json")
    assert "can't read" in found["problem"]
    assert "no serializer is called" in line(event("x", codec="nobody"))["problem"]


def test_raw_bytes_are_left_alone_but_on_a_terminal() -> None:
    for terminal, expected in ((False, b"data: \x1b[31m\xff\r\n"), (True, b"data: \\x1b[31m\\xff\\r\n")):
        out = io.BytesIO()
        it = RawPrinter(out, terminal=terminal)
        it.data(b"data: \x1b[31m\xff\r\n")
        it.event(event("1"), "")
        assert out.getvalue() == expected


def test_what_happens_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    it = LinePrinter(io.BytesIO(), terminal=False)
    it.state("open", "")
    it.state("broken\x1b", "")
    assert capsys.readouterr().err == "tornado-sse: broken\\x1b\n"


def pretty(*events: ReceivedEvent, full: bool = False) -> str:
    console = Console(file=io.StringIO(), width=100, markup=False, highlight=False, emoji=False)
    it = PrettyPrinter(console, full=full)
    for each in events:
        it.event(each, "")
    it.close()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_people_see_what_was_written() -> None:
    shown = pretty(event("two\nlines [red] :smile:", "a\x1b[2Jb", "i\x9b"), written({"a": "\x1b"}, "msgpack"))
    assert "a\\x1b[2Jb  i\\x9b  two\n          lines [red] :smile:\n" in shown
    assert 'message  {"a":"\\u001b"}' in shown
    assert "30 bytes ff ff" in pretty(written(b"\xff" * 30, "binary"))
    assert "{  (the json serializer can't read" in pretty(event("{", codec="json"))
    gap = gap_event("news", "expired", "e", None, 7)
    assert "events of news may be missing, from the beginning to e-7 (expired)" in pretty(
        event(gap.data, "gap", codec="json")
    )


def test_what_is_long_is_cut_unless_all_is_asked_for() -> None:
    assert "… 5,000 characters, of which --full shows all" in pretty(event("x" * 5000))
    assert "x" * 5000 in pretty(event("x" * 5000), full=True)
