"""From the arguments of a write call to the fields of an event: milliseconds, ids, numbers as text."""

from __future__ import annotations

import math
import re
from typing import Final

from tornado_sse.errors import EncodeError, InvalidEventError
from tornado_sse.negotiation import FINAL, is_final

__all__ = ["float_text", "id_of", "int_text", "milliseconds", "utf8_text"]

# An id comes back in a header, where blanks around it are dropped, control characters make the request a
# bad one, and length is bounded along the way.
_COMES_BACK: Final = re.compile(r"(?![ \t])[^\0-\x1f\x7f]{0,1024}(?<![ \t])").fullmatch


_TOO_LONG: Final = 10**1000


def id_of(value: object) -> str:
    """Return an id that comes back as it is.

    :raises InvalidEventError: if it would not, or is neither str nor int.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= _TOO_LONG:
            raise InvalidEventError("id", "a number", "must have at most 1,000 digits")
        return str(int(value))
    if not isinstance(value, str):
        raise InvalidEventError("id", value, "must be str or int")
    if not _COMES_BACK(value):
        raise InvalidEventError(
            "id", value, "must have at most 1,024 characters, no control characters, and no blank at its ends"
        )
    if is_final(value):
        raise InvalidEventError("id", value, f"must not end with {FINAL!r}, which finish() uses")
    return value


def milliseconds(seconds: float) -> int:
    """Return a reconnection time as it is on the wire.

    :raises InvalidEventError: if it is no number of seconds, zero or more.
    """
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or not 0 <= seconds < math.inf:
        raise InvalidEventError("retry", seconds, "must be a number of seconds, zero or more")
    return round(seconds * 1000)


def utf8_text(data: bytes) -> str:
    """Return bytes that are text.

    :raises EncodeError: if they are not UTF-8.
    """
    try:
        return str(data, "utf-8")
    except (TypeError, UnicodeDecodeError) as error:
        raise EncodeError(
            "bytes", f"{error}; write_binary() takes any bytes, write_text() takes str"
        ) from error


def int_text(value: int) -> str:
    """Return an integer in decimal.

    :raises EncodeError: if it is no int.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise EncodeError("int", f"{value!r} is no int")
    try:
        return str(int(value))
    except ValueError as error:  # Python's limit on digits, which bounds what a conversion may cost
        raise EncodeError("int", str(error)) from error


def float_text(value: float, decimals: int | None) -> str:
    """Return a number in the shortest form that reads back as the same, or with so many decimals.

    :raises EncodeError: if it is no number, or not a finite one.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise EncodeError("float", f"{value!r} is no finite number")
    return repr(float(value)) if decimals is None else f"{value:.{decimals}f}"
