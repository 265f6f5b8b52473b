"""``tornado-sse tail`` as its user has it: a process, into a pipe and on a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scripted import CHUNKED, NO_CONTENT, STREAM, Scripted, redirect, then_wait
from tests.serving import ROOT, Command
from tests.support import SECOND, reserved_address, until, within
from tornado_sse import ReceivedEvent
from tornado_sse.cli.tail import _Tail

pytestmark = pytest.mark.gen_test

Start = Callable[..., Command]

EVENTS = (
    STREAM
    + b"id: 1\nevent: greet\ndata: hello\n\n"
    + b'id: 2\ncodec: json\ndata: {"a":1}\n\n'
    + b"id: 3\nevent: greet\ndata: \x1b[31m\xc2\x9bred\n\n"
)


@pytest.mark.parametrize(
    ("options", "printed", "code"),
    [
        (["--count", "2"], [("greet", "1", "hello"), ("message", "2", {"a": 1})], 0),
        (["--count", "1", "--event", "message"], [("message", "2", {"a": 1})], 0),
        (["--timeout", "1", "--event", "nothing"], [], 0),
        (["--timeout", "1", "--count", "9", "--event", "message"], [("message", "2", {"a": 1})], 4),
    ],
)
async def test_events_are_lines_of_json_in_a_pipe(
    io_loop: object, command: Start, options: list[str], printed: list[Any], code: int
) -> None:
    async with Scripted(then_wait(EVENTS)).running() as server:
        it = command("tail", server.url, *options)
        assert await it.ended() == code
    found = [json.loads(line) for line in it.said]
    assert [(each["type"], each["id"], each.get("payload", each.get("data"))) for each in found] == printed
    assert it.complaints == []


async def test_events_come_at_once(io_loop: object, command: Start) -> None:
    async with Scripted(then_wait(EVENTS)).running() as server:
        it = command("tail", server.url)
        await until(lambda: len(it.said) == 3, 20 * SECOND)
        it.process.send_signal(signal.SIGINT)
        assert await it.ended() == 130
        assert not "".join(it.complaints).strip()


async def test_raw_is_every_byte(io_loop: object, command: Start) -> None:
    async with Scripted(EVENTS, NO_CONTENT).running() as server:
        it = command("tail", server.url, "--raw", "--no-reconnect")
        assert await it.ended() == 0
    assert it._out.read_bytes() == EVENTS.removeprefix(STREAM)


async def test_a_lost_connection_is_resumed_until_the_server_says_that_this_is_all(
    io_loop: object, command: Start
) -> None:
    first = CHUNKED + b"18\r\nretry: 1\nid: 7\ndata: 1\n\n\r\n"
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    async with Scripted(first, busy, STREAM + b"data: 2\n\n", NO_CONTENT).running() as server:
        it = command("tail", server.url, "--header", "X: y", TORNADO_SSE_TOKEN="secret")
        assert await it.ended() == 0
    assert [json.loads(line)["data"] for line in it.said] == ["1", "2"]
    assert [asked.headers.get("Last-Event-Id") for asked in server.asked] == [None, "7", "7", "7"]
    assert {(asked.headers["X"], asked.headers["Authorization"]) for asked in server.asked} == {
        ("y", "Bearer secret")
    }
    assert len(it.complaints) == 3
    assert all(re.search(r"; again in [\d.]+ s$", line) for line in it.complaints)
    assert "secret" not in "".join(it.complaints)


async def test_what_is_asked_by_post(io_loop: object, command: Start, tmp_path: Path) -> None:
    (tmp_path / "question").write_text('{"q": 1}')
    async with Scripted(EVENTS).running() as server:
        assert await command("tail", server.url, "--data", "@question").ended() == 0
        assert (
            await command("tail", server.url, "--data", "why", "--header", "content-type: a/b").ended() == 0
        )
        assert await command("tail", server.url, "--last-event-id", "é", "--count", "1").ended() == 0
    json_, text, resumed = server.asked
    assert (json_.method, json_.body, json_.headers["Content-Type"]) == (
        "POST",
        b'{"q": 1}',
        "application/json",
    )
    assert (text.body, text.headers["Content-Type"]) == (b"why", "a/b")
    assert resumed.headers["Last-Event-Id"].encode("latin-1").decode() == "é"


async def test_several_are_told_apart(io_loop: object, command: Start) -> None:
    async with (
        Scripted(then_wait(EVENTS)).running() as one,
        Scripted(b"HTTP/1.1 404 No\r\n\r\n").running() as other,
    ):
        it = command("tail", one.url, f"{other.url}x?token=secret", "--timeout", "2", "--count", "3")
        assert await it.ended() == 0
    assert {json.loads(line)["url"] for line in it.said} == {one.url}


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (b"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\n\x1b[31m", 1, r"answered 404 No: \x1b[31m"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n<html>", 1, "is of type 'a/b'"),
        (redirect("ftp://a/"), 1, "redirects to 'ftp://a/'"),
        (STREAM + b"data: 1\n\n", 4, ""),
    ],
)  # fmt: skip
async def test_what_goes_wrong_is_a_line_and_an_exit_code(
    io_loop: object, command: Start, answer: bytes, code: int, reason: str
) -> None:
    async with Scripted(answer).running() as server:
        it = command("tail", server.url, "--count", "2", "--no-reconnect")
        assert await it.ended() == code
    assert len(it.complaints) == bool(reason)
    assert reason in "".join(it.complaints)


async def test_no_connection_has_an_exit_code_of_its_own(io_loop: object, command: Start) -> None:
    with reserved_address() as (host, port):
        it = command("tail", f"http://{host}:{port}/x?secret=1")
        assert await it.ended() == 3
    assert it.complaints == [f"tornado-sse: http://{host}:{port}/x: no connection: Connection refused"]
    async with Scripted(then_wait(b"")).running() as server:
        it = command("tail", server.url, "--timeout", "1")
        assert await it.ended() == 3
    assert it.complaints == ["tornado-sse: no stream within 1 seconds"]


def test_a_reader_that_goes_is_no_error_to_talk_of(io_loop: Any) -> None:
    async def run() -> subprocess.CompletedProcess[bytes]:
        async with Scripted(then_wait(STREAM + b"data: 1\n\n" * 100_000)).running() as server:
            program = f"{sys.executable} -m tornado_sse tail {server.url} | head -n 1"
            return await asyncio.to_thread(
                subprocess.run, ["sh", "-c", program], capture_output=True, cwd=ROOT, timeout=60
            )

    done = io_loop.asyncio_loop.run_until_complete(run())
    assert (done.stdout, done.stderr) == (b'{"type":"message","data":"1"}\n', b"")


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self._descriptor = pty.fork()
        if not self.pid:
            os.environ.update(TERM="xterm-256color", COLUMNS="100", LINES="30", PYTHONPATH=str(ROOT))
            os.environ.pop("NO_COLOR", None)
            os.execv(sys.executable, [sys.executable, "-m", "tornado_sse", *arguments])
        os.set_blocking(self._descriptor, False)
        self.shown = b""

    def read(self) -> bytes:
        try:
            while data := os.read(self._descriptor, 65536):
                self.shown += data
        except OSError:
            pass
        return self.shown

    def type(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    async def ended(self) -> int:
        """Return the exit code."""
        status: list[int] = []

        def ask() -> bool:
            self.read()
            pid, code = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                status.append(os.waitstatus_to_exitcode(code))
            return bool(pid)

        await until(ask, 20 * SECOND)
        os.close(self._descriptor)
        return status[0]


@pytest.mark.parametrize("end", [b"\x03", signal.SIGTERM])
async def test_on_a_terminal_events_are_for_people(io_loop: object, end: bytes | signal.Signals) -> None:
    async with Scripted(then_wait(EVENTS)).running() as server:
        it = Terminal("tail", server.url)
        await until(lambda: b"3 events" in it.read(), 20 * SECOND)
        if isinstance(end, bytes):
            it.type(end)
            assert await it.ended() == 130
        else:
            os.kill(it.pid, end)
            assert await it.ended() == 143
    shown = it.shown.decode()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is back"
    assert "Traceback" not in shown
    plain = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", shown)
    assert "greet  1  hello" in plain
    assert r"greet  3  \x1b[31m\x9bred" in plain
    assert 'message  2  {"a":1}' in plain
    assert re.search(r"● open   3 events   \d", plain)
    assert "\x9b" not in shown
    assert "\x1b[31m\x9b" not in shown


async def test_on_a_terminal_raw_bytes_and_json_obey_nobody(io_loop: object) -> None:
    async with Scripted(then_wait(EVENTS)).running() as server:
        for option, expected in (("--raw", r"\x1b[31m\x9bred"), ("--ndjson", r"\u001b[31m\u009bred")):
            it = Terminal("tail", server.url, option, "--timeout", "2")
            assert await it.ended() == 0
            assert expected in it.shown.decode()
            assert b"\x1b" not in it.shown


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["http://a/", "--header", "x"],
        ["http://a/", "--token", "a b"],
        ["http://a/", "--count", "0"],
        ["http://a/", "--raw", "--event", "x"],
        ["http://a/", "http://b/", "--raw"],
        ["http://a/", "http://b/", "--last-event-id", "1"],
        ["http://a/", "--method", "HEAD"],
        ["http://a/", "--data", "x", "--method", "GET"],
        ["http://a/", "--header", "Content-Length: 1"],
    ],
)
async def test_a_command_line_that_makes_no_sense_is_explained(
    io_loop: object, command: Start, arguments: list[str]
) -> None:
    it = command("tail", *arguments)
    assert await it.ended() == 2
    (line,) = it.complaints
    assert line.startswith("tornado-sse: ")


async def test_a_file_that_is_not_there_is_told(io_loop: object, command: Start) -> None:
    it = command("tail", "http://a/", "--data", "@/no/such")
    assert await it.ended() == 1
    assert it.complaints == ["tornado-sse: /no/such can't be read: No such file or directory"]


class Noted:
    """A printer that notes what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def event(self, event: ReceivedEvent, source: str) -> None:
        self.notes.append(event.data)

    def data(self, data: bytes) -> None:
        self.notes.append(f"{len(data)} bytes")

    def state(self, words: str, source: str) -> None:
        self.notes.append(words)

    def tick(self) -> None:
        pass

    close = tick


@pytest.mark.parametrize(
    ("answer", "given", "code", "notes"),
    [
        (then_wait(EVENTS), {"count": 1}, 0, ["open", f"{len(EVENTS) - len(STREAM)} bytes", "hello"]),
        (then_wait(EVENTS), {"types": ["greet"], "count": 3, "timeout": 0.5}, 4, ["\x1b[31m\x9bred"]),
        (then_wait(b""), {"timeout": 0.2}, 3, []),
        (NO_CONTENT, {}, 0, []),
        (NO_CONTENT, {"count": 1}, 4, []),
        (b"HTTP/1.1 500 No\r\n\r\n<html>", {}, 1, []),
        (b"", {}, 3, []),
    ],
)
async def test_exit_codes(
    io_loop: object,
    capsys: pytest.CaptureFixture[str],
    answer: bytes,
    given: dict[str, Any],
    code: int,
    notes: list[str],
) -> None:
    printer = Noted()
    async with Scripted(answer).running() as server:
        it = _Tail(printer, {"types": [], "count": None, "timeout": None, **given})
        assert await within(it.run([(server.url, "", {})])) == code
    assert printer.notes[-len(notes) :] == notes if notes else not printer.notes
    assert "<html>" not in capsys.readouterr().err
