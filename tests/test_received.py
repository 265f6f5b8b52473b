from __future__ import annotations

import pytest

from tornado_sse import DecodeError, Event, Gap, ReceivedEvent, SerializerNotFoundError, encode_event
from tornado_sse.gap import gap_event
from tornado_sse.received import ReceivedEventParser


def receive(event: Event) -> ReceivedEvent:
    (received,) = ReceivedEventParser().feed(encode_event(event))
    assert isinstance(received, ReceivedEvent)
    return received


def test_it_equals_an_event_of_the_same_fields() -> None:
    event = Event("x", "message", "7", 3, "json")
    received = receive(event)
    assert received == event
    assert event == received
    assert hash(received) == hash(event)
    assert received == receive(event)
    assert received != Event("y", "message", "7", 3, "json")
    assert received != "x"


def test_its_payload_is_what_was_written() -> None:
    assert receive(Event('{"a":1}', codec="json")).payload == {"a": 1}
    assert receive(Event("AAE=", codec="binary")).payload == b"\x00\x01"
    assert receive(Event("text")).payload == "text"


def test_what_can_not_be_decoded_is_still_there() -> None:
    received = receive(Event("{", codec="json"))
    with pytest.raises(DecodeError):
        _ = received.payload
    assert received.data == "{"
    with pytest.raises(SerializerNotFoundError):
        _ = receive(Event("x", codec="nobodys")).payload


def test_a_gap_is_told_from_what_others_call_so() -> None:
    gap = receive(gap_event("prices", "expired", "e", 7, 12)).gap
    assert gap == Gap("prices", "expired", "e-7", "e-12")
    nobody = receive(gap_event("prices", "epoch", "e", None, 12)).gap
    assert nobody is not None
    assert nobody.after is None
    for other in (
        Event('{"channel":"a"}', "gap", codec="json"),
        Event("[]", "gap", codec="json"),
        Event("{", "gap", codec="json"),
        Event('{"channel":1,"reason":"","after":"","until":""}', "gap", codec="json"),
        Event("mind it", "gap"),
        Event('{"channel":"a","reason":"b","after":null,"until":"c"}', codec="json"),
    ):
        assert receive(other).gap is None
