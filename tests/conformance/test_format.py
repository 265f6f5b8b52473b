"""The parsing cases of the web-platform-tests, as facts: these bytes in, these events out."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import cuts
from tornado_sse import EventParser

TABLE = json.loads(Path(__file__).with_name("wpt_format_cases.json").read_text("utf-8"))
CASES = [case for case in TABLE["cases"] if case["kind"] == "parse"]


def test_the_table_is_all_there() -> None:
    assert len(CASES) == 26


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_the_events_are_these_however_the_stream_is_cut(case: dict[str, Any]) -> None:
    stream = base64.b64decode(case["input_b64"])
    expected = case["expect"]
    for pieces in cuts(stream):
        parser = EventParser()
        events = [event for piece in pieces for event in parser.feed(piece)]
        assert [{"event": e.type, "data": e.data, "id": e.id} for e in events] == expected["events"]
        assert parser.retry == expected["retry_ms"]
        assert parser.last_event_id == expected["last_event_id"]
