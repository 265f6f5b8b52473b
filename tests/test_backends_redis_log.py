from __future__ import annotations

import pytest

from tornado_sse.backends.redis_log import append_args, parse_record
from tornado_sse.log import Retention
from tornado_sse.record import Draft, Record, with_id


@pytest.mark.parametrize("key", [None, "", "k", " ", "- ", "5 a b", "é\n\0", "k" * 1_000])
@pytest.mark.parametrize("frame", [b"data: x\n\n", b"event: t\ndata: \n\n", b"data: 1 2 3 \xc3\xa9\n\n"])
def test_an_event_comes_back_as_it_was_given(key: str | None, frame: bytes) -> None:
    *_, body = append_args(
        [Draft("a", frame, key)],
        lambda channel: Retention(),
        epoch="e",
        topics="t/",
        nonce="n",
        number=1,
        ahead=0,
    )
    assert isinstance(body, bytes)
    record = parse_record("a", "e", 7, b"1700000000000001 " + body)
    assert record == Record(7, "a", with_id(frame, "e", 7), key, 1700000000.000001)


def test_each_channel_of_a_batch_is_named_once() -> None:
    limits = {"a": Retention(1, 2, 3.5, 4), "b": Retention(None, None, None, None)}
    drafts = [Draft("b", b"1"), Draft("a", b"2", "k"), Draft("b", b"3", None, "m")]
    args = append_args(drafts, limits.__getitem__, epoch="e", topics="t/", nonce="n", number=5, ahead=6)
    assert args == [
        *("e", "t/", "n", 5, 120_000, 6, 2),
        *("b", "", "", "", ""),
        *("a", 1, 2, 4, 3_500_000),
        *(1, "", "", b"- 1"),
        *(2, b"kk", "", b"1 k2"),
        *(1, "", "m", b"- 3"),
    ]
