"""The contract of a serializer, as a check."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from tornado_sse.encoder import encode_event
from tornado_sse.event import Event
from tornado_sse.serializers.base import Serializer, encode, is_name

__all__ = ["check_serializer"]

# How long one loads() of a few damaged bytes may take. Generous: it tells a hang from a slow machine.
_PATIENCE = 10.0


def check_serializer(
    serializer: Serializer,
    samples: Iterable[Any],
    *,
    unserializable: Iterable[Any] = (),
    damaged: Iterable[bytes] = (),
    timeout: float = _PATIENCE,
) -> None:
    """Check that a serializer keeps the contract of `tornado_sse.serializers.Serializer`.

    A plain function that returns or raises AssertionError, so it runs under any test runner::

        def test_my_serializer():
            check_serializer(CBORSerializer(), [None, 1.5, "text", b"bytes", {"a": [1, 2]}],
                             unserializable=[object()], damaged=[b"not base64"])

    Each sample is written, sent through an event, read back, compared, and read back damaged.

    :arg samples: payloads that come back equal; what is written as something else (a tuple that comes
        back as a list) is no sample. They must be comparable, and copyable by `copy.deepcopy`. Give
        one with newlines in it, and the largest and the oddest there are.
    :arg unserializable: payloads that must be refused.
    :arg damaged: data that must be refused. Besides, every sample's data is cut off and altered at
        many places; since the result may happen to be good data (``12`` cut to ``1``), ``loads`` may
        then return anything, but must do so soon, or raise an Exception.
    :arg float timeout: seconds until a ``loads`` of damaged data is said to hang.

    :raises AssertionError: at the first breach, with a sentence that says what to do. What the
        serializer raised, if it should not have, is ``__cause__``.
    """
    samples = list(samples)
    _check_members(serializer)
    if not samples:
        _fail(serializer, "was given no samples; nothing is known about it without one")
    texts = [_check_sample(serializer, sample) for sample in samples]
    for payload in unserializable:
        _check_refusal(serializer, payload)
        if _dumps(serializer, samples[0]).decode() != texts[0]:
            _fail(
                serializer, "writes a good payload differently after it has refused a bad one; keep no state"
            )
    for data in damaged:
        if _outcome(serializer, [data], timeout) is None:
            _fail(serializer, f"loads() returns something for {_show(data)}, which it should refuse")
    for sample, text in zip(samples, texts, strict=True):
        _check_damage(serializer, sample, text.encode(), timeout)


def _check_members(serializer: Serializer) -> None:
    if isinstance(serializer, type):
        _fail(serializer, "is a class; check an instance of it")
    for member in ("name", "codec", "dumps", "loads"):
        if not hasattr(serializer, member):
            _fail(serializer, f"has no {member}; see tornado_sse.serializers.Serializer")
    if not is_name(serializer.name):
        _fail(serializer, f"has the name {serializer.name!r}; use up to 64 letters, digits, . _ + and -")
    if serializer.codec is not None and not is_name(serializer.codec):
        _fail(
            serializer,
            f"has the codec {serializer.codec!r}; use None for plain text, or spell it like a name",
        )


def _check_sample(serializer: Serializer, sample: Any) -> str:
    before = copy.deepcopy(sample)
    data = _dumps(serializer, sample)
    if not _equal(serializer, sample, before):
        _fail(
            serializer, f"dumps() changes its payload: {_show(before)} became {_show(sample)}; work on a copy"
        )
    if _dumps(serializer, sample) != data:
        _fail(serializer, f"dumps() returns other bytes the second time for {_show(sample)}; keep no state")
    text = encode(serializer, sample)
    sent = _over_the_wire(serializer, text)
    for way, given in (("", text), (" after a trip through an event", sent)):
        try:
            result = serializer.loads(given.encode())
        except Exception as error:
            message = f"loads() can't read back {_show(sample)}{way}{_blame_newlines(text, way)}"
            raise AssertionError(f"{_name(serializer)} {message}") from error
        if not _equal(serializer, result, sample):
            _fail(
                serializer,
                f"reads back {_show(sample)}{way} as {_show(result)}{_blame_newlines(text, way)}",
            )
    return text


def _over_the_wire(serializer: Serializer, text: str) -> str:
    """Return what a reader gets of an event's data (HTML, section 9.2.6)."""
    lines = encode_event(Event(text, codec=serializer.codec)).decode().split("\n")
    return "\n".join(line.removeprefix("data: ") for line in lines if line.startswith("data: "))


def _blame_newlines(text: str, way: str) -> str:
    if way and "\r" in text:
        return "; its data holds CR, and a reader gets LF for CR and CR LF: write LF, or something without"
    return ""


def _check_refusal(serializer: Serializer, payload: Any) -> None:
    try:
        data = serializer.dumps(payload)
    except Exception:
        return
    except BaseException as error:
        message = (
            f"raises {type(error).__name__} for {_show(payload)}, which is no Exception and would end more"
        )
        raise AssertionError(
            f"{_name(serializer)} {message} than this write; raise TypeError or ValueError"
        ) from error
    _fail(serializer, f"writes {_show(payload)} as {_show(data)}; it should raise TypeError or ValueError")


def _check_damage(serializer: Serializer, sample: Any, data: bytes, timeout: float) -> None:
    if _outcome(serializer, [data[:1] + b"\xff" + data[1:]], timeout) is None:
        _fail(serializer, "loads() accepts bytes that are not UTF-8; decode() strictly")
    _outcome(serializer, list(_damage(data)), timeout)
    if not _equal(serializer, serializer.loads(data), sample):
        _fail(serializer, f"reads back {_show(sample)} differently after damaged data; keep no state")


def _damage(data: bytes) -> Iterator[bytes]:
    yield b""
    yield data + data
    # ASCII only, so that the data stays UTF-8 and gets past the first check.
    places = range(0, len(data), max(1, len(data) // 100))
    for place in places:
        yield data[:place]
        for byte in b"\x00A9~[":
            yield data[:place] + bytes([byte]) + data[place + 1 :]


def _outcome(serializer: Serializer, inputs: Sequence[bytes], timeout: float) -> Exception | None:
    """Return what the last of these calls of ``loads`` raised; fail if any hangs or raises no Exception."""
    outcome: list[BaseException | None] = []

    def run() -> None:
        for data in inputs:
            try:
                serializer.loads(data)
            except BaseException as error:
                outcome.append(error)
            else:
                outcome.append(None)

    # A daemon, so that a loads() that never returns doesn't keep the tests' process alive.
    thread = threading.Thread(target=run, name="check_serializer", daemon=True)
    thread.start()
    done = -1
    while thread.is_alive() and len(outcome) > done:
        done = len(outcome)
        thread.join(timeout)
    if thread.is_alive():
        _fail(
            serializer,
            f"loads() hangs at {_show(inputs[len(outcome)])}; bound what it does by the data's length",
        )
    for data, error in zip(inputs, outcome, strict=True):
        if error is not None and not isinstance(error, Exception):
            message = f"loads() raises {type(error).__name__} for {_show(data)}; raise ValueError"
            raise AssertionError(f"{_name(serializer)} {message}") from error
    last = outcome[-1]
    return last if isinstance(last, Exception) else None


def _dumps(serializer: Serializer, payload: Any) -> bytes:
    try:
        data = serializer.dumps(payload)
    except Exception as error:
        message = f"dumps() can't write the sample {_show(payload)}"
        raise AssertionError(f"{_name(serializer)} {message}") from error
    if not isinstance(data, bytes):
        _fail(serializer, f"dumps() returns {type(data).__name__}; return bytes, as str.encode() does")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        message = f"dumps() returns bytes that are not UTF-8 for {_show(payload)}; use base64, for example"
        raise AssertionError(f"{_name(serializer)} {message}") from error
    return data


def _equal(serializer: Serializer, one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception as error:
        message = f"was given a sample that can't be compared by ==: {_show(other)}; give another"
        raise AssertionError(f"{_name(serializer)} {message}") from error


def _show(value: object) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__} without a repr"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _name(serializer: object) -> str:
    name = getattr(serializer, "name", None)
    return f"serializer {name!r}" if isinstance(name, str) else f"{serializer!r}"


def _fail(serializer: object, message: str) -> NoReturn:
    raise AssertionError(f"{_name(serializer)} {message}")
