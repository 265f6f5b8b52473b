import time
from collections.abc import Callable
from typing import Any

import pytest

from tornado_sse.serializers import get_serializer
from tornado_sse.testing import check_serializer


class Good:
    """A serializer of str, with spaces escaped so that there is something to decode."""

    name: Any = "good"
    codec: Any = "good"

    def dumps(self, payload: Any) -> Any:
        if not isinstance(payload, str):
            raise TypeError("only str")
        return payload.replace("%", "%p").replace(" ", "%s").encode()

    def loads(self, data: Any) -> Any:
        return data.decode().replace("%s", " ").replace("%p", "%")


def variant(**members: Any) -> Any:
    """Return a serializer that differs from the good one in these members."""
    return type("Variant", (Good,), members)()


def dumps(function: Callable[[Any], Any]) -> Any:
    return variant(dumps=lambda self, payload: function(payload))


def loads(function: Callable[[bytes], Any]) -> Any:
    return variant(loads=lambda self, data: function(data))


def strict(function: Callable[[str], Any]) -> Any:
    return loads(lambda data: function(data.decode()))


class Counting(Good):
    """Other bytes each time."""

    count = 0

    def dumps(self, payload: Any) -> Any:
        self.count += 1
        return b"%d" % self.count

    def loads(self, data: Any) -> Any:
        return data.decode() and "sample"


class Growing(Good):
    """A serializer that changes its payload."""

    def dumps(self, payload: Any) -> Any:
        payload.append(1)
        return b""


class Offended(Good):
    """A serializer that is not the same after it has refused something."""

    mark = b""

    def dumps(self, payload: Any) -> Any:
        if not isinstance(payload, str):
            self.mark = b"!"
            raise TypeError
        return payload.encode() + self.mark


class Confused(Good):
    """A serializer that reads nothing right once it has read something wrong."""

    broken = False

    def loads(self, data: Any) -> Any:
        if data.decode() != "sample":
            self.broken = True
            raise ValueError
        return "broken" if self.broken else "sample"


class Incomparable:
    """What can't be compared, as numpy's arrays can't."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


def raising(error: BaseException) -> Callable[[Any], Any]:
    def function(value: Any) -> Any:
        raise error

    return function


def hang(data: bytes) -> Any:
    if data.decode() != "sample":
        time.sleep(5)
    return "sample"


def exit_on_damage(data: bytes) -> Any:
    if data.decode() != "sample":
        raise SystemExit
    return "sample"


def test_a_good_serializer_passes() -> None:
    check_serializer(Good(), ["", "a b", "two\nlines", "100 %s"], unserializable=[1, None], damaged=[b"\xff"])


def test_samples_may_come_from_generators() -> None:
    check_serializer(
        Good(),
        (text for text in ["a", "b"]),
        unserializable=(each for each in [1, None]),
        damaged=iter([b"\xff"]),
    )


def test_plain_text_with_carriage_returns_is_told_what_a_reader_gets() -> None:
    check_serializer(get_serializer("text"), ["a\nb"])
    with pytest.raises(AssertionError, match="holds CR, and a reader gets LF for CR and CR LF"):
        check_serializer(get_serializer("text"), ["a\rb"])


def test_carriage_returns_that_do_not_matter_are_fine() -> None:
    serializer = variant(
        dumps=lambda self, payload: b"[\r\n]", loads=lambda self, data: data.decode().split()
    )
    check_serializer(serializer, [["[", "]"]])


@pytest.mark.parametrize(
    ("serializer", "message"),
    [
        (Good, "is a class; check an instance of it"),
        (object(), "has no name; see tornado_sse.serializers.Serializer"),
        (variant(name="a b"), "serializer 'a b' has the name 'a b'; use up to 64 letters"),
        (variant(codec="a\n"), r"serializer 'good' has the codec 'a\\n'; use None"),
        (dumps(raising(KeyError("k"))), r"dumps\(\) can't write the sample 'sample'"),
        (dumps(lambda payload: payload), r"dumps\(\) returns str; return bytes"),
        (dumps(lambda payload: b"\xff"), r"dumps\(\) returns bytes that are not UTF-8 for 'sample'"),
        (Counting(), r"dumps\(\) returns other bytes the second time for 'sample'; keep no state"),
        (loads(raising(KeyError("k"))), r"loads\(\) can't read back 'sample'$"),
        (strict(str.upper), "reads back 'sample' as 'SAMPLE'$"),
        (loads(lambda data: data.decode(errors="replace")), r"loads\(\) accepts bytes that are not UTF-8"),
        (Confused(), "reads back 'sample' differently after damaged data; keep no state"),
        (loads(exit_on_damage), r"loads\(\) raises SystemExit for b''; raise ValueError"),
    ],
)
def test_a_breach_of_the_contract_is_told_in_a_sentence(serializer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_serializer(serializer, ["sample"])


def test_a_loads_that_hangs_is_told_and_does_not_hang_the_check() -> None:
    with pytest.raises(AssertionError, match=r"loads\(\) hangs at b''"):
        check_serializer(loads(hang), ["sample"], timeout=0.05)


def test_a_loads_that_is_slow_on_the_whole_is_not_said_to_hang() -> None:
    def slow(data: bytes) -> Any:
        time.sleep(0.002)
        return data.decode()

    check_serializer(loads(slow), ["a" * 100], timeout=0.2)


def test_a_payload_that_is_changed_is_told() -> None:
    with pytest.raises(AssertionError, match=r"changes its payload: \[\] became \[1\]; work on a copy"):
        check_serializer(Growing(), [[]])


def test_something_written_that_should_be_refused_is_told() -> None:
    with pytest.raises(AssertionError, match=r"writes 'x{3}' as b'x{3}'; it should raise TypeError"):
        check_serializer(Good(), ["sample"], unserializable=["xxx"])


def test_a_refusal_that_is_no_exception_is_told() -> None:
    def refuse(payload: Any) -> bytes:
        if payload is None:
            raise KeyboardInterrupt
        return payload.encode()

    serializer = variant(dumps=lambda self, payload: refuse(payload))
    with pytest.raises(AssertionError, match="raises KeyboardInterrupt for None, which is no Exception"):
        check_serializer(serializer, ["sample"], unserializable=[None])


def test_a_refusal_that_leaves_traces_is_told() -> None:
    with pytest.raises(AssertionError, match="differently after it has refused a bad one"):
        check_serializer(Offended(), ["sample"], unserializable=[None])


def test_damage_that_is_accepted_is_told() -> None:
    with pytest.raises(
        AssertionError, match=r"loads\(\) returns something for b'abc', which it should refuse"
    ):
        check_serializer(Good(), ["sample"], damaged=[b"abc"])


def test_without_samples_nothing_is_known() -> None:
    with pytest.raises(AssertionError, match="no samples"):
        check_serializer(Good(), [])


def test_a_sample_that_cannot_be_compared_is_told() -> None:
    with pytest.raises(AssertionError, match=r"can't be compared by ==.*; give another") as caught:
        check_serializer(dumps(lambda payload: b"data"), [Incomparable()])
    assert isinstance(caught.value.__cause__, ValueError)


def test_what_is_shown_of_a_payload_is_bounded() -> None:
    with pytest.raises(AssertionError) as caught:
        check_serializer(strict(str.upper), ["a" * 10_000])
    assert len(str(caught.value)) < 300


def test_a_payload_without_a_repr_can_be_told_of() -> None:
    class Unspeakable:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    with pytest.raises(AssertionError, match="can't write the sample a Unspeakable without a repr"):
        check_serializer(Good(), [Unspeakable()])
