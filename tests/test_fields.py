from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from tornado_sse import EncodeError, InvalidEventError
from tornado_sse.fields import float_text, id_of, int_text, milliseconds, utf8_text


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (id_of(0), "0"),
        (id_of("a b-ä…"), "a b-ä…"),
        (id_of(""), ""),
        (id_of("x" * 1024), "x" * 1024),
        (milliseconds(0), 0),
        (milliseconds(2.5), 2500),
        (milliseconds(0.0004), 0),
        (utf8_text("ä\n".encode()), "ä\n"),
        (utf8_text(bytearray(b"x")), "x"),
        (int_text(-(10**30)), "-1" + "0" * 30),
        (float_text(0.1, None), "0.1"),
        (float_text(1e22, None), "1e+22"),
        (float_text(-0.0, None), "-0.0"),
        (float_text(5e-324, None), "5e-324"),
        (float_text(2, None), "2.0"),
        (float_text(math.pi, 0), "3"),
        (float_text(math.pi, 5), "3.14159"),
    ],
)
def test_what_a_write_call_says_becomes_this(made: object, expected: object) -> None:
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize("number", [0.1, 1 / 3, 1e300, 123456789.123456789])
def test_a_float_reads_back_as_the_same(number: float) -> None:
    assert float(float_text(number, None)) == number


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: id_of(True), InvalidEventError),
        (lambda: id_of(1.0), InvalidEventError),
        (lambda: id_of("a\n"), InvalidEventError),
        (lambda: id_of("a\x7f"), InvalidEventError),
        (lambda: id_of(" a"), InvalidEventError),
        (lambda: id_of("a "), InvalidEventError),
        (lambda: id_of("x" * 1025), InvalidEventError),
        (lambda: id_of("7~final"), InvalidEventError),
        (lambda: id_of(10**5000), InvalidEventError),
        (lambda: milliseconds(-0.1), InvalidEventError),
        (lambda: milliseconds(math.inf), InvalidEventError),
        (lambda: milliseconds(math.nan), InvalidEventError),
        (lambda: milliseconds(True), InvalidEventError),
        (lambda: utf8_text(b"\xff"), EncodeError),
        (lambda: utf8_text("x"), EncodeError),  # type: ignore[arg-type]
        (lambda: int_text(1.0), EncodeError),  # type: ignore[arg-type]
        (lambda: int_text(True), EncodeError),
        (lambda: int_text(10**5000), EncodeError),
        (lambda: float_text(math.nan, None), EncodeError),
        (lambda: float_text(-math.inf, 2), EncodeError),
        (lambda: float_text("1", None), EncodeError),  # type: ignore[arg-type]
    ],
)
def test_what_can_not_be_one_is_refused(make: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        make()
