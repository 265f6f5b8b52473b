"""Bytes, as base64 on one line."""

from __future__ import annotations

import re
from numbers import Number
from typing import Any

from tornado_sse.errors import DecodeError, EncodeError
from tornado_sse.serializers.base import from_base64, to_base64

__all__ = ["BinarySerializer"]

# In the struct-like format of a memoryview, `:name:` follows a field, and O is a pointer to an object.
_FIELD_NAME = re.compile(r":[^:]*:")


class BinarySerializer:
    """Anything bytes-like: bytes, memoryview, array, numpy arrays; or a type with ``__bytes__``."""

    name = "binary"
    codec = "binary"

    def dumps(self, payload: Any) -> bytes:
        """Return the payload's bytes as base64; those of a view or an array in C order.

        :raises EncodeError: for a str, which needs an encoding; for numbers (``bytes(5)`` is five
            zeros, and a numpy scalar is its memory); for arrays of objects, whose bytes are addresses;
            and for all that has no bytes.
        :raises Exception: what the payload's ``__bytes__`` raises.
        """
        if isinstance(payload, bytes):
            return to_base64(payload)
        return to_base64(self._bytes(payload))

    def loads(self, data: bytes) -> bytes:
        """Return the bytes.

        :raises DecodeError: if the data is anything but base64 on one line with its padding.
        """
        try:
            return from_base64(data)
        except ValueError as error:
            raise DecodeError(self.name, str(error)) from error

    def _bytes(self, payload: Any) -> bytes:
        if isinstance(payload, str):
            raise EncodeError(self.name, "it is str; encode() it, so that the encoding is known")
        if isinstance(payload, Number):
            raise EncodeError(self.name, f"a number ({type(payload).__name__}) has no bytes of its own")
        try:
            view = memoryview(payload)
        except TypeError:
            if hasattr(type(payload), "__bytes__"):
                return bytes(payload)
            raise EncodeError(
                self.name, f"{type(payload).__name__} is neither bytes-like nor has it __bytes__"
            ) from None
        if "O" in _FIELD_NAME.sub("", view.format):
            raise EncodeError(self.name, "an array of objects has no bytes but their addresses")
        return view.tobytes()
