from __future__ import annotations

import json

from tornado_sse import decode
from tornado_sse.gap import gap_event


def test_a_gap_says_what_is_lost_and_where_its_reader_goes_on() -> None:
    event = gap_event("prices", "expired", "e", 7, 12)
    assert (event.type, event.id, event.codec) == ("gap", None, "json")
    assert json.loads(event.data) == {
        "channel": "prices",
        "reason": "expired",
        "after": "e-7",
        "until": "e-12",
    }
    assert decode("json", event.data) == json.loads(event.data)


def test_a_gap_after_an_id_that_means_nothing_names_none() -> None:
    assert json.loads(gap_event("prices", "epoch", "e", None, 0).data)["after"] is None
