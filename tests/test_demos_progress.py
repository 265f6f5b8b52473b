"""The jobs' server, from outside: what it says of a job, to whom, and what is left of one after a kill -9."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demos.progress.primes import count_primes
from tests.browser.program import Program
from tornado_sse import Event, EventParser

Job = dict[str, Any]


@pytest.fixture(scope="module")
def progress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A running server, the same for all tests, that hurries."""
    with start(tmp_path_factory.mktemp("progress"), pace=0.001) as progress:
        yield progress


def start(folder: Path, pace: float) -> Program:
    options = ("--port", "0", "--db", str(folder / "jobs.db"), "--pace", str(pace))
    return Program(folder / "stderr.txt", "demos.progress", *options)


def begin(progress: Program, total: int) -> str:
    status, body = progress.request("POST", "/jobs", {"total": str(total)})
    assert status == 202
    return str(json.loads(body)["id"])


def watch(progress: Program, until: Callable[[Job], bool], **headers: str) -> list[tuple[Event, Job]]:
    """Follow all jobs until one of them is as wanted."""
    parser, seen = EventParser(), list[tuple[Event, Job]]()
    with progress.stream("GET", "/jobs", **headers) as stream:
        assert stream.status == 200
        while not any(until(job) for _, job in seen):
            data = stream.read1()
            assert data, "it ended instead"
            seen += [(event, json.loads(event.data)) for event in parser.feed(data)]
    return seen


def ended(id: str) -> Callable[[Job], bool]:
    return lambda job: job["id"] == id and job["state"] != "running"


@pytest.mark.parametrize(
    ("start", "end", "primes"),
    [(0, 0, 0), (0, 2, 0), (0, 3, 1), (2, 3, 1), (4, 5, 0), (0, 100, 25), (90, 100, 1), (0, 100_000, 9592)],
)
def test_primes_are_counted(start: int, end: int, primes: int) -> None:
    assert count_primes(start, end) == primes


def test_a_job_is_followed_to_its_end(progress: Program) -> None:
    id = begin(progress, 1_000_000)
    states = [job for _, job in watch(progress, ended(id)) if job["id"] == id]
    assert [job["done"] for job in states] == sorted({job["done"] for job in states})
    assert states[-1] == {
        "id": id,
        "total": 1_000_000,
        "done": 1_000_000,
        "found": 78_498,
        "state": "complete",
        "began": states[0]["began"],
    }


def test_who_comes_later_is_told_the_state_alone(progress: Program) -> None:
    id = begin(progress, 1_000_000)
    first = [job for _, job in watch(progress, ended(id)) if job["id"] == id]
    (later,) = [job for _, job in watch(progress, ended(id)) if job["id"] == id]
    assert later == first[-1]


def test_a_kill_costs_nothing(tmp_path: Path) -> None:
    with start(tmp_path, pace=0.02) as progress:
        id = begin(progress, 3_000_000)
        seen = watch(progress, lambda job: job["done"] >= 500_000)
        progress.kill()
    for kill in (True, False):
        with start(tmp_path, pace=0.02) as progress:
            goal = seen[-1][1]["done"] + (500_000 if kill else 0)
            wanted = (lambda job, goal=goal: job["done"] >= goal) if kill else ended(id)
            last = seen[-1][0].id
            assert last is not None
            seen += watch(progress, wanted, Last_Event_ID=last)
            if kill:
                progress.kill()
    jobs = [job for _, job in seen]
    assert len({event.id for event, _ in seen}) == len(seen)
    assert [job["done"] for job in jobs] == sorted(job["done"] for job in jobs)
    assert jobs[-1]["found"] == 216_816
    with start(tmp_path, pace=0.02) as progress:
        ((_, job),) = watch(progress, ended(id))
        assert job == jobs[-1]


def test_a_job_that_is_stopped_stays_so(tmp_path: Path) -> None:
    with start(tmp_path, pace=0.02) as progress:
        id = begin(progress, 50_000_000)
        assert progress.request("DELETE", f"/jobs?id={id}")[0] == 204
        stopped = watch(progress, ended(id))[-1][1]
        assert stopped["state"] == "stopped"
        assert progress.stop() == ""
    with start(tmp_path, pace=0.02) as progress:
        assert watch(progress, ended(id))[-1][1] == stopped
        assert progress.request("DELETE", f"/jobs?id={id}")[0] == 404


def test_enough_is_enough(tmp_path: Path) -> None:
    with start(tmp_path, pace=1) as progress:
        for _ in range(5):
            begin(progress, 50_000_000)
        assert progress.request("POST", "/jobs", {"total": "1000"})[0] == 429


@pytest.mark.parametrize("total", ["", "0", "-1", "1.5", "1e3", "x", "100000001", "9" * 5000, "٣"])
def test_a_number_that_is_none_is_refused(progress: Program, total: str) -> None:
    assert progress.request("POST", "/jobs", {"total": total})[0] == 400


@pytest.mark.parametrize(
    "headers", [{"Sec_Fetch_Site": "cross-site"}, {"Origin": "http://evil.example"}], ids=str
)
def test_another_sites_page_is_refused(headers: dict[str, str], progress: Program) -> None:
    for method, body in (("GET", None), ("POST", {"total": "1000"}), ("DELETE", None)):
        assert progress.request(method, "/jobs?id=x", body, **headers)[0] == 403


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_the_middle_of_a_job(number: signal.Signals, tmp_path: Path) -> None:
    with start(tmp_path, pace=0.01) as progress:
        id = begin(progress, 50_000_000)
        with progress.stream("GET", "/jobs") as stream:
            assert stream.read1()
            assert progress.stop(number) == ""
            stream.read()  # raises IncompleteRead if the final chunk is missing
    with start(tmp_path, pace=0.01) as progress:
        assert watch(progress, lambda job: job["id"] == id)[0][1]["state"] == "running"
