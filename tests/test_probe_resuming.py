from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders, ResponseStartLine

from tests.test_probe_timing import event, heard
from tornado_sse.probe.resuming import Outcome, check_resumption, resumption
from tornado_sse.probe.visit import Visit

pytestmark = pytest.mark.gen_test


async def test_two_ids_are_needed_to_resume(io_loop: object) -> None:
    for pieces in (b"", event(1), b"data: 1\n\ndata: 2\n\n", b"id: 1\n\n", event(1) + event(1)):
        assert resumption(heard_now(pieces).transcript) is None
    where = resumption(heard_now(b"id: 0\n\n" + event(1)).transcript)
    assert where is not None
    assert where.last_event_id == "0"


def heard_now(*pieces: bytes, at: float = 1.0) -> Visit:
    return heard([(at + number, piece) for number, piece in enumerate(pieces)])


@pytest.mark.parametrize(
    ("stream", "outcome"),
    [
        (event(3), Outcome.WORKS),
        (b"data: hello\n\n" + event(3), Outcome.WORKS),
        (b"event: gap\nid: 9\ndata: {}\n\n", Outcome.GAP),
        (event(1), Outcome.DOUBLE),
        (event(2), Outcome.DOUBLE),
        (b"id: 1\ndata: another\n\n", Outcome.DOUBLE),
        (event(5), Outcome.HOLE),
        (b"", Outcome.NOTHING),
        (b"data: no id\n\n", Outcome.NOTHING),
    ],
)
async def test_outcomes(io_loop: object, stream: bytes, outcome: Outcome) -> None:
    original = heard_now(event(1), event(2), event(3))
    where = resumption(original.transcript)
    assert where is not None
    visit = heard([(0.0, stream)])
    visit._sent = original._sent + 4
    assert where.outcome(original, visit) is outcome
    found = [*check_resumption(where, outcome, visit)]
    assert bool(found) == (outcome not in (Outcome.WORKS, Outcome.GAP))


async def test_what_may_have_been_replaced_is_not_missed(io_loop: object) -> None:
    original = heard_now(event(1), event(2))
    where = resumption(original.transcript)
    assert where is not None
    original.transcript.feed(3.0, event(3))
    visit = heard([(0.0, event(3))])
    visit._sent = original._sent + 3.5
    assert where.outcome(original, visit) is Outcome.OPEN
    assert [*check_resumption(where, Outcome.OPEN, visit)] == []
    visit._sent = original._sent + 2.5
    assert where.outcome(original, visit) is Outcome.HOLE


async def test_a_refusal_is_told(io_loop: object) -> None:
    original = heard_now(event(1), event(2))
    where = resumption(original.transcript)
    assert where is not None
    visit = heard_now(b"")
    visit.start_line, visit.headers = ResponseStartLine("HTTP/1.1", 400, "Bad"), HTTPHeaders()
    assert where.outcome(original, visit) is Outcome.REFUSED
    (finding,) = check_resumption(where, Outcome.REFUSED, visit)
    assert "the answer is 400, of no type" in finding.problem
