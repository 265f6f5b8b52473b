import base64
import dataclasses
import enum
import time
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.metadata import entry_points
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado_sse_cbor import CBORSerializer

from tornado_sse.encoder import encode_event
from tornado_sse.errors import DecodeError, EncodeError
from tornado_sse.event import Event
from tornado_sse.serializers import Registry, decode, encode, get_by_codec, get_serializer, list_serializers
from tornado_sse.testing import check_serializer

serializer = CBORSerializer()

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


def test_it_keeps_the_contract() -> None:
    check_serializer(
        serializer,
        [
            None,
            True,
            2**70,
            -(2**70),
            1.5,
            float("inf"),
            "two\nlines\r",
            b"\xff\r\n",
            [[], {"a": {1: b""}}],
            {1, 2},
            Decimal("0.10"),
            uuid.UUID(int=1),
            date(2024, 1, 1),
            datetime(2024, 1, 1, tzinfo=UTC),
        ],
        unserializable=[object(), "\ud800", circular, Account],
        damaged=[b"gg", b"gg==\n", b"*", b"", b"AQI="],
    )


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (datetime(2024, 1, 1), "2024-01-01T00:00:00"),
        (Account("ann", datetime(2024, 1, 1)), {"name": "ann", "since": "2024-01-01T00:00:00"}),
        ({Color.RED: timedelta(seconds=1.5)}, {"red": 1.5}),
        (memoryview(b"abcd")[::2], b"ac"),
        ((1, (2,)), [1, [2]]),
    ],
)
def test_what_cbor_has_no_form_for_becomes_what_it_becomes_everywhere(
    payload: object, expected: object
) -> None:
    assert serializer.loads(serializer.dumps(payload)) == expected


def test_the_entry_point_brings_it_without_its_being_imported_first() -> None:
    [entry] = entry_points(group="tornado_sse.serializers", name="cbor")
    assert entry.value == "tornado_sse_cbor:CBORSerializer"
    registry = Registry()
    [info] = [info for info in registry.list_serializers() if info.name == "cbor"]
    assert info.source == "tornado-sse-cbor[cbor]"
    assert info.problem == ""
    assert isinstance(registry.get_serializer("cbor"), CBORSerializer)


def test_a_payload_travels_by_name_and_comes_back_by_codec() -> None:
    payload = {"id": uuid.UUID(int=1), "frame": bytes(range(256))}
    chosen = get_serializer("cbor")
    data = encode(chosen, payload)
    wire = encode_event(Event(data, type="frame", codec=chosen.codec))
    assert wire == f"event: frame\ncodec: cbor\ndata: {data}\n\n".encode()
    assert decode("cbor", data) == payload
    assert get_by_codec("cbor") is chosen
    assert "cbor" in [info.name for info in list_serializers()]


def test_what_it_cannot_write_is_an_encode_error() -> None:
    with pytest.raises(EncodeError, match="no plain form") as caught:
        encode(serializer, {"a": object()})
    assert caught.value.serializer == "cbor"
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\x01\x02",
        b"\x61\xff",
        b"\xa2\x01\x01\x01\x02",
        b"\xa1\xa0\x01\x01",
        b"\x81" * 100_000 + b"\x01",
        b"\xc6" * 100_000 + b"\x01",
        b"\x9a\x00\x0f\xff\xff" * 399 + b"\x01" * 1000,
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x7b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xc0\x61x",
        b"\xc1\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",
        b"\xc2\x01",
        b"\xc5\x82\x1a\x7f\xff\xff\xff\x01",
        b"\xd8\x1e\x82\x01\x00",
        b"\xd8\x1c\x81\xd8\x1d\x00",
        b"\xd8\x23\x67(a+)+$x",
        b"\xd8\x24\x61a",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_damaged_and_hostile_data_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        serializer.loads(packed(data))
    assert caught.value.serializer == "cbor"
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("tag", [b"\xc2", b"\xc3", b"\xc4\x82\x01\xc2", b"\xd8\x1e\x82\x01\xc2"])
def test_an_integer_of_absurd_length_is_refused_at_once(tag: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(DecodeError):
        serializer.loads(packed(tag + b"\x5a\x00\x0f\x42\x40" + b"\xff" * 1_000_000))
    assert time.monotonic() - started < 5


def test_integers_of_2_kib_are_read() -> None:
    for value in (2 ** (8 * 2048) - 1, -(2 ** (8 * 2048))):
        assert serializer.loads(serializer.dumps(value)) == value


def test_unknown_tags_stay_what_they_are() -> None:
    assert serializer.loads(packed(b"\xd9\xea\x60\x01")) == cbor2.CBORTag(60000, 1)


def test_keys_can_be_restricted_to_what_has_a_good_hash() -> None:
    strict = CBORSerializer(strict_keys=True)
    assert strict.loads(strict.dumps({"a": 1, b"b": 2})) == {"a": 1, b"b": 2}
    for payload in ({1: 2}, {uuid.UUID(int=1): 2}, {1, 2}):
        with pytest.raises(DecodeError):
            strict.loads(strict.dumps(payload))


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        serializer.loads(packed(data))
    except DecodeError:
        pass
