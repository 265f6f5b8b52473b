import decimal
import enum
import pathlib
import uuid
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest

from tornado_sse.serializers.jsonable import INTEGERS, NotJSONError, jsonable


class Color(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Name(str):
    pass


class Count(int):
    pass


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (None, None),
        (True, True),
        (2**53 - 1, 2**53 - 1),
        (1.5, 1.5),
        ("é", "é"),
        (Name("n"), "n"),
        (Count(3), 3),
        (np.float64(1.5), 1.5),
        (Color.PAIR, [1, 2]),
        ({"a": (1, {2})}, {"a": [1, [2]]}),
        ({None: 1, True: 2, False: 3}, {"null": 1, "true": 2, "false": 3}),
        ({1: 1, 1.5: 2, Color.RED: 3}, {"1": 1, "1.5": 2, "red": 3}),
        ({2**70: 1}, {str(2**70): 1}),
        ({date(2024, 1, 1): 1}, {"2024-01-01": 1}),
        ({uuid.UUID(int=1): 1}, {"00000000-0000-0000-0000-000000000001": 1}),
        ({np.int64(3): 1, np.float32(1.1): 2, np.str_("s"): 3}, {"3": 1, "1.1": 2, "s": 3}),
        ({decimal.Decimal("1.10"): 1, pathlib.PurePosixPath("a"): 2}, {"1.10": 1, "a": 2}),
        ({1: "first", "1": "last"}, {"1": "last"}),
    ],
)
def test_a_payload_in_what_json_has(payload: object, expected: object) -> None:
    assert jsonable(payload) == expected


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (float("nan"), "nan is no JSON number; send None, or a str"),
        (
            {"a": [1, {"b": float("-inf")}]},
            "-inf is no JSON number; send None, or a str (at payload['a'][1]['b'])",
        ),
        ({float("nan"): 1}, "nan is no JSON number; send None, or a str (at payload[nan])"),
        ([np.array([1.0, np.inf])], "inf is no JSON number; send None, or a str (at payload[0][1])"),
        (["\ud800"], "it holds a lone surrogate, which is not UTF-8 (at payload[0])"),
        ({"\udfff": 1}, "it holds a lone surrogate, which is not UTF-8 (at payload['\\udfff'])"),
        ({(1, 2): 1}, "a key of type tuple, which has no form as text (at payload[(1, 2)])"),
        ({b"k": 1}, "a key of type bytes, which has no form as text (at payload[b'k'])"),
        (
            {Color.PAIR: 1},
            "a key of type tuple, which has no form as text (at payload[<Color.PAIR: (1, 2)>])",
        ),
        (
            {"d": datetime},
            "builtins.type has no plain form; convert it, or teach one to tornado_sse.serializers.plain"
            " (at payload['d'])",
        ),
    ],
)
def test_the_error_says_what_is_wrong_and_where(payload: object, message: str) -> None:
    with pytest.raises(NotJSONError) as caught:
        jsonable(payload)
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [2**53, -(2**53), Count(2**60), np.int64(2**60), 2**70])
def test_integers_that_javascript_would_round_are_refused(value: object) -> None:
    with pytest.raises(NotJSONError, match=r"beyond 2\*\*53 - 1"):
        jsonable(value)


@pytest.mark.parametrize("value", [2**53, -(2**63), 2**64 - 1, np.uint64(2**64 - 1), Count(2**60)])
def test_integers_of_64_bits_are_allowed_on_demand(value: Any) -> None:
    assert jsonable(value, integers=INTEGERS) == int(value)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_integers_of_more_than_64_bits_never_are(value: int) -> None:
    with pytest.raises(NotJSONError, match="64 bits"):
        jsonable(value, integers=INTEGERS)


def test_254_containers_deep_is_fine_and_255_are_not() -> None:
    assert jsonable(nested(254)) == nested(254)
    with pytest.raises(NotJSONError, match="nested more than 254 deep, or contains itself"):
        jsonable(nested(255))


def test_a_circular_object_is_refused_with_a_path_of_bounded_length() -> None:
    payload: dict[str, Any] = {}
    payload["self"] = payload
    with pytest.raises(NotJSONError) as caught:
        jsonable(payload)
    assert "contains itself (at payload['self']['self']" in str(caught.value)
    assert len(str(caught.value)) < 250
    assert len(caught.value.path) == 254


def test_a_hook_that_goes_in_circles_is_refused() -> None:
    with pytest.raises(NotJSONError, match="contains itself"):
        jsonable(object(), default=lambda value: value)


def test_what_the_hook_raises_is_the_cause() -> None:
    error = KeyError("k")

    def hook(value: object) -> object:
        raise error

    with pytest.raises(NotJSONError, match=r"KeyError: 'k' \(at payload\[0\]\)") as caught:
        jsonable([object()], default=hook)
    assert caught.value.__cause__ is error


def test_memory_errors_pass() -> None:
    def hook(value: object) -> object:
        raise MemoryError

    with pytest.raises(MemoryError):
        jsonable([object()], default=hook)
