"""The language model's server, from outside: answers that go on, resume, stop, and are asked for once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demos.llm.model import tokens
from tests.browser.program import PATIENCE, Program
from tornado_sse import Event, EventParser


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A running server, the same for all tests, that writes fast."""
    with start(tmp_path_factory.mktemp("llm"), pace=0.001) as llm:
        yield llm


def start(folder: Path, pace: float) -> Program:
    return Program(folder / "stderr.txt", "demos.llm", "--port", "0", "--pace", str(pace))


def read(
    llm: Program, method: str, path: str, *arguments: Any, count: int = 0, **headers: str
) -> list[Event]:
    """Return so many events of a stream, or all until its end."""
    parser, events = EventParser(), list[Event]()
    with llm.stream(method, path, *arguments, **headers) as stream:
        assert stream.status == 200
        while (not count or len(events) < count) and (data := stream.read1()):
            events += parser.feed(data)
    return events


def ask(llm: Program, prompt: str, id: str, **options: int) -> list[Event]:
    return read(llm, "POST", "/answers", {"prompt": prompt, "id": id}, **options)


def words(events: list[Event]) -> list[str]:
    return [event.data for event in events if event.type == "token"]


def test_an_answer_is_written_token_by_token_and_then_it_ends(llm: Program) -> None:
    events = read(llm, "POST", "/answers", {"prompt": "why <b>?"})
    assert [event.type for event in events[:1] + events[-1:]] == ["answer", "done"]
    begun, done = json.loads(events[0].data), json.loads(events[-1].data)
    assert begun["prompt"] == "why <b>?"
    assert done == {"reason": "complete", "tokens": len(events) - 2}
    assert words(events) == list(tokens("why <b>?", begun["id"], 260))
    assert "".join(words(events)).startswith("This is no language model")


def test_whoever_comes_later_reads_the_whole_answer_too(llm: Program) -> None:
    id = "a-second-reader-of-it"
    first = ask(llm, "x", id)
    assert read(llm, "GET", f"/answers/{id}") == first


def test_an_answer_goes_on_while_nobody_reads_and_resumes_by_its_last_id(llm: Program) -> None:
    id = "cut-off-again-and-again"
    events = ask(llm, "x", id, count=10)
    while events[-1].type != "done":
        assert events[-1].id is not None
        events += read(llm, "GET", f"/answers/{id}", count=40, Last_Event_ID=events[-1].id)
    assert words(events) == list(tokens("x", id, 260))
    assert len({event.id for event in events}) == len(events)


def test_a_question_that_is_asked_again_is_answered_once(llm: Program) -> None:
    id = "asked-twice-answered-once"
    ask(llm, "x", id, count=5)
    assert words(ask(llm, "x", id)) == list(tokens("x", id, 260))


def test_a_stopped_answer_says_so_and_stays_as_it_is(tmp_path: Path) -> None:
    id = "stopped-in-the-middle"
    with start(tmp_path, pace=0.02) as llm:
        ask(llm, "x", id, count=5)
        assert llm.request("DELETE", f"/answers/{id}") == (204, b"")
        for events in (read(llm, "GET", f"/answers/{id}"), ask(llm, "x", id)):
            assert json.loads(events[-1].data) == {"reason": "stopped", "tokens": len(events) - 2}
            assert len(events) < 250
        assert llm.stop() == ""


@pytest.mark.parametrize(
    ("method", "path", "fields", "status"),
    [
        ("POST", "/answers", {}, 400),
        ("POST", "/answers", {"prompt": " "}, 400),
        pytest.param("POST", "/answers", {"prompt": "x" * 2001}, 413, id="too long"),
        ("POST", "/answers", {"prompt": "x", "id": "short"}, 400),
        ("POST", "/answers", {"prompt": "x", "id": "with/what.means/something"}, 400),
        ("POST", "/answers", {"prompt": "x", "Origin": "http://evil.example"}, 403),
        ("POST", "/answers", {"prompt": "x", "Sec_Fetch_Site": "cross-site"}, 403),
        ("GET", "/answers", {}, 400),
        ("GET", "/answers/nobody-has-asked-this", {}, 404),
        ("DELETE", "/answers/nobody-has-asked-this", {}, 404),
        ("DELETE", "/answers", {}, 404),
        ("GET", "/../__main__.py", {}, 403),
    ],
    ids=str,
)
def test_what_is_refused(llm: Program, method: str, path: str, fields: dict[str, str], status: int) -> None:
    headers = {name: fields[name] for name in fields if name[0].isupper()}
    body = {name: fields[name] for name in fields if name not in headers}
    assert llm.request(method, path, body if method == "POST" else None, **headers)[0] == status


@pytest.mark.skipif(shutil.which("curl") is None and not os.environ.get("CI"), reason="no curl")
def test_curl_reads_one(llm: Program) -> None:
    command = ["curl", "-sN", "-d", "prompt=why", f"{llm.url}answers"]
    printed = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True).stdout
    assert EventParser().feed(printed)[-1].type == "done"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_the_middle_of_an_answer(number: signal.Signals, tmp_path: Path) -> None:
    with start(tmp_path, pace=0.02) as llm, llm.stream("POST", "/answers", {"prompt": "x"}) as stream:
        assert stream.read1()
        assert llm.stop(number) == ""
        stream.read()  # raises IncompleteRead if the final chunk is missing
