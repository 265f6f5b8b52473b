"""The command as its user has it: a process, with a server beside it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving import ROOT, Command, lines
from tests.support import SECOND, reserved_address
from tornado_sse.cli import main

pytestmark = pytest.mark.gen_test

Start = Callable[..., Command]

SERVE = ("serve", "--host", "127.0.0.1", "--broker", "sqlite:///events.db")


def publish(
    *arguments: str, stdin: bytes | None = b"", cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tornado_sse", "publish", *arguments],
        input=stdin,
        capture_output=True,
        timeout=60 * SECOND,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


async def test_events_are_published_and_their_ids_are_printed(io_loop: object, command: Start) -> None:
    server = await command(*SERVE, "--port", "0", TORNADO_SSE_PUBLISH_TOKEN="one two").listening()
    it = await server.client.follow("/channels/a?channel=b")
    base = f"http://127.0.0.1:{server.client.port}"
    url = f"{base}/channels/a"
    token = {"TORNADO_SSE_TOKEN": "two"}

    done = publish(url, "two\nlines", "--event", "greet", "--key", "k", **token)
    event = await it.event()
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{event.id}\n", "")
    assert (event.type, event.data, event.codec) == ("greet", "two\nlines", None)

    assert publish(url, "x", "--id", "1", **token).stdout == publish(url, "x", "--id", "1", **token).stdout
    await it.event()
    done = publish(url, '{"a": 1}', "--json", "--quiet", **token)
    event = await it.event()
    assert (done.returncode, done.stdout, event.data, event.codec) == (0, "", '{"a":1}', "json")

    done = publish(url, stdin=b"one\n\nthree", **token)
    events = await it.events(3)
    assert [each.data for each in events] == ["one", "", "three"]
    assert done.stdout.split() == [each.id for each in events]

    body = lines([{"channel": "b", "data": [1], "event": "e"}, {"channel": "a", "data": None}])
    assert publish(f"{base}/publish", "--ndjson", stdin=body.encode(), **token).returncode == 0
    assert [(each.type, each.data) for each in await it.events(2)] == [("e", "[1]"), ("message", "null")]

    done = publish("a", "by the log", "--broker", "sqlite:///events.db", cwd=server.directory)
    event = await it.event()
    assert (done.returncode, done.stdout, event.data) == (0, f"{event.id}\n", "by the log")

    done = publish(url, "x")
    assert done.returncode == 1
    assert re.fullmatch(
        r"tornado-sse: 127.0.0.1:\d+ answers 401: a token is needed to publish\n", done.stderr
    )
    done = publish(url, "--json", stdin=b"1\n2\n}", **token)
    assert (done.returncode, len(done.stdout.split())) == (1, 2)
    assert done.stderr.startswith("tornado-sse: line 3: this is no JSON")
    done = publish(url, "--file", "first", "--file", "second", cwd=server.directory, **token)
    assert (done.returncode, done.stderr) == (
        1,
        "tornado-sse: first can't be read: No such file or directory\n",
    )


async def test_lines_are_published_as_they_come(io_loop: object, command: Start) -> None:
    server = await command(*SERVE, "--port", "0", "--allow-anonymous-publish").listening()
    it = await server.client.follow("/channels/a")
    source = command("publish", f"http://127.0.0.1:{server.client.port}/channels/a", "--quiet")
    assert source.process.stdin is not None
    for text in ("one", "two"):
        source.process.stdin.write(text.encode() + b"\n")
        source.process.stdin.flush()
        assert (await it.event()).data == text
    source.process.stdin.close()
    assert await source.ended() == 0


async def test_what_is_sent_while_the_server_is_killed_is_there_once(io_loop: object, command: Start) -> None:
    with reserved_address() as (_, port):
        serve = (*SERVE, "--port", str(port), "--allow-anonymous-publish")
        server = await command(*serve).listening()
        it = await server.client.follow("/channels/a")
        source = command("publish", f"http://127.0.0.1:{port}/channels/a", "--quiet")
        assert source.process.stdin is not None
        sent = [f"event {number}" for number in range(200)]
        for number, text in enumerate(sent):
            source.process.stdin.write(text.encode() + b"\n")
            source.process.stdin.flush()
            if number == 100:
                await it.events(50)
                server.process.kill()
                server.process.wait()
                server = await command(*serve).listening()
        source.process.stdin.close()
        assert await source.ended() == 0
        it = await server.client.get("/channels/a?start=earliest")
        assert [event.data for event in await it.events(len(sent))] == sent


async def test_who_gets_no_answer_is_told_so(io_loop: object) -> None:
    with reserved_address() as (host, port):
        done = publish(f"http://{host}:{port}/channels/a", "x", "--patience", "0.1")
    assert done.returncode == 3
    assert done.stderr.startswith(f"tornado-sse: {host}:{port} can't be reached: ")
    assert done.stderr.count("\n") == 1


async def test_an_interruption_ends_it_without_a_traceback(io_loop: object, command: Start) -> None:
    server = await command(*SERVE, "--port", "0", "--allow-anonymous-publish").listening()
    it = await server.client.follow("/channels/a")
    source = command("publish", f"http://127.0.0.1:{server.client.port}/channels/a")
    assert source.process.stdin is not None
    source.process.stdin.write(b"one\n")
    source.process.stdin.flush()
    await it.event()
    source.process.send_signal(signal.SIGINT)
    assert await source.ended() == 130
    assert not "".join(source.complaints).strip()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "Missing argument 'TARGET'"),
        (("news", "x"), "TARGET must be a URL"),
        (("http://a/b", "x"), "the URL must end with /channels/<name> or /publish"),
        (("http://a/channels/..", "x"), "a channel's name has"),
        (("http://a/publish", "x"), "/publish takes --ndjson"),
        (("http://a/publish", "x", "--ndjson"), "DATA is one event"),
        (("http://a/channels/a", "x", "--file", "y"), "DATA is one event"),
        (("http://a/channels/a", "--id", "1"), "--id is for one event"),
        (("http://a/channels/a", "--json", "--ndjson"), "--json and --ndjson"),
        (("http://a/channels/a", "x", "--token", "a\nb"), "a token has letters"),
        (("news", "x", "--broker", "memory://"), "memory:// is the memory of this process"),
        (("news", "x", "--broker", "nope://"), "no backend serves"),
        (("..", "x", "--broker", "sqlite:///a.db"), "a channel's name has"),
        (("http://a/channels/a", "x", "--patience", "1000"), "Invalid value for '--patience'"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_explained(
    arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tornado-sse: ")
    assert reason in line


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("x", "--event", "a\nb"), "must not contain CR"),
        (("{", "--json"), "this is no JSON"),
        (("\udcff",), "this is no UTF-8"),
        (("x", "--serializer", "nope"), "no serializer is called 'nope'"),
        (("--file", "/"), "/ can't be read: Is a directory"),
    ],
)
def test_an_event_that_makes_no_sense_is_not_sent(
    arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", "http://127.0.0.1:9/channels/a", *arguments]) == 1
    assert reason in capsys.readouterr().err
