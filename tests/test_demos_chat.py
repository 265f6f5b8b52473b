"""The chat's server, from outside: what it takes, what it refuses, and what it still has after its end."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import urllib.parse
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.program import PATIENCE, ROOT, Program
from tornado_sse import Event, EventParser

GOOD = {"id": "a1", "name": "Ada", "text": "hello"}


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A running chat, the same for all tests."""
    with start(tmp_path_factory.mktemp("chat")) as chat:
        yield chat


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room of the test's own."""
    return f"room-{zlib.crc32(request.node.name.encode()):08x}"


def start(folder: Path) -> Program:
    # What means something in a URL means nothing in a file's name.
    return Program(folder / "stderr.txt", "demos.chat", "--port", "0", "--db", str(folder / "50% ?#.db"))


def request(
    chat: Program,
    room: str,
    *,
    method: str = "POST",
    body: str | bytes | dict[str, str] | None = None,
    **headers: str,
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", chat.port, timeout=PATIENCE)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, dict):
        body = urllib.parse.urlencode(body)
    fields.setdefault("Content-Type", "application/x-www-form-urlencoded")
    connection.request(method, f"/rooms/{room}", body, fields)
    answer = connection.getresponse()
    if answer.headers["Content-Type"] != "text/event-stream; charset=utf-8":
        answer.read()
        connection.close()
    return answer


def lines(chat: Program, room: str, count: int, **headers: str) -> list[Event]:
    """Return the first events of a room."""
    parser, events = EventParser(), list[Event]()
    with request(chat, room, method="GET", **headers) as stream:
        assert stream.status == 200
        while len(events) < count:
            events += parser.feed(stream.read1())
    return events


def test_a_line_is_kept_as_it_was_sent(chat: Program, room: str) -> None:
    said = {"id": "a1", "name": "Ada", "text": "<b>1</b>\n… 2 🙂"}
    assert request(chat, room, body=said).status == 204
    (event,) = lines(chat, room, 1)
    line = json.loads(event.data)
    assert line.pop("time") > 0
    assert line == said


def test_rooms_are_apart(chat: Program) -> None:
    assert request(chat, "one", body=GOOD | {"text": "in one"}).status == 204
    assert request(chat, "two", body=GOOD | {"text": "in two"}).status == 204
    for room in ("one", "two"):
        assert [json.loads(event.data)["text"] for event in lines(chat, room, 1)] == [f"in {room}"]
    assert request(chat, "../chat.js", body=GOOD).status in (404, 405)
    assert request(chat, "a%2Fb", body=GOOD).status in (404, 405)
    assert request(chat, "x" * 51, body=GOOD).status in (404, 405)
    assert request(chat, "-", body=GOOD).status == 204


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ],
    ids=str,
)
def test_another_sites_page_is_refused(headers: dict[str, str], chat: Program, room: str) -> None:
    assert request(chat, room, body=GOOD, **headers).status == 403
    assert request(chat, room, method="GET", **headers).status == 403
    assert request(chat, room, body=GOOD | {"text": "mine"}).status == 204
    assert [json.loads(event.data)["text"] for event in lines(chat, room, 1)] == ["mine"]


def test_its_own_page_is_not(chat: Program, room: str) -> None:
    origin = f"http://127.0.0.1:{chat.port}"
    assert request(chat, room, body=GOOD, Origin=origin, Sec_Fetch_Site="same-origin").status == 204


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"text=%ff&id=1&name=a",
        {"id": "1", "name": "Ada"},
        GOOD | {"text": ""},
        GOOD | {"text": " \t\n "},
        GOOD | {"name": " "},
        GOOD | {"id": ""},
    ],
    ids=str,
)
def test_an_empty_line_is_refused(body: bytes | dict[str, str] | None, chat: Program, room: str) -> None:
    assert request(chat, room, body=body).status == 400


def test_a_long_line_is_refused(chat: Program, room: str) -> None:
    assert request(chat, room, body=GOOD | {"text": "🙂" * 2000}).status == 204
    for name, most in {"id": 64, "name": 40, "text": 2000}.items():
        assert request(chat, room, body=GOOD | {name: "x" * (most + 1)}).status == 413
    connection = http.client.HTTPConnection("127.0.0.1", chat.port, timeout=PATIENCE)
    connection.putrequest("POST", f"/rooms/{room}")
    connection.putheader("Content-Length", str(1 << 30))  # and none of it: the answer must not wait for it
    connection.endheaders()
    assert connection.getresponse().status in (400, 413)
    connection.close()


def test_what_was_acknowledged_outlives_the_server(tmp_path: Path, room: str) -> None:
    with start(tmp_path) as chat:
        for number in range(3):
            assert request(chat, room, body=GOOD | {"text": str(number)}).status == 204
        first = lines(chat, room, 1)[0]
        chat.kill()
    with start(tmp_path) as chat:
        assert first.id is not None
        rest = lines(chat, room, 2, Last_Event_ID=first.id)
        assert [json.loads(event.data)["text"] for event in rest] == ["1", "2"]
        assert len({event.id for event in [first, *rest]}) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_streams(number: signal.Signals, tmp_path: Path, room: str) -> None:
    with start(tmp_path) as chat, request(chat, room, method="GET") as stream:
        assert chat.stop(number) == ""
        stream.read()  # raises IncompleteRead if the final chunk is missing


def test_what_keeps_it_from_starting_is_one_line(chat: Program, tmp_path: Path) -> None:
    for arguments in (["--port", str(chat.port)], ["--port", "0", "--db", str(tmp_path / "no" / "where.db")]):
        command = [sys.executable, "-m", "demos.chat", "--db", str(tmp_path / "x"), *arguments]
        refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
        assert refused.returncode == 1
        assert refused.stdout == ""
        assert refused.stderr.startswith("can't start: ")
        assert refused.stderr.count("\n") == 1


def test_the_policy_is_on_every_answer(chat: Program) -> None:
    for path, status in {"": 200, "chat.js": 200, "nothing": 404, "../__main__.py": 403}.items():
        connection = http.client.HTTPConnection("127.0.0.1", chat.port, timeout=PATIENCE)
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        assert answer.status == status
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        connection.close()
