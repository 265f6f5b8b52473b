"""MessagePack, as base64 on one line: compact, and with bytes and 64-bit integers.

What MessagePack has no form for becomes what it becomes in JSON (`tornado_sse.serializers.plain`): a
datetime is RFC 3339 text here too. NaN and the infinities are written, for the format has them. Keys
may be anything that a reader can use as a key; JavaScript's and ours read text, numbers, bytes.
"""

from __future__ import annotations

from typing import Any

import msgpack

from tornado_sse.errors import DecodeError
from tornado_sse.serializers.base import from_base64, reason_of, to_base64
from tornado_sse.serializers.plain import plain

__all__ = ["MsgpackSerializer"]


class MsgpackSerializer:
    """Payloads as MessagePack."""

    name = "msgpack"
    codec = "msgpack"

    def dumps(self, payload: Any) -> bytes:
        """Return the payload as MessagePack in base64.

        ``msgpack.ExtType`` and ``msgpack.Timestamp`` are written as what they are.

        :raises ValueError: for integers of more than 64 bits, lone surrogates, and nesting of more than
            1024 or so, circular objects included.
        :raises TypeError: for what has no plain form.
        """
        return to_base64(msgpack.packb(payload, default=plain))

    def loads(self, data: bytes) -> Any:
        """Return the payload. Text is str, binary is bytes, and an array is a list.

        A timestamp (extension -1, which other languages write) is a datetime in UTC, to the
        microsecond; other extensions are `msgpack.ExtType`, and never more than that.

        :raises DecodeError: if the data is damaged, is more than one value, has a key that Python
            can't hash, or is hostile: no declared length is believed beyond the bytes that are there,
            and nesting ends at 1024.
        """
        try:
            return msgpack.unpackb(from_base64(data), raw=False, strict_map_key=False, timestamp=3)
        except (msgpack.UnpackException, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise DecodeError(self.name, reason_of(error)) from error
