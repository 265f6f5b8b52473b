"""What JSON can hold, and what of a payload it can't.

`jsonable` rebuilds a payload out of nothing but what JSON has, by the rules that orjson applies on its
way (and a few that it leaves out). The json serializer needs it three times: to say *where* in a
payload the trouble is, to write keys that orjson refuses, and to write at all where there is no orjson.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from tornado_sse.serializers.base import reason_of
from tornado_sse.serializers.plain import is_array, plain

__all__ = ["INTEGERS", "SAFE_INTEGERS", "NotJSONError", "jsonable"]

# JSON.parse reads every number as a double, and from 2**53 on doubles no longer tell neighbours apart
# (ECMA-262, Number.MAX_SAFE_INTEGER). RFC 8259, section 6, draws the same line for interoperability.
SAFE_INTEGERS = range(-(2**53) + 1, 2**53)

# What 64 bits hold, signed or unsigned: as far as orjson and most readers go.
INTEGERS = range(-(2**63), 2**64)

# Containers within containers; orjson's own limit. Beyond it the usual reason is an object that
# contains itself.
_DEPTH = 254

# Besides str, int, float, bool, None and Enum: what makes a sensible key. bytes are not among them: a key
# in base64 would surprise more often than it helped.
_KEYS = (date, time, timedelta, Decimal, UUID, PurePath)


class NotJSONError(ValueError):
    """Something in a payload that JSON can't hold.

    ``reason`` says what it is, and ``path`` where: the steps from the payload down to it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    def __str__(self) -> str:
        path = "".join(self.path)
        if len(path) > 120:
            path = f"{path[:80]}…{path[-39:]}"
        return f"{self.reason} (at payload{path})" if path else self.reason


def jsonable(payload: Any, *, integers: range = SAFE_INTEGERS, default: Callable[[Any], Any] = plain) -> Any:
    """Return the payload in dicts with str keys, lists, str, int, finite floats, booleans and None.

    :arg range integers: those that are allowed, `SAFE_INTEGERS` or `INTEGERS`.
    :arg default: what is asked for one step towards plain types, as by the encoders.

    :raises NotJSONError: at the first thing that does not fit, with what `default` raised, if it did,
        as ``__cause__``. Keys are text, so an integer key may be of any size; two keys with the same
        text are one, the last.
    """
    return _Walk(integers, default).value(payload, _DEPTH)


class _Walk:
    def __init__(self, integers: range, default: Callable[[Any], Any]) -> None:
        self.integers = integers
        self.default = default

    def value(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        # Before what an Enum may be besides: a member stands for its value.
        if isinstance(value, Enum):
            return self.value(value.value, depth)
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, int):
            return self.integer(value)
        if isinstance(value, float) and not is_array(value):
            return _finite(float(value))
        if depth == 0:
            raise NotJSONError(f"it is nested more than {_DEPTH} deep, or contains itself")
        if isinstance(value, dict):
            return self.mapping(value, depth - 1)
        if isinstance(value, list) or type(value) is tuple:
            return self.sequence(value, depth - 1)
        return self.value(self.step(value), depth - 1)

    def mapping(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        result = {}
        for key, item in value.items():
            try:
                result[self.key(key)] = self.value(item, depth)
            except NotJSONError as error:
                error.path.insert(0, f"[{reprlib.repr(key)}]")
                raise
        return result

    def sequence(self, value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        result = []
        for index, item in enumerate(value):
            try:
                result.append(self.value(item, depth))
            except NotJSONError as error:
                error.path.insert(0, f"[{index}]")
                raise
        return result

    def step(self, value: Any) -> Any:
        try:
            return self.default(value)
        except MemoryError:
            raise
        except Exception as error:
            raise NotJSONError(reason_of(error)) from error

    def integer(self, value: int) -> int:
        # A subclass of int would be sought in the range one by one.
        value = int(value)
        if value in self.integers:
            return value
        if self.integers is SAFE_INTEGERS:
            raise NotJSONError(
                "an integer beyond 2**53 - 1, which JSON.parse would round; send it as str, write it "
                'with serializer="msgpack", or register a JSONSerializer(strict_integers=False)'
            )
        raise NotJSONError("an integer of more than 64 bits; send it as str")

    def key(self, key: Any) -> str:
        if isinstance(key, Enum):
            return self.key(key.value)
        if isinstance(key, str):
            return _text(key)
        if key is None:
            return "null"
        if isinstance(key, bool):
            return "true" if key else "false"
        if isinstance(key, int):
            return int.__repr__(key)
        if isinstance(key, float) and not is_array(key):
            return float.__repr__(_finite(key))
        if isinstance(key, _KEYS) or is_array(key):
            return self.key(self.step(key))
        raise NotJSONError(f"a key of type {type(key).__name__}, which has no form as text")


def _text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise NotJSONError(reason_of(error)) from error
    return value


def _finite(value: float) -> float:
    if math.isfinite(value):
        return value
    raise NotJSONError(f"{value} is no JSON number; send None, or a str")
