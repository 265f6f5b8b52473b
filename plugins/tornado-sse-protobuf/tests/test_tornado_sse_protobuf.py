import base64
import sys
import time
from importlib.metadata import entry_points
from typing import Any

import pytest
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from tornado_sse_protobuf import ProtobufSerializer

from tornado_sse.encoder import encode_event
from tornado_sse.errors import DecodeError, EncodeError
from tornado_sse.event import Event
from tornado_sse.serializers import Registry, decode, encode, get_by_codec, get_serializer
from tornado_sse.testing import check_serializer

serializer = ProtobufSerializer()

Field = descriptor_pb2.FieldDescriptorProto


def build_types() -> dict[str, type[Message]]:
    """Return the classes of a schema, as its generated module would add them to those of the process."""
    file = descriptor_pb2.FileDescriptorProto(name="tornado_sse_test.proto", package="tornado_sse_test")
    quote = file.message_type.add(name="Quote")
    quote.field.add(name="symbol", number=1, type=Field.TYPE_STRING, label=Field.LABEL_REQUIRED)
    quote.field.add(name="price", number=2, type=Field.TYPE_DOUBLE, label=Field.LABEL_OPTIONAL)
    quote.field.add(name="volume", number=3, type=Field.TYPE_UINT64, label=Field.LABEL_OPTIONAL)
    book = file.message_type.add(name="Book")
    entry = book.nested_type.add(name="SizesEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=Field.TYPE_INT64, label=Field.LABEL_OPTIONAL)
    book.field.add(
        name="sizes",
        number=1,
        type=Field.TYPE_MESSAGE,
        label=Field.LABEL_REPEATED,
        type_name=".tornado_sse_test.Book.SizesEntry",
    )
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    names = ("Quote", "Book")
    descriptors = [pool.FindMessageTypeByName(f"tornado_sse_test.{name}") for name in names]
    return {
        name: message_factory.GetMessageClass(each) for name, each in zip(names, descriptors, strict=True)
    }


TYPES = build_types()
Quote: Any = TYPES["Quote"]
Book: Any = TYPES["Book"]


def struct(**members: Any) -> struct_pb2.Struct:
    result = struct_pb2.Struct()
    result.update(members)
    return result


def envelope(type_url: str, value: bytes) -> bytes:
    return base64.b64encode(any_pb2.Any(type_url=type_url, value=value).SerializeToString())


def in_any(message: Message) -> any_pb2.Any:
    result = any_pb2.Any()
    result.Pack(message)
    return result


def test_it_keeps_the_contract() -> None:
    check_serializer(
        serializer,
        [
            empty_pb2.Empty(),
            timestamp_pb2.Timestamp(seconds=-1, nanos=5),
            duration_pb2.Duration(seconds=2**40),
            wrappers_pb2.BytesValue(value=bytes(range(256)) * 20),
            wrappers_pb2.StringValue(value="two\r\nlines\0\u2028"),
            wrappers_pb2.UInt64Value(value=2**64 - 1),
            field_mask_pb2.FieldMask(paths=["a.b", "c"]),
            struct(a=1, b=[1, None, {"c": True}]),
            in_any(in_any(struct(a=1))),
            Quote(symbol="AAPL", price=-0.0, volume=2**64 - 1),
            Book(sizes={"b": 1, "a": 2, "": -(2**63)}),
        ],
        unserializable=[None, 1, b"", {}, Quote, Quote(price=1), object()],
        damaged=[b"gg", b"*", b"", b"AA==\n", b"/w==", b"CgA="],
    )


def test_the_runtime_of_protocol_buffers_opens_it_without_us() -> None:
    sent = Quote(symbol="AAPL", price=226.5)
    envelope = any_pb2.Any.FromString(base64.b64decode(serializer.dumps(sent)))
    assert envelope.Is(Quote.DESCRIPTOR)
    assert envelope.type_url == "type.googleapis.com/tornado_sse_test.Quote"
    received = Quote()
    assert envelope.Unpack(received)
    assert received == sent


@pytest.mark.parametrize("prefix", ["", "/", "type.googleapis.com/", "example.org/types/"])
def test_we_open_what_the_runtime_has_packed(prefix: str) -> None:
    sent = Quote(symbol="é", volume=3)
    assert serializer.loads(envelope(f"{prefix}tornado_sse_test.Quote", sent.SerializeToString())) == sent


def test_a_message_comes_back_as_its_class() -> None:
    assert type(serializer.loads(serializer.dumps(struct(a=1)))) is struct_pb2.Struct
    assert type(serializer.loads(serializer.dumps(Quote(symbol="")))) is Quote


def test_equal_messages_are_equal_bytes() -> None:
    names = [str(n) for n in range(100)]
    one, other = Book(sizes=dict.fromkeys(names, 1)), Book(sizes=dict.fromkeys(reversed(names), 1))
    assert serializer.dumps(one) == serializer.dumps(other)


def test_what_a_newer_version_has_sent_is_kept() -> None:
    newer = Quote(symbol="A").SerializeToString() + b"\x98\x06\x07"  # field 99
    message = serializer.loads(envelope("x/tornado_sse_test.Quote", newer))
    assert message.SerializeToString() == newer


def test_the_entry_point_brings_it_without_its_being_imported_first() -> None:
    [entry] = entry_points(group="tornado_sse.serializers", name="protobuf")
    assert entry.value == "tornado_sse_protobuf:ProtobufSerializer"
    registry = Registry()
    [info] = [info for info in registry.list_serializers() if info.name == "protobuf"]
    assert (info.source, info.problem) == ("tornado-sse-protobuf[protobuf]", "")
    assert isinstance(registry.get_serializer("protobuf"), ProtobufSerializer)


def test_a_message_travels_by_name_and_comes_back_by_codec() -> None:
    chosen = get_serializer("protobuf")
    sent = Quote(symbol="AAPL")
    data = encode(chosen, sent)
    wire = encode_event(Event(data, type="quote", codec=chosen.codec))
    assert wire == f"event: quote\ncodec: protobuf\ndata: {data}\n\n".encode()
    assert decode("protobuf", data) == sent
    assert get_by_codec("protobuf") is chosen


def test_what_it_cannot_write_is_an_encode_error() -> None:
    with pytest.raises(EncodeError, match="a dict is no message"):
        encode(serializer, {})
    with pytest.raises(EncodeError, match="required"):
        encode(serializer, Quote(price=1))


def test_the_types_that_travel_can_be_named() -> None:
    strict = ProtobufSerializer([Quote])
    sent = Quote(symbol="A")
    assert strict.loads(strict.dumps(sent)) == sent
    with pytest.raises(TypeError, match="not among"):
        strict.dumps(struct(a=1))
    with pytest.raises(DecodeError, match="not known here"):
        strict.loads(serializer.dumps(struct(a=1)))


@pytest.mark.parametrize(
    "name", ["", "nobody.Knows", "tornado_sse_test", "tornado_sse_test.Quote.symbol", "os", "é"]
)
def test_an_unknown_type_is_a_decode_error_and_imports_nothing(name: str) -> None:
    modules = set(sys.modules)
    with pytest.raises(DecodeError, match="not known here"):
        serializer.loads(envelope(f"type.googleapis.com/{name}", b""))
    assert set(sys.modules) == modules


def nested(depth: int) -> bytes:
    """Return a `Value` that is a list within a list, so many times."""
    lengths = [2]
    for _ in range(2 * depth):
        lengths.append(lengths[-1] + 1 + len(varint(lengths[-1])))
    heads = [b"\x0a" if n % 2 == 0 else b"\x32" for n in range(2 * depth)]
    return b"".join(
        head + varint(length) for head, length in zip(heads[::-1], lengths[-2::-1], strict=True)
    ) + (b"\x08\x00")


def varint(value: int) -> bytes:
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("google.protobuf.Struct", b"\xff"),
        ("google.protobuf.Struct", b"\x0a\x05\x0a"),
        ("google.protobuf.StringValue", b"\x0a\xff\xff\xff\xff\x0f"),
        ("google.protobuf.StringValue", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        ("google.protobuf.StringValue", b"\x0a\x01\xff"),
        ("google.protobuf.UInt64Value", b"\x08" + b"\xff" * 11),
        ("google.protobuf.Value", nested(60)),
        ("google.protobuf.Value", nested(100_000)),
        ("google.protobuf.Empty", b"\x0b" * 100_000),
        ("tornado_sse_test.Quote", b""),
    ],
)
def test_damaged_and_hostile_data_is_a_decode_error(name: str, value: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(DecodeError) as caught:
        serializer.loads(envelope(f"type.googleapis.com/{name}", value))
    assert caught.value.serializer == "protobuf"
    assert time.monotonic() - started < 5


def test_nesting_is_read_as_far_as_it_says() -> None:
    message = serializer.loads(envelope("x/google.protobuf.Value", nested(49)))
    assert message.SerializeToString() == nested(49)


@given(
    st.binary(), st.sampled_from(["google.protobuf.Struct", "google.protobuf.Any", "tornado_sse_test.Book"])
)
def test_any_bytes_are_read_or_refused(data: bytes, name: str) -> None:
    for packed in (base64.b64encode(data), envelope(f"x/{name}", data)):
        try:
            serializer.loads(packed)
        except DecodeError:
            pass
