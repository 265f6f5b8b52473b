"""The dashboard's stream, from outside: what a viewer gets who is new, one of many, or back."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.browser.program import PATIENCE, Program
from tornado_sse import Event, EventParser, decode


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A running dashboard."""
    stderr = tmp_path_factory.mktemp("dashboard") / "stderr.txt"
    with Program(stderr, "demos.dashboard", "--port", "0") as dashboard:
        yield dashboard


class Viewer:
    """One who follows the stream."""

    def __init__(self, dashboard: Program, stack: ExitStack, after: str | None = None) -> None:
        request = urllib.request.Request(f"{dashboard.url}live")
        if after is not None:
            request.add_header("Last-Event-ID", after)
        self._answer = stack.enter_context(urllib.request.urlopen(request, timeout=PATIENCE))
        self._parser = EventParser()
        self.seen: list[Event] = []

    def read_until(self, type: str, after: int = 0) -> None:
        """Read up to an event of a type, behind a position."""
        while not any(event.type == type and position(event) > after for event in self.seen):
            self.seen += self._parser.feed(self._answer.readline())

    def of(self, *types: str) -> list[Event]:
        return [event for event in self.seen if event.type in types]


def position(event: Event) -> int:
    assert event.id is not None
    return int(event.id.rpartition("-")[2])


def test_a_reading_is_made_once_for_all_viewers(dashboard: Program) -> None:
    with ExitStack() as stack:
        first = Viewer(dashboard, stack)
        for _ in range(3):
            first.read_until("system", after=position(first.seen[-1]) if first.seen else 0)
        late = Viewer(dashboard, stack)
        late.read_until("system")
        # All that the page shows, at once: every sample, and the latest of the rest.
        assert late.seen[0].type == "facts"
        assert [event.type for event in late.of("facts", "heatmap", "system")] == [
            "facts",
            "heatmap",
            "system",
        ]
        assert late.of("samples")[: len(first.of("samples"))] == first.of("samples")
        now = position(late.seen[-1])
        for viewer in (first, late):
            viewer.read_until("system", after=now)
        both = {event.id for event in first.seen} & {event.id for event in late.seen}
        assert [event for event in first.seen if event.id in both] == [
            event for event in late.seen if event.id in both
        ]
        assert decode("json", late.seen[-1].data)["viewers"] == 2


def test_a_viewer_who_comes_back_gets_what_it_lacks(dashboard: Program) -> None:
    with ExitStack() as stack:
        whole = Viewer(dashboard, stack)
        whole.read_until("system")
        there = whole.seen[-1]
        back = Viewer(dashboard, stack, after=there.id)
        back.read_until("system")
        now = position(back.seen[-1])
        whole.read_until("system", after=now - 1)
        lacked = [event for event in whole.seen if position(event) > position(there)]
        assert back.of("samples") == [event for event in lacked if event.type == "samples"]
        assert not back.of("facts", "gap")


def test_a_viewer_of_another_log_is_told_so_and_begins_anew(dashboard: Program) -> None:
    with ExitStack() as stack:
        viewer = Viewer(dashboard, stack, after="0123456789-7")
        viewer.read_until("system")
        assert [event.type for event in viewer.seen[:3]] == ["gap", "gap", "facts"]
