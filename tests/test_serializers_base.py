import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tornado_sse.errors import EncodeError, InvalidEventError
from tornado_sse.event import Event
from tornado_sse.serializers.base import (
    Serializer,
    encode,
    from_base64,
    is_name,
    reason_of,
    to_base64,
)


class Fake:
    """A serializer that does as it is told."""

    name = "fake"
    codec = None

    def __init__(self, result: object) -> None:
        self.result = result

    def dumps(self, payload: object) -> bytes:
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result  # type: ignore[return-value]

    def loads(self, data: bytes) -> object:
        return data


def test_an_object_with_the_members_is_a_serializer_without_inheriting_anything() -> None:
    assert isinstance(Fake(b""), Serializer)
    assert not isinstance(object(), Serializer)


def test_encode_returns_text() -> None:
    assert encode(Fake("é\n\u2028".encode()), None) == "é\n\u2028"


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("text", "its dumps() returned str instead of bytes"),
        (None, "its dumps() returned NoneType instead of bytes"),
        (bytearray(b"x"), "its dumps() returned bytearray instead of bytes"),
        (b"\xff", "its dumps() returned bytes that are not UTF-8 text"),
        (b"\xed\xa0\x80", "its dumps() returned bytes that are not UTF-8 text"),
        (TypeError("no"), "no"),
        (KeyError("gone"), "KeyError: 'gone'"),
        (RecursionError("too deep"), "RecursionError: too deep"),
        (ValueError(), "ValueError"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), "it holds a lone surrogate, which is not UTF-8"),
    ],
)
def test_whatever_a_serializer_does_is_an_encode_error(result: object, reason: str) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(Fake(result), None)
    assert caught.value.serializer == "fake"
    assert caught.value.reason == reason
    if isinstance(result, BaseException):
        assert caught.value.__cause__ is result


def test_an_encode_error_of_the_serializer_passes_as_it_is() -> None:
    error = EncodeError("other", "its own words")
    with pytest.raises(EncodeError) as caught:
        encode(Fake(error), None)
    assert caught.value is error


@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_is_not_about_the_payload_passes(kind: type[BaseException]) -> None:
    with pytest.raises(kind):
        encode(Fake(kind()), None)


@pytest.mark.parametrize("name", ["json", "x", "0", "a.b_c+d-e", "A" * 64])
def test_a_name_is_a_possible_codec_of_an_event(name: str) -> None:
    assert is_name(name)
    assert Event("", codec=name).codec == name


@pytest.mark.parametrize("name", ["", "-x", "a b", "a\n", "é", "a/b", "A" * 65, "a\0"])
def test_what_an_event_refuses_as_codec_is_no_name(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(InvalidEventError):
        Event("", codec=name)


def test_only_str_is_a_name() -> None:
    assert not is_name(None)
    assert not is_name(b"json")


@given(st.binary())
def test_base64_is_one_line_and_reads_back(data: bytes) -> None:
    text = to_base64(data)
    assert b"\n" not in text
    assert from_base64(text) == data


@pytest.mark.parametrize(
    "data",
    [b"QQ", b"QQ=", b"QQ==\n", b"Q Q==", b"QQ==QQ==", b"====", b"QQ=A", b"Q", b"QQ==\0", b"_-8=", b"\xff"],
)
def test_base64_that_is_not_exactly_right_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        from_base64(data)


def test_the_reason_names_the_kind_of_exceptions_that_explain_little_by_themselves() -> None:
    assert reason_of(ZeroDivisionError("division by zero")) == "ZeroDivisionError: division by zero"
    assert reason_of(RuntimeError()) == "RuntimeError"
    assert reason_of(TypeError("a sentence")) == "a sentence"
