"""What a rich Python object is in plain types.

The formats know None, booleans, numbers, text, lists and maps (msgpack and CBOR know bytes too). For
everything else their encoders ask `plain`, one step at a time: what it returns may hold rich objects
again, for which they ask again. So that one answer is given everywhere, and a payload looks the same
whichever serializer a write call names.

===========================================  ==================================================
datetime                                     RFC 3339 text; ``Z`` for UTC, no offset if naive
date, time                                   ISO 8601 text; a time with a timezone is refused
timedelta                                    seconds, as float
Enum                                         its value
Decimal, UUID, Path, IP addresses, networks  text
bytes, bytearray, memoryview                 base64 text, where the format has no bytes
sets, tuples, namedtuples, deque, range, …   a list
mappings other than dict                     a map
dataclass, attrs                             a map of the attributes that don't begin with ``_``
msgspec.Struct                               a map, with msgspec's renamed fields and tags
pydantic models                              ``model_dump(mode="json")``
numpy scalars and arrays                     numbers, text, nested lists
===========================================  ==================================================

Decimal is text because a float would change it. None of the libraries named is imported: an object
is known by what its type has.

Teach it a type of your own, for all serializers at once; it is a `functools.singledispatch`::

    @plain.register
    def _(value: Money) -> str:
        return f"{value.amount} {value.currency}"
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import PurePath
from typing import Any
from uuid import UUID

from tornado_sse.serializers.base import to_base64

__all__ = ["is_array", "plain"]


@functools.singledispatch
def plain(value: Any) -> Any:
    """Return one step from a rich object towards plain types; see the module's table.

    Encoders call it for what they can't write themselves, so a plain value that arrives here is one
    that doesn't fit the format.

    :raises TypeError: for a type that has no plain form. (A hook that returned None instead would
        have every such object written as ``null``.)
    :raises Exception: whatever the object's own conversion raises.
    """
    kind = type(value)
    if is_array(value):
        return _array(value)
    if hasattr(kind, "__dataclass_fields__"):
        return _dataclass(value)
    if hasattr(kind, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(kind, "__struct_fields__"):
        return _struct(value)
    if hasattr(kind, "__attrs_attrs__"):
        return _attributes(value, (attribute.name for attribute in kind.__attrs_attrs__))
    raise TypeError(
        f"{kind.__module__}.{kind.__qualname__} has no plain form; convert it, or teach one to "
        "tornado_sse.serializers.plain"
    )


for _kind in (
    Decimal,
    UUID,
    PurePath,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
):
    plain.register(_kind, str)

plain.register(Set, list)
plain.register(Sequence, list)
plain.register(Mapping, dict)
# Subclasses of float; plain floats never arrive.
plain.register(float, float)
plain.register(timedelta, timedelta.total_seconds)


@plain.register
def _enum(value: Enum) -> Any:
    return value.value


@plain.register
def _integer(value: int) -> Any:
    raise ValueError("an integer of more than 64 bits; send it as str")


@plain.register
def _text(value: str) -> Any:
    # A str is a Sequence, and would otherwise come apart into letters.
    return str(value)


@plain.register(bytes)
@plain.register(bytearray)
@plain.register(memoryview)
def _bytes(value: bytes | bytearray | memoryview) -> str:
    return to_base64(bytes(value)).decode()


@plain.register
def _datetime(value: datetime) -> str:
    text = value.replace(tzinfo=None).isoformat()
    offset = value.utcoffset()
    if offset is None:
        return text
    seconds = int(offset.total_seconds())
    if not seconds:
        return f"{text}Z"
    # RFC 3339 has no seconds in an offset, while local mean times of long ago do: to the nearest minute.
    hours, minutes = divmod((abs(seconds) + 30) // 60, 60)
    return f"{text}{'-' if seconds < 0 else '+'}{hours:02}:{minutes:02}"


@plain.register
def _date(value: date) -> str:
    return value.isoformat()


@plain.register
def _time(value: time) -> str:
    if value.tzinfo is not None:
        raise ValueError("a datetime.time with a timezone, whose offset depends on the day; send a datetime")
    return value.isoformat()


def _dataclass(value: Any) -> dict[str, Any]:
    # What orjson does natively, and it is the fastest road: what the instance itself holds, and for
    # slots the fields. The underscore is taken at its word, that such an attribute is nobody's business.
    if "__slots__" not in vars(type(value)) and hasattr(value, "__dict__"):
        return _attributes(value, vars(value))
    return _attributes(value, (field.name for field in dataclasses.fields(value)))


def _attributes(value: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names if not name.startswith("_")}


def _struct(value: Any) -> dict[str, Any]:
    kind = type(value)
    config = kind.__struct_config__
    result = {} if config.tag is None else {config.tag_field: config.tag}
    for field, name in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
        item = getattr(value, field)
        if type(item).__name__ != "UnsetType":
            result[name] = item
    return result


def is_array(value: object) -> bool:
    """Tell whether a value is a numpy array or scalar."""
    kind = type(value)
    return hasattr(kind, "__array_interface__") and hasattr(kind, "dtype")


def _array(value: Any) -> Any:
    kind, size = value.dtype.kind, value.dtype.itemsize
    if kind in "mM":
        return _moments(value.astype(f"{kind}8[us]"))
    if kind == "f" and size < 8:
        # The shortest decimal that reads back as the same float32 (1.1, not 1.100000023841858).
        value = value.astype("f4").astype("U").astype("f8")
    elif kind == "f" and size > 8:
        # A longdouble has no Python type, and tolist() would return it as it is.
        value = value.astype("f8")
    return value.tolist()


def _moments(value: Any) -> Any:
    # tolist() gives None for NaT, and a bare number of microseconds for what datetime can't hold.
    if not all(isinstance(item, datetime | timedelta) for item in value.ravel().tolist()):
        raise ValueError("a numpy date that is NaT, or outside the years 1 to 9999")
    return value.tolist()
