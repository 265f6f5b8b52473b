import enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tornado_sse.errors import DecodeError, EncodeError
from tornado_sse.serializers.base import encode
from tornado_sse.serializers.text import TextSerializer
from tornado_sse.testing import check_serializer

serializer = TextSerializer()


class Name(str):
    def __str__(self) -> str:
        return "something else"


class Price:
    def __str__(self) -> str:
        return "1.50 €"


class Color(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ("", ""),
        ("two\nlines", "two\nlines"),
        (" \r\n\u2028é", " \r\n\u2028é"),
        (5, "5"),
        (None, "None"),
        (Price(), "1.50 €"),
        (Name("name"), "name"),
        (Color.RED, "red"),
    ],
)
def test_a_str_stays_as_it_is_and_the_rest_is_its_str(payload: object, text: str) -> None:
    assert encode(serializer, payload) == text


@pytest.mark.parametrize("payload", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_bytes_are_refused_with_the_way_out(payload: object) -> None:
    with pytest.raises(EncodeError, match='serializer="binary"'):
        serializer.dumps(payload)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(EncodeError, match="lone surrogate"):
        serializer.dumps("a\ud800")


def test_a_str_that_raises_is_an_encode_error() -> None:
    class Broken:
        def __str__(self) -> str:
            raise ZeroDivisionError("oops")

    with pytest.raises(EncodeError, match="ZeroDivisionError: oops"):
        encode(serializer, Broken())


@given(st.text())
def test_any_text_reads_back(text: str) -> None:
    assert serializer.loads(serializer.dumps(text)) == text


def test_bytes_that_are_no_text_are_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        serializer.loads(b"\xff")


def test_it_keeps_the_contract() -> None:
    check_serializer(serializer, ["", "a\n", "\n\n", "é\u2028😀"], unserializable=[b"x", "\ud800"])
