from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from tornado_sse.backends.nats_names import KEY, Floors, Message, Names
from tornado_sse.errors import BackendError
from tornado_sse.record import Draft, Record

NAMES = Names("log")
TIME = {"Nats-Time-Stamp": "2026-11-25T13:37:16.123456789Z"}


def message(subject: str, headers: dict[str, str] | None = None, data: bytes = b"data: x\n\n") -> Message:
    return Message(7, subject, data, TIME | (headers or {}))


@pytest.mark.parametrize("channel", ["a", "a.b", "a..b", "a.", "a:b@c~d+e=f,g-h_i", "x" * 200])
@pytest.mark.parametrize("key", [None, "", "k", ".*>", "a b\r\n", "é", "k" * 1_000])
def test_what_is_addressed_is_recognized(channel: str, key: str | None) -> None:
    subject, headers = NAMES.addressed(Draft(channel, b"data: x\n\n", key), "n/1")
    assert not {*subject} & {*" *>\r\n"}
    assert len(subject) < 1_000
    for pattern, ours in ((NAMES.plain(channel), key is None), (NAMES.keyed(channel), key is not None)):
        parts = pattern.split(".")
        assert (
            len(parts) == len(subject.split("."))
            and all(one in ("*", other) for one, other in zip(parts, subject.split("."), strict=True))
        ) is ours
    record = NAMES.record(message(subject, headers), "e")
    assert record == Record(7, channel, b"id: e-7\ndata: x\n\n", key, 1795613836.123456)


def test_no_two_have_one_name() -> None:
    channels = ["a", "a.b", "a.e", "a.k", "a.b.e", "A"]
    keys = [None, "", "e", "a", "=a", "#a", ".", "%2E", "%", "k" * 300, "k" * 301]
    subjects = [
        NAMES.addressed(Draft(channel, b"", key), "1")[0]
        for channel, key in itertools.product(channels, keys)
    ]
    assert len({*subjects, *map(NAMES.floors, channels)}) == len(channels) * (len(keys) + 1)


def test_no_two_have_one_id() -> None:
    drafts = [Draft("a", b"", None, "b"), Draft("a", b"", None, "b/c"), Draft("a:b", b"", None, "c")]
    drafts += [
        Draft("a", b"", None, " "),
        Draft("a", b"", None, "  "),
        Draft("a", b"", None, "1"),
        Draft("a", b""),
    ]
    ids = [NAMES.addressed(draft, "a/1")[1]["Nats-Msg-Id"] for draft in drafts]
    assert len({*ids}) == len(ids)
    assert all(each == each.strip() and each.isascii() for each in ids)


def test_a_key_that_is_too_long() -> None:
    with pytest.raises(BackendError, match="a key of 30001 characters is too long"):
        NAMES.addressed(Draft("a", b"", "k" * 30_001), "1")


@pytest.mark.parametrize("subject", ["log.a", "log.a.f", "log.a.x", "log.a.e.e", "log.a.k.x", "log.%"])
def test_what_is_no_event(subject: str) -> None:
    assert NAMES.record(message(subject), "e") is None


@pytest.mark.parametrize(
    ("subject", "channel"), [("log.a%2Eb.e", "a.b"), ("log.a.k.x", "a"), ("log.a.f", None), ("log.%", None)]
)
def test_whose_events_are_of_a_subject(subject: str, channel: str | None) -> None:
    assert NAMES.channel_of(subject) == channel


def test_floors() -> None:
    assert Floors.of(None) == Floors.of(message("log.a.f", data=b"x")) == Floors(0, 0)
    floors = Floors(3, 9)
    assert Floors.of(message("log.a.f", data=bytes(floors))) == floors
    plain, keyed = Record(5, "a", b"", None, 0.0), Record(5, "a", b"", "k", 0.0)
    assert (floors.cover(plain), floors.cover(keyed)) == (False, True)


def test_a_message_that_is_of_no_stream() -> None:
    received = SimpleNamespace(headers={KEY: "x"}, data=b"")
    with pytest.raises(ValueError, match="a message without 'Nats-Sequence'"):
        Message.of(received)
