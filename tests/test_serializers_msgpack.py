import base64
import dataclasses
import enum
import json
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tornado_sse.errors import DecodeError, EncodeError
from tornado_sse.serializers.base import encode
from tornado_sse.serializers.json import JSONSerializer
from tornado_sse.serializers.msgpack import MsgpackSerializer
from tornado_sse.testing import check_serializer

serializer = MsgpackSerializer()

circular: list[Any] = []
circular.append(circular)


@dataclasses.dataclass
class Account:
    name: str
    since: datetime


class Color(enum.Enum):
    RED = "red"


def packed(data: bytes) -> bytes:
    return base64.b64encode(data)


def test_it_is_msgpack_in_base64_on_one_line() -> None:
    data = serializer.dumps({"frame": bytes(200)})
    assert b"\n" not in data
    assert msgpack.unpackb(base64.b64decode(data)) == {"frame": bytes(200)}


@pytest.mark.parametrize(
    "payload",
    [
        Account("ann", datetime(2024, 1, 1, tzinfo=UTC)),
        [datetime(2024, 1, 1), date(2024, 1, 1), timedelta(seconds=1.5)],
        {Color.RED: Color.RED},
        [uuid.UUID(int=1), Decimal("0.10"), {1}, (1, 2)],
        [np.float32(1.1), np.int64(5), np.array([[1, 2]]), np.array([1.5, 2.5])[::2]],
        np.array(["2024-01-01"], dtype="M8[D]"),
    ],
)
def test_a_rich_object_looks_the_same_as_in_json(payload: object) -> None:
    as_json = json.loads(JSONSerializer().dumps(payload))
    assert serializer.loads(serializer.dumps(payload)) == as_json


@pytest.mark.parametrize("payload", [2**64 - 1, -(2**63), float("inf"), b"bytes", {1: 2, b"k": 3, None: 4}])
def test_it_holds_more_than_json(payload: object) -> None:
    assert serializer.loads(serializer.dumps(payload)) == payload


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (2**64, "more than 64 bits"),
        ([-(2**63) - 1], "more than 64 bits"),
        ("\ud800", "lone surrogate"),
        ({"\udfff": 1}, "lone surrogate"),
        (object(), "no plain form"),
        (circular, "recursion limit"),
        ({1: [np.datetime64("NaT", "s")]}, "NaT"),
    ],
)
def test_what_it_cannot_hold_is_an_encode_error(payload: object, message: str) -> None:
    with pytest.raises(EncodeError, match=message) as caught:
        encode(serializer, payload)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (b"\xd6\xff\x00\x00\x00\x01", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        (b"\xd4\x05a", msgpack.ExtType(5, b"a")),
    ],
)
def test_a_timestamp_is_a_datetime_and_other_extensions_stay_what_they_are(
    data: bytes, payload: object
) -> None:
    assert serializer.loads(packed(data)) == payload


def test_extensions_can_be_written() -> None:
    assert serializer.loads(serializer.dumps(msgpack.ExtType(5, b"a"))) == msgpack.ExtType(5, b"a")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x01\x02",
        b"\xa1\xff",
        b"\x81\x91\x01\x01",
        b"\x91" * 100_000 + b"\x01",
        b"\x81\x01" * 100_000 + b"\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x05",
        b"\xdd\x00\x00\xff\xff" * 1000 + b"\x01" * 0xFFFF,
        b"\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xc7\x0c\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x01",
        b"\xc7\x03\xffabc",
    ],
    ids=lambda data: repr(data[:10]),
)
def test_damaged_and_hostile_data_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        serializer.loads(packed(data))
    assert caught.value.serializer == "msgpack"
    assert caught.value.__cause__ is not None


def test_base64_is_read_strictly() -> None:
    with pytest.raises(DecodeError):
        serializer.loads(b"kQ==\n")


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        serializer.loads(packed(data))
    except DecodeError:
        pass


def test_it_keeps_the_contract() -> None:
    check_serializer(
        serializer,
        [None, 0, 2**64 - 1, -1.5, "two\nlines\r", b"\xff\r\n", [[]], {"a": [b"", {1: "é"}]}],
        unserializable=[object(), 2**64, "\ud800", circular],
        damaged=[b"kQ", b"wQ==", b"*"],
    )
