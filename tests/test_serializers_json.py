import collections
import dataclasses
import enum
import functools
import importlib.util
import json
import pathlib
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import msgspec
import numpy as np
import orjson
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tornado_sse.serializers.json as module
from tests.support import short
from tornado_sse.errors import DecodeError, EncodeError
from tornado_sse.serializers.base import encode
from tornado_sse.serializers.json import JSONSerializer
from tornado_sse.testing import check_serializer

Engines = dict[str, JSONSerializer]


@dataclasses.dataclass
class Account:
    name: str
    _secret: str = "hidden"
    constant: int = dataclasses.field(default=3, init=False)

    @functools.cached_property
    def computed(self) -> int:
        return 5


@dataclasses.dataclass(slots=True)
class Slotted:
    name: str
    _secret: str = "hidden"


class Model(pydantic.BaseModel):
    name: str
    when: datetime


@attrs.define
class Attrs:
    name: str


class Struct(msgspec.Struct):
    name: str


class Color(enum.Enum):
    RED = "red"
    PAIR = (1, 2)
    SET = frozenset({1})


class Level(enum.IntEnum):
    LOW = 1


class Celsius(float):
    pass


class Names(list[str]):
    pass


class Table(dict[str, int]):
    pass


Point = collections.namedtuple("Point", "x y")


@pytest.fixture(params=["orjson", "stdlib"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of writing JSON, by turns."""
    if request.param == "stdlib":
        monkeypatch.setattr(module, "orjson", None)
    return request.param


@pytest.fixture
def serializer(engine: str) -> JSONSerializer:
    return JSONSerializer()


def accounts() -> list[Account]:
    touched = Account("bob")
    assert touched.computed == 5
    return [Account("ann"), touched]


PAYLOADS = [
    (None, b"null"),
    (True, b"true"),
    (0, b"0"),
    (-0.0, b"-0.0"),
    (1.5, b"1.5"),
    (1e22, b"1e+22"),
    (2**53 - 1, b"9007199254740991"),
    (-(2**53) + 1, b"-9007199254740991"),
    ("", b'""'),
    ('é\u2028\x00\x1f\x7f"\\/\n😀', '"é\u2028\\u0000\\u001f\x7f\\"\\\\/\\n😀"'.encode()),
    ("null", b'"null"'),
    ({}, b"{}"),
    ([], b"[]"),
    ({"a": [1, {"b": None}]}, b'{"a":[1,{"b":null}]}'),
    ({None: 1, True: 2, 3: 4, 1.5: 6}, b'{"null":1,"true":2,"3":4,"1.5":6}'),
    ({2**53: 1, 2**70: 2}, b'{"9007199254740992":1,"1180591620717411303424":2}'),
    ({date(2024, 1, 1): 1, Color.RED: 2}, b'{"2024-01-01":1,"red":2}'),
    ({datetime(2024, 1, 1, tzinfo=UTC): 1}, b'{"2024-01-01T00:00:00Z":1}'),
    ({np.int64(3): 1, Decimal("1.10"): 2}, b'{"3":1,"1.10":2}'),
    (accounts(), b'[{"name":"ann"},{"name":"bob","computed":5}]'),
    (Slotted("ann"), b'{"name":"ann"}'),
    (Attrs("ann"), b'{"name":"ann"}'),
    (Struct("ann"), b'{"name":"ann"}'),
    (Model(name="ann", when=datetime(2024, 1, 1)), b'{"name":"ann","when":"2024-01-01T00:00:00"}'),
    ([Color.RED, Color.PAIR, Color.SET, Level.LOW], b'["red",[1,2],[1],1]'),
    (Celsius(1.5), b"1.5"),
    (Names("ab"), b'["a","b"]'),
    (Table(a=1), b'{"a":1}'),
    (Point(1, 2), b"[1,2]"),
    ((1, (2,)), b"[1,[2]]"),
    ({1}, b"[1]"),
    (collections.deque([1]), b"[1]"),
    (b"\xff", b'"/w=="'),
    (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
    (Decimal("0.10"), b'"0.10"'),
    (timedelta(seconds=1.5), b"1.5"),
    (pathlib.PurePosixPath("a/b"), b'"a/b"'),
    (datetime(2024, 1, 1), b'"2024-01-01T00:00:00"'),
    (datetime(2024, 1, 1, 1, 2, 3, 4, tzinfo=UTC), b'"2024-01-01T01:02:03.000004Z"'),
    (datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/London")), b'"2024-01-01T00:00:00Z"'),
    (datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/London")), b'"2024-07-01T00:00:00+01:00"'),
    (datetime(1900, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam")), b'"1900-01-01T00:00:00+00:20"'),
    (date(2024, 1, 1), b'"2024-01-01"'),
    (time(1, 2, 3, 400), b'"01:02:03.000400"'),
    ([np.int8(5), np.bool_(True), np.str_("x")], b'[5,true,"x"]'),
    ([np.float16(0.1), np.float32(1.1), np.float64(1.1)], b"[0.099975586,1.1,1.1]"),
    (np.array([[1.5, 2.0], [3.0, 4.0]]), b"[[1.5,2.0],[3.0,4.0]]"),
    (np.array([[1.1, 2.0], [3.0, 4.0]], dtype="f4").T, b"[[1.1,3.0],[2.0,4.0]]"),
    (np.array([1.1], dtype=">f4"), b"[1.1]"),
    (np.array(1.5), b"1.5"),
    (np.array([1.5, 2.5], dtype=np.longdouble), b"[1.5,2.5]"),
    (np.ma.array([1.5, 2.5], mask=[False, True]), b"[1.5,null]"),
    (np.arange(6)[::2], b"[0,2,4]"),
    (np.array([2**53 - 1], dtype="u8"), b"[9007199254740991]"),
    (np.array(["a"]), b'["a"]'),
    (np.zeros((2, 0)), b"[[],[]]"),
    (np.datetime64("2024-01-01"), b'"2024-01-01T00:00:00"'),
    (np.array(["2024-01-01T00:00:00.5"], dtype="M8[ms]"), b'["2024-01-01T00:00:00.500000"]'),
]


@pytest.mark.parametrize(("payload", "data"), PAYLOADS, ids=short)
def test_it_writes_the_same_bytes_with_orjson_and_without(
    serializer: JSONSerializer, payload: object, data: bytes
) -> None:
    assert serializer.dumps(payload) == data


class Nonfinite(enum.Enum):
    NAN = float("nan")


NAN = float("nan")
circular: list[Any] = []
circular.append(circular)

REFUSED = [
    (NAN, "nan is no JSON number"),
    (float("inf"), "inf is no JSON number"),
    ([None, {"a": (1.0, -float("inf"))}], r"-inf is no JSON number; .* \(at payload\[1\]\['a'\]\[1\]\)"),
    ({"null": "null", "x": NAN}, r"\(at payload\['x'\]\)"),
    ({NAN: 1}, "nan is no JSON number"),
    ({Nonfinite.NAN: 1}, "nan is no JSON number"),
    (Nonfinite.NAN, "nan is no JSON number"),
    (Celsius("nan"), "nan is no JSON number"),
    ({(1): {NAN}}, r"\(at payload\[1\]\[0\]\)"),
    ({date(2024, 1, 1): NAN}, r"at payload\[datetime.date"),
    (Account(NAN), r"\(at payload\['name'\]\)"),  # type: ignore[arg-type]
    (Slotted(NAN), r"\(at payload\['name'\]\)"),  # type: ignore[arg-type]
    (Attrs(NAN), r"\(at payload\['name'\]\)"),  # type: ignore[arg-type]
    (np.float32("nan"), "nan is no JSON number"),
    (np.float64("inf"), "inf is no JSON number"),
    ({"a": np.array([1.0, NAN])}, r"nan is no JSON number.*\(at payload\['a'\]\[1\]\)"),
    (np.array([[1.0, NAN]]).T, r"\(at payload\[1\]\[0\]\)"),
    (np.array([None, NAN], dtype=object), r"\(at payload\[1\]\)"),
    (2**53, r"beyond 2\*\*53 - 1"),
    ([-(2**53)], r"beyond 2\*\*53 - 1.*\(at payload\[0\]\)"),
    (2**70, r"beyond 2\*\*53 - 1"),
    (np.int64(2**60), r"beyond 2\*\*53 - 1"),
    (np.array([1, 2**60]), r"beyond 2\*\*53 - 1.*\(at payload\[1\]\)"),
    ("\ud800", "lone surrogate"),
    ({"\udfff": 1}, "lone surrogate"),
    (pathlib.PurePosixPath("\udc80"), "lone surrogate"),
    (object(), r"builtins\.object has no plain form"),
    ({"user": {"avatar": object()}}, r"no plain form.*\(at payload\['user'\]\['avatar'\]\)"),
    (Account, r"no plain form"),
    (1j, r"no plain form"),
    ({(1, 2): 1}, "a key of type tuple"),
    ({b"k": 1}, "a key of type bytes"),
    (time(1, tzinfo=UTC), "with a timezone"),
    (np.datetime64("NaT", "s"), "NaT"),
    (circular, "nested more than 254 deep, or contains itself"),
]


@pytest.mark.parametrize(("payload", "message"), REFUSED, ids=short)
def test_it_refuses_the_same_with_orjson_and_without(
    serializer: JSONSerializer, payload: object, message: str
) -> None:
    with pytest.raises(EncodeError, match=message) as caught:
        encode(serializer, payload)
    assert caught.value.serializer == "json"
    assert caught.value.__cause__ is not None


# Floats are spelled a little differently, so what they read back as is compared for those.
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text()
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.dates()
    | st.uuids()
    | st.decimals()
    | st.binary()
)
keys = st.text() | st.integers() | st.booleans() | st.none() | st.dates() | st.uuids()


def trees(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner)
            | st.tuples(inner, inner)
            | st.dictionaries(keys, inner, max_size=4).filter(lambda d: len({str(k) for k in d}) == len(d))
        ),
        max_leaves=20,
    )


def without_orjson(payload: object) -> bytes:
    kept, module.orjson = module.orjson, None
    try:
        return JSONSerializer().dumps(payload)
    finally:
        module.orjson = kept


def test_without_orjson_any_tree_is_written_in_the_same_bytes() -> None:
    # A key of None and one of "None" are told apart by str(), and not those of None and "null".
    @given(trees(scalars))
    def check(payload: object) -> None:
        data = JSONSerializer().dumps(payload)
        assert json.loads(without_orjson(payload)) == json.loads(data)
        if b'"null":' not in data and b'"true":' not in data and b'"false":' not in data:
            assert without_orjson(payload) == data

    check()


@given(trees(scalars | st.floats()))
def test_nan_is_found_wherever_it_is(payload: object) -> None:
    def outcome(dumps: Callable[[object], bytes]) -> object:
        try:
            return json.loads(dumps(payload), parse_constant=pytest.fail)
        except EncodeError:
            return EncodeError

    assert outcome(JSONSerializer().dumps) == outcome(without_orjson)


def test_a_null_that_is_none_passes_however_large_the_payload(serializer: JSONSerializer) -> None:
    rows = [{"id": i, "parent": None, "tags": {"null"}, "at": datetime(2024, 1, 1)} for i in range(100)]
    assert [row["parent"] for row in serializer.loads(serializer.dumps(rows))] == [None] * 100


def test_a_null_beside_a_key_the_standard_library_refuses_is_no_error(serializer: JSONSerializer) -> None:
    assert serializer.dumps({date(2024, 1, 1): None}) == b'{"2024-01-01":null}'


@pytest.mark.parametrize("value", [2**53, -(2**63), 2**64 - 1, np.int64(2**60)])
def test_64_bits_can_be_allowed(engine: str, value: Any) -> None:
    serializer = JSONSerializer("json64", strict_integers=False)
    assert serializer.name == "json64"
    assert serializer.codec == "json"
    assert serializer.dumps([value]) == f"[{int(value)}]".encode()
    with pytest.raises(EncodeError, match=r"the json64 serializer .* 64 bits"):
        serializer.dumps(2**64)


def test_the_cause_is_what_the_object_itself_raised(serializer: JSONSerializer) -> None:
    error = KeyError("gone")

    class Broken:
        def model_dump(self, mode: str) -> Any:
            raise error

    with pytest.raises(EncodeError, match=r"KeyError: 'gone' \(at payload\[0\]\)") as caught:
        serializer.dumps([Broken()])
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt])
def test_what_is_not_about_the_payload_passes(serializer: JSONSerializer, kind: type[BaseException]) -> None:
    class Interrupted:
        def model_dump(self, mode: str) -> Any:
            raise kind

    with pytest.raises(kind):
        encode(serializer, Interrupted())


def test_running_out_of_stack_is_an_encode_error(serializer: JSONSerializer) -> None:
    class Endless:
        def model_dump(self, mode: str) -> Any:
            return self.model_dump(mode)

    with pytest.raises(EncodeError):
        serializer.dumps(Endless())


def test_the_walk_itself_may_run_out_of_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(*args: object, **options: object) -> Any:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(module, "jsonable", walk)
    with pytest.raises(EncodeError, match="maximum recursion depth exceeded") as caught:
        JSONSerializer().dumps(object())
    assert isinstance(caught.value.__cause__, TypeError)


def test_json_that_is_ready_made_is_left_alone() -> None:
    fragment = orjson.Fragment(b'{"x":null}')
    assert JSONSerializer().dumps([fragment, None]) == b'[{"x":null},null]'


def test_a_payload_is_left_as_it_was(serializer: JSONSerializer) -> None:
    array = np.array([[1.5, 2.5]]).T
    payload = {"array": array, 1: {"x": None}}
    serializer.dumps(payload)
    assert payload == {"array": array, 1: {"x": None}}


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (b" [1, 2.5, null, true] ", [1, 2.5, None, True]),
        ('"é"'.encode(), "é"),
        (rb'"\u00e9\ud83d\ude00"', "é😀"),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b"9007199254740993", 2**53 + 1),
    ],
)
def test_it_reads_json(serializer: JSONSerializer, data: bytes, payload: object) -> None:
    assert serializer.loads(data) == payload


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[1,]",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"\xff",
        b'"\xed\xa0\x80"',
        rb'"\ud800"',
        rb'{"\udfff": 1}',
        b"\xef\xbb\xbf1",
        b'"a\nb"',
        b"1 2",
        b"'a'",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 500_000 + b"]" * 500_000,
        b"1" * 5000 + b"x",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_not_json_is_a_decode_error(serializer: JSONSerializer, data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        serializer.loads(data)
    assert caught.value.serializer == "json"
    assert caught.value.__cause__ is not None


def test_it_keeps_the_contract(serializer: JSONSerializer) -> None:
    check_serializer(
        serializer,
        [None, 0, -1.5, "", "two\nlines\r\n", "é😀\u2028", [[]], {"a": [None, True, {"b": "c"}]}],
        unserializable=[object(), NAN, 2**53, "\ud800", circular, {(): 1}],
        damaged=[b"{", b"", b"NaN"],
    )


def test_without_orjson_installed_the_module_stands_on_the_standard_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "orjson", None)
    spec = importlib.util.spec_from_file_location("json_without_orjson", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    bare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bare)
    assert bare.orjson is None
    serializer = bare.JSONSerializer()
    assert serializer.loads(serializer.dumps({"a": np.array([1.5])})) == {"a": [1.5]}
