"""CBOR (RFC 8949) for tornado-sse, as base64 on one line.

CBOR keeps what JSON flattens: bytes, sets, UUIDs, Decimals, aware datetimes and integers beyond 64 bits
come back as what they were. The rest becomes what it becomes in all of tornado-sse's serializers
(`tornado_sse.serializers.plain`): a naive datetime is text, a dataclass a map, an array a list.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from typing import Any

import cbor2

from tornado_sse.errors import DecodeError
from tornado_sse.serializers import from_base64, plain, to_base64

__all__ = ["CBORSerializer"]

# To make a Decimal or a Fraction of an integer takes time that grows with the square of its length: one
# of a megabyte keeps the event loop busy for a minute and a half. 2 KiB are 4,900 digits.
_LONGEST_INTEGER = 2048


class CBORSerializer:
    """Payloads as CBOR.

    :arg bool strict_keys: refuse data with keys, or elements of sets, that are neither text nor bytes.
        Numbers and UUIDs can be chosen so that their hashes collide, and a map of n such keys takes a
        time of n². Set it where strangers send long events.
    """

    name = "cbor"
    codec = "cbor"

    def __init__(self, *, strict_keys: bool = False) -> None:
        self._strict_keys = strict_keys

    def dumps(self, payload: Any) -> bytes:
        """Return the payload as CBOR in base64.

        Nesting of more than 400 and integers of more than 2 KiB are written, for other readers; our
        own refuses them.

        :raises TypeError: for what has no plain form.
        :raises ValueError: for lone surrogates and circular objects.
        """
        return to_base64(cbor2.dumps(payload, default=_rich, encoders=_ENCODERS))

    def loads(self, data: bytes) -> Any:
        """Return the payload. Tags that cbor2 doesn't know are `cbor2.CBORTag`.

        :raises DecodeError: if the data is damaged or hostile: nesting of more than 400, a length
            beyond the bytes that are there, integers of more than 2 KiB, anything after the first
            value, two equal keys, or a tag that builds more than data.
        """
        try:
            source = io.BytesIO(from_base64(data))
            payload = cbor2.CBORDecoder(
                source,
                semantic_decoders=_DECODERS,
                allow_duplicate_keys=False,
                strict_hashable_types=self._strict_keys,
            ).decode()
            if source.read(1):
                raise ValueError("something follows the value")
        except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
            reason = f"{error} ({error.__cause__})" if error.__cause__ else str(error)
            raise DecodeError(self.name, reason) from error
        return payload


def _rich(encoder: cbor2.CBOREncoder, value: Any) -> None:
    encoder.encode(plain(value))


def _datetime(encoder: cbor2.CBOREncoder, value: datetime) -> None:
    # Tag 0 needs an offset (RFC 8949, section 3.4.1), and to invent one would change the time.
    if value.tzinfo is None:
        encoder.encode(plain(value))
    else:
        encoder.encode_datetime(value)


def _view(encoder: cbor2.CBOREncoder, value: memoryview) -> None:
    # To cbor2 it is a sequence of numbers.
    encoder.encode_bytes(value.tobytes())


def _integer(value: bytes, immutable: bool) -> int:
    if len(value) > _LONGEST_INTEGER:
        raise ValueError(f"an integer of {len(value):,} bytes")
    return int.from_bytes(value, "big")


def _negative_integer(value: bytes, immutable: bool) -> int:
    return -1 - _integer(value, immutable)


def _refuse(value: Any, immutable: bool) -> Any:
    raise ValueError("a tag that builds more than data")


_ENCODERS: dict[type, Callable[[cbor2.CBOREncoder, Any], None]] = {datetime: _datetime, memoryview: _view}

# 28 and 29 share references, and so make circular payloads; 35 compiles a regular expression, and 36
# parses a mail.
_DECODERS = {
    2: _integer,
    3: _negative_integer,
    28: _refuse,
    29: _refuse,
    35: _refuse,
    36: _refuse,
}
