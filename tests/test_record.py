from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import parse
from tornado_sse.encoder import encode_event
from tornado_sse.errors import InvalidChannelError
from tornado_sse.event import Event
from tornado_sse.record import check_channel, format_id, new_epoch, parse_id, with_id

GOOD = ["a", "0", "a.b", "prices.AAPL", "user:5", "a@b", "a~b", "a+b=c,d", "A-b_c", "x" * 200, "a..", "a-"]
BAD = [
    "", "x" * 201, ".a", "-a", "_a", "a b", "a/b", "../a", "a\0", "a\n", "\n", "a*", "a>", "é", "a\u0660",
    "a?", "a#b", "a%20", "{a}", "a'b", None, 5, b"a", ["a"],
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_names_that_a_channel_can_have(name: str) -> None:
    assert check_channel(name) == name


@pytest.mark.parametrize("name", BAD)
def test_names_that_no_channel_can_have(name: object) -> None:
    with pytest.raises(InvalidChannelError, match="a channel's name has 1 to 200 characters"):
        check_channel(name)


@given(st.text(max_size=250))
def test_whatever_passes_is_harmless(name: str) -> None:
    try:
        check_channel(name)
    except InvalidChannelError:
        return
    assert name.isascii()
    assert not {*name} & {*" /\\*>%?#&'\"<`$(){}[]|;!\0\r\n\t"}
    assert 1 <= len(name) <= 200


@given(st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True), st.integers(0, 10**18))
def test_an_id_says_where_it_is(epoch: str, position: int) -> None:
    assert parse_id(format_id(epoch, position)) == (epoch, position)


@pytest.mark.parametrize(
    "text",
    [
        "", "-", "a-", "-1", "a-01", "a--1", "a-+1", "a- 1", "a-1 ", "a-1\n", "A-1", "a-1.0", "a-1e3", "a_1",
        "1", "$", ">", "*", "a-*", f"{'a' * 33}-1", f"a-{10**19}", "a-1-1", "a-\u0661", "é-1", '{"a":1}',
        "../a-1", "a-1'; DROP TABLE event",
    ],
)  # fmt: skip
def test_what_no_log_has_written_is_no_id(text: str) -> None:
    assert parse_id(text) is None


@given(st.text(max_size=60))
def test_an_id_has_one_spelling(text: str) -> None:
    parsed = parse_id(text)
    assert parsed is None or format_id(*parsed) == text


def test_epochs_differ_and_are_good_ids() -> None:
    epochs = {new_epoch() for _ in range(1000)}
    assert len(epochs) == 1000
    assert all(parse_id(format_id(epoch, 1)) == (epoch, 1) for epoch in epochs)


@given(st.text(), st.none() | st.from_regex(r"[a-z]{1,10}", fullmatch=True), st.sampled_from([None, "json"]))
def test_a_frame_gets_its_id_and_stays_the_same_otherwise(
    data: str, type: str | None, codec: str | None
) -> None:
    try:
        frame = encode_event(Event(data, type, codec=codec))
    except ValueError:
        return
    (before,) = parse([frame]) or [None]
    (event,) = parse([with_id(frame, "abc", 17)]) or [None]
    if before is None or event is None:
        assert before is event
        return
    assert (event.data, event.type, event.codec, event.id) == (
        before.data,
        before.type,
        before.codec,
        "abc-17",
    )


def test_the_id_goes_where_the_encoder_puts_it() -> None:
    for event in (Event("x"), Event("x", "t"), Event("two\nlines", "t", codec="json")):
        bare = encode_event(event)
        expected = encode_event(Event(event.data, event.type, "e-5", codec=event.codec))
        assert with_id(bare, "e", 5) == expected
