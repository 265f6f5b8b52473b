from __future__ import annotations

import json

import pytest

from tornado_sse import Reason, StreamClosedError


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_reads_as_a_word_wherever_it_goes(reason: Reason) -> None:
    assert f"{reason}" == reason.value == reason.name.lower()
    assert json.loads(json.dumps(reason)) == reason
    assert str(StreamClosedError(reason)) == f"the stream has ended ({reason.value})"


def test_an_end_is_clean_if_what_was_written_has_been_sent() -> None:
    assert {reason for reason in Reason if reason.clean} == {
        Reason.CLOSED,
        Reason.FINISHED,
        Reason.EXPIRED,
        Reason.REVOKED,
        Reason.DRAINED,
        Reason.RESET,
    }
