from __future__ import annotations

import dataclasses

import pytest

from tornado_sse import Event, InvalidEventError
from tornado_sse.event import check_line, received_event


def test_only_data_is_required() -> None:
    assert Event("x") == Event("x", None, None, None, None)


@pytest.mark.parametrize("data", ["", "\n", "a\r\nb\rc\n", "\0", "\u2028\u0085\v\f", "\ufeff", "äöü 🎈"])
def test_data_may_be_any_text(data: str) -> None:
    assert Event(data).data == data


@pytest.mark.parametrize("field", ["type", "id"])
@pytest.mark.parametrize("breaker", ["\r", "\n", "\r\n", "\0"])
@pytest.mark.parametrize("value", ["{}", "a{}", "{}b", "a{}data: injected"])
def test_what_would_break_the_line_is_refused_not_stripped(field: str, breaker: str, value: str) -> None:
    with pytest.raises(InvalidEventError, match="CR, LF or NUL") as caught:
        Event("x", **{field: value.format(breaker)})
    assert (caught.value.field, caught.value.value) == (field, value.format(breaker))


@pytest.mark.parametrize("field", ["data", "type", "id"])
def test_a_lone_surrogate_is_refused(field: str) -> None:
    with pytest.raises(InvalidEventError, match="surrogate"):
        Event(**{"data": "x", field: "a\ud800b"})


@pytest.mark.parametrize("field", ["data", "type", "id"])
@pytest.mark.parametrize("value", [b"bytes", 1, True, ["x"]])
def test_what_is_not_text_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidEventError, match="must be str"):
        Event(**{"data": "x", field: value})  # type: ignore[arg-type]


def test_no_data_at_all_is_refused() -> None:
    with pytest.raises(InvalidEventError, match="serialize it first: None"):
        Event(None)  # type: ignore[arg-type]


def test_an_empty_id_is_an_id_but_an_empty_type_is_none() -> None:
    assert Event("x", id="").id == ""
    with pytest.raises(InvalidEventError, match="None is the default"):
        Event("x", type="")


@pytest.mark.parametrize("retry", [0, 1, 3000, 10**15])
def test_retry_is_whole_milliseconds(retry: int) -> None:
    assert Event("x", retry=retry).retry == retry


@pytest.mark.parametrize("retry", [-1, 1.5, 1.0, True, "3000", float("nan")])
def test_any_other_retry_is_refused(retry: object) -> None:
    with pytest.raises(InvalidEventError, match="retry"):
        Event("x", retry=retry)  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", ["json", "msgpack", "application.x+y-z_1", "a" * 64])
def test_a_codec_is_a_short_name(codec: str) -> None:
    assert Event("x", codec=codec).codec == codec


@pytest.mark.parametrize("codec", ["", " json", "js on", "a\nb", "a:b", "ä", "a" * 65, ".x", 1])
def test_any_other_codec_is_refused(codec: object) -> None:
    with pytest.raises(InvalidEventError, match="codec"):
        Event("x", codec=codec)  # type: ignore[arg-type]


def test_an_event_does_not_change() -> None:
    event = Event("x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.data = "y"  # type: ignore[misc]
    assert not hasattr(event, "__dict__")


def test_a_changed_copy_is_checked_like_any_other() -> None:
    with pytest.raises(InvalidEventError):
        dataclasses.replace(Event("x"), id="a\nb")


def test_a_received_event_is_what_the_peer_sent() -> None:
    event = received_event("x", "odd\0type", "1")
    assert (event.type, event.id, event.retry, event.codec) == ("odd\0type", "1", None, None)
    assert received_event("x", "a", "1", 2, "json") == Event("x", "a", "1", 2, "json")


def test_check_line_says_which_value_it_refuses() -> None:
    check_line("comment", "anything else: äöü")
    with pytest.raises(InvalidEventError, match=r"comment must not contain CR, LF or NUL: 'a\\nb'"):
        check_line("comment", "a\nb")


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(InvalidEventError) as caught:
        check_line("id", "x" * 10_000 + "\n")
    assert len(str(caught.value)) < 150
