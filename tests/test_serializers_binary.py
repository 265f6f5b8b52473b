import array
import fractions
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tornado_sse.errors import DecodeError, EncodeError
from tornado_sse.serializers.base import encode
from tornado_sse.serializers.binary import BinarySerializer
from tornado_sse.testing import check_serializer

serializer = BinarySerializer()


class Image:
    def __bytes__(self) -> bytes:
        return b"image"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", b""),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[::2], b"ac"),
        (memoryview(b"abcd")[::-1], b"dcba"),
        (array.array("H", [1]), array.array("H", [1]).tobytes()),
        (np.array([[1, 2], [3, 4]], dtype="u1").T, b"\x01\x03\x02\x04"),
        (np.array([(1, 2)], dtype=[("x", "u1"), ("NO", "u1")]), b"\x01\x02"),
        (Image(), b"image"),
    ],
)
def test_anything_with_bytes_is_written_as_base64(payload: object, expected: bytes) -> None:
    text = encode(serializer, payload)
    assert "\n" not in text
    assert serializer.loads(text.encode()) == expected


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("text", "encode"),
        (5, r"a number \(int\)"),
        (True, "a number"),
        (1.5, "a number"),
        (Decimal(1), "a number"),
        (fractions.Fraction(1, 2), "a number"),
        (np.int64(5), r"a number \(int64\)"),
        ([1, 2], "list is neither"),
        (None, "NoneType is neither"),
        (Image, "type is neither"),
        (np.array([object()]), "addresses"),
        (np.array([(1, None)], dtype=[("x", "u1"), ("y", "O")]), "addresses"),
    ],
)
def test_what_has_no_bytes_of_its_own_is_refused(payload: object, message: str) -> None:
    with pytest.raises(EncodeError, match=message):
        serializer.dumps(payload)


def test_what_bytes_raises_is_the_cause() -> None:
    class Broken:
        def __bytes__(self) -> bytes:
            raise ZeroDivisionError

    with pytest.raises(EncodeError) as caught:
        encode(serializer, Broken())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@given(st.binary())
def test_any_bytes_read_back(data: Any) -> None:
    assert serializer.loads(serializer.dumps(data)) == data


@pytest.mark.parametrize("data", [b"QQ", b"QQ==\n", b"Q\0Q=", b"QQ==QQ==", b"\xff", "é".encode()])
def test_anything_but_exact_base64_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        serializer.loads(data)
    assert caught.value.serializer == "binary"


def test_it_keeps_the_contract() -> None:
    check_serializer(
        serializer,
        [b"", b"\r\n\0", bytes(range(256)), bytes(100_000)],
        unserializable=["text", 5, None],
        damaged=[b"QQ", b"*"],
    )
