import array
import collections
import dataclasses
import decimal
import enum
import functools
import ipaddress
import pathlib
import types
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import msgspec
import numpy as np
import pydantic
import pytest

from tests.support import short
from tornado_sse.serializers.plain import is_array, plain

Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Account:
    name: str
    _secret: str = "hidden"
    holders: list[Any] = dataclasses.field(default_factory=list)

    @functools.cached_property
    def computed(self) -> int:
        return 5


@dataclasses.dataclass(slots=True)
class Slotted:
    name: str
    _secret: str = "hidden"


@attrs.define
class Attrs:
    name: str
    _secret: str = "hidden"


class Struct(msgspec.Struct, rename="camel"):
    first_name: str
    second_name: str | msgspec.UnsetType = msgspec.UNSET


class Tagged(msgspec.Struct, tag="circle", tag_field="kind"):
    radius: int


class Model(pydantic.BaseModel):
    name: str
    when: datetime


class Color(enum.Enum):
    RED = "red"


class Celsius(float):
    pass


class Later(datetime):
    pass


def offset(**parts: float) -> timezone:
    return timezone(timedelta(**parts))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2024, 2, 29, 1, 2, 3), "2024-02-29T01:02:03"),
        (datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC), "2024-02-29T01:02:03.000004Z"),
        (datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/London")), "2024-01-01T00:00:00Z"),
        (datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/London")), "2024-07-01T00:00:00+01:00"),
        (datetime(2024, 1, 1, tzinfo=offset(hours=-5, minutes=-30)), "2024-01-01T00:00:00-05:30"),
        (datetime(1900, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam")), "1900-01-01T00:00:00+00:20"),
        (datetime(1900, 1, 1, tzinfo=offset(seconds=-30)), "1900-01-01T00:00:00-00:01"),
        (datetime(1900, 1, 1, tzinfo=offset(minutes=59, seconds=50)), "1900-01-01T00:00:00+01:00"),
        (datetime(1, 1, 1), "0001-01-01T00:00:00"),
        (Later(2024, 1, 1, tzinfo=UTC), "2024-01-01T00:00:00Z"),
        (date(2024, 2, 29), "2024-02-29"),
        (time(1, 2, 3), "01:02:03"),
        (timedelta(days=1, microseconds=1), 86400.000001),
        (Color.RED, "red"),
        (Decimal("0.10"), "0.10"),
        (Decimal("NaN"), "NaN"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (ipaddress.ip_address("127.0.0.1"), "127.0.0.1"),
        (ipaddress.ip_network("::/64"), "::/64"),
        (ipaddress.ip_interface("10.0.0.1/8"), "10.0.0.1/8"),
        (b"\x00\xff", "AP8="),
        (bytearray(b"a"), "YQ=="),
        (memoryview(b"abcd")[::2], "YWM="),
        ({1}, [1]),
        (frozenset({1}), [1]),
        ({"a": 1}.keys(), ["a"]),
        ((1, 2), [1, 2]),
        (Point(1, 2), [1, 2]),
        (collections.deque([1]), [1]),
        (range(2), [0, 1]),
        (array.array("d", [1.5]), [1.5]),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (collections.ChainMap({"a": 1}), {"a": 1}),
        (Account("ann"), {"name": "ann", "holders": []}),
        (Slotted("ann"), {"name": "ann"}),
        (Attrs("ann"), {"name": "ann"}),
        (Struct("ann"), {"firstName": "ann"}),
        (Struct("ann", "lee"), {"firstName": "ann", "secondName": "lee"}),
        (Tagged(3), {"kind": "circle", "radius": 3}),
        (Model(name="ann", when=datetime(2024, 1, 1)), {"name": "ann", "when": "2024-01-01T00:00:00"}),
        (Celsius(1.5), 1.5),
        ("text", "text"),
    ],
)
def test_a_rich_object_has_one_plain_form(value: object, expected: object) -> None:
    result = plain(value)
    assert result == expected
    assert type(result) is type(expected)


def test_a_cached_property_is_an_attribute_the_instance_holds() -> None:
    account = Account("ann")
    assert account.computed == 5
    assert plain(account) == {"name": "ann", "holders": [], "computed": 5}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int8(5), 5),
        (np.uint64(2**63), 2**63),
        (np.bool_(True), True),
        (np.float64(1.1), 1.1),
        (np.float32(1.1), 1.1),
        (np.float16(0.1), 0.099975586),
        (np.longdouble(1.5), 1.5),
        (np.datetime64("2024-01-01"), datetime(2024, 1, 1)),
        (np.timedelta64(1500, "ms"), timedelta(seconds=1.5)),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([[1, 2], [3, 4]]).T, [[1, 3], [2, 4]]),
        (np.arange(6)[::2], [0, 2, 4]),
        (np.array([1.1, 2.5], dtype="f4"), [1.1, 2.5]),
        (np.array([1.1], dtype=">f4"), [1.1]),
        (np.array([1.5], dtype=np.longdouble), [1.5]),
        (np.array(["a"]), ["a"]),
        (np.array(5), 5),
        (np.zeros((2, 0)), [[], []]),
        (np.array([[1, None]], dtype=object), [[1, None]]),
        (np.ma.array([1, 2], mask=[False, True]), [1, None]),
        (np.array(["2024-01-01"], dtype="M8[D]"), [datetime(2024, 1, 1)]),
    ],
)
def test_numpy_becomes_what_python_has(value: Any, expected: object) -> None:
    assert is_array(value)
    result = plain(value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    "value",
    [
        np.datetime64("NaT", "s"),
        np.timedelta64("NaT", "s"),
        np.datetime64("10000-01-01"),
        np.array(["NaT"], "M8[s]"),
    ],
)
def test_a_numpy_date_that_datetime_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="NaT, or outside"):
        plain(value)


@pytest.mark.parametrize(
    "value", [object(), Account, Color, Model, len, 1j, (x for x in ()), Exception("x")], ids=short
)
def test_what_has_no_plain_form_is_a_type_error_and_never_none(value: object) -> None:
    with pytest.raises(TypeError, match="has no plain form"):
        plain(value)


def test_the_error_names_the_type_in_full() -> None:
    with pytest.raises(TypeError, match=r"decimal\.Context has no plain form"):
        plain(decimal.Context())


@pytest.mark.parametrize("value", [time(1, tzinfo=UTC), 2**64])
def test_what_would_lose_its_meaning_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        plain(value)


def test_an_object_that_only_resembles_an_array_is_none() -> None:
    class Image:
        __array_interface__ = {}  # noqa: RUF012

    assert not is_array(Image())
    with pytest.raises(TypeError):
        plain(Image())


def test_it_can_be_taught_a_type() -> None:
    class Money:
        pass

    def form(value: Money) -> str:
        return "10 EUR"

    plain.register(Money, form)
    assert plain(Money()) == "10 EUR"


def test_what_a_conversion_raises_passes() -> None:
    class Broken:
        def model_dump(self, mode: str) -> Any:
            raise KeyError(mode)

    with pytest.raises(KeyError):
        plain(Broken())
