"""JSON: the default serializer, decided on purpose where Python and JSON part.

- Integers beyond ±(2**53 - 1) are refused, since ``JSON.parse`` rounds them without a word: send them
  as str, use ``serializer="msgpack"``, or register ``JSONSerializer(strict_integers=False)``.
- NaN and the infinities are refused: JSON has none. (orjson writes ``null`` for them, and the standard
  library a bare ``NaN`` at which ``JSON.parse`` fails.)
- Keys that are not str are written as text, an integer of any size, a date, a UUID and the like
  included; a tuple or bytes as a key is refused.
- What a rich object becomes is said in `tornado_sse.serializers.plain`.

orjson does the work. Where it has no wheel, the standard library writes the same and costs some ten
times as much.
"""

from __future__ import annotations

import importlib
import json
import math
from types import ModuleType
from typing import Any, NoReturn

from tornado_sse.errors import DecodeError, EncodeError
from tornado_sse.serializers.jsonable import INTEGERS, SAFE_INTEGERS, NotJSONError, jsonable
from tornado_sse.serializers.plain import is_array, plain

__all__ = ["JSONSerializer"]

orjson: ModuleType | None
try:
    orjson = importlib.import_module("orjson")
except ImportError:
    orjson = None


def _for_orjson(value: Any) -> Any:
    if is_array(value) and value.dtype.kind == "f":
        return _floats(value)
    return plain(value)


def _floats(value: Any) -> Any:
    # OPT_SERIALIZE_NUMPY for all would be simpler, but it writes NaN as null and passes integers of any
    # size by OPT_STRICT_INTEGER. Floats are where its speed counts, and here NaN is found for nothing.
    assert orjson is not None
    try:
        whole = value if value.flags.c_contiguous else value.copy(order="C")
        data = orjson.dumps(whole, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        # Another byte order, a longdouble, an array without dimensions, a subclass.
        return plain(value)
    if b"null" in data:
        raise ValueError("an array with NaN or infinity in it, which are no JSON numbers")
    return orjson.Fragment(data)


def _for_proof(value: Any) -> Any:
    # What a Fragment holds is JSON already, and its author's business.
    return None if orjson is not None and type(value) is orjson.Fragment else plain(value)


# orjson gives up at 254 containers within containers, so nothing is circular by then.
_prove_finite = json.JSONEncoder(allow_nan=False, check_circular=False, default=_for_proof).encode

_write = json.JSONEncoder(
    allow_nan=False, check_circular=False, ensure_ascii=False, separators=(",", ":")
).encode


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _parse_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is beyond what a double can hold")
    return value


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_parse_float)


def _read(data: bytes) -> Any:
    value = _decoder.decode(data.decode())
    if b"\\u" in data:
        # An escape may stand for half a surrogate pair, which could never be written again.
        _write(value).encode()
    return value


class JSONSerializer:
    """Payloads as JSON, compact and in UTF-8.

    :arg str name: what a write call says. A second one, with other settings, needs a name of its own;
        what it writes is still marked ``json``, and read as JSON.
    :arg bool strict_integers: refuse integers that JavaScript can't hold. When false, 64 bits are
        allowed, for readers in other languages.
    """

    codec = "json"

    def __init__(self, name: str = "json", *, strict_integers: bool = True) -> None:
        self.name = name
        self._integers = SAFE_INTEGERS if strict_integers else INTEGERS
        self._options = 0
        if orjson is not None:
            self._options = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
            if strict_integers:
                self._options |= orjson.OPT_STRICT_INTEGER

    def dumps(self, payload: Any) -> bytes:
        """Return the payload as JSON.

        :raises EncodeError: if JSON can't hold it; the message says what, and where in the payload.
        """
        if orjson is None:
            return _write(self._jsonable(payload)).encode()
        try:
            data: bytes = orjson.dumps(payload, _for_orjson, self._options)
        except TypeError as error:
            return self._second_try(payload, error)
        # NaN outside of arrays comes out as null. None in a payload is common and innocent, and to let
        # the standard library's C encoder pass over it is the cheapest proof of that.
        if b"null" in data and payload is not None:
            try:
                _prove_finite(payload)
            except Exception:
                self._jsonable(payload)
        return data

    def loads(self, data: bytes) -> Any:
        """Return what a JSON text says.

        :raises DecodeError: if it is not JSON (RFC 8259) in UTF-8: NaN and Infinity are refused, as
            are numbers beyond a double, lone surrogates, a BOM, and nesting deeper than some
            thousands.
        """
        try:
            if orjson is not None:
                return orjson.loads(data)
            return _read(data)
        except (ValueError, RecursionError) as error:
            raise DecodeError(self.name, str(error)) from error

    def _second_try(self, payload: Any, error: TypeError) -> bytes:
        # orjson says neither where the trouble is nor, for a key, what; and it refuses some keys that
        # have an obvious text. It also makes a TypeError of all that its hook raises.
        assert orjson is not None
        cause = error.__cause__
        if isinstance(cause, MemoryError) or (cause is not None and not isinstance(cause, Exception)):
            raise cause
        data: bytes = orjson.dumps(self._jsonable(payload, error), None, self._options)
        return data

    def _jsonable(self, payload: Any, error: TypeError | None = None) -> Any:
        try:
            return jsonable(payload, integers=self._integers, default=_for_proof)
        except (NotJSONError, RecursionError) as refusal:
            raise EncodeError(self.name, str(refusal)) from (refusal.__cause__ or error or refusal)
