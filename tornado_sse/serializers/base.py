"""What a serializer is, and the one way to call it.

A serializer turns a payload, any Python object, into the text of an event's ``data``, and back. The
text may hold anything that is UTF-8: newlines are the encoder's business. What is not text by nature
(msgpack, images) makes itself text, usually by base64, and says so with a codec.

`encode` stands between a serializer and the rest of the package: behind it there is text, or one
typed error, whatever a plugin does.
"""

from __future__ import annotations

import binascii
import re
from typing import Any, Protocol, runtime_checkable

from tornado_sse.errors import EncodeError

__all__ = ["Serializer", "encode", "from_base64", "is_name", "reason_of", "to_base64"]

# What an Event accepts as its codec, so that a name always is a possible codec: letters that need no
# quoting in a field, a header or a file name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


@runtime_checkable
class Serializer(Protocol):
    """The contract of a serializer. Nothing needs to be inherited: having the members is enough.

    One instance serves the whole process. It is called on the event loop, so it must not block; and
    it may be called from several threads at once, so it keeps no state between calls.
    `tornado_sse.testing.check_serializer` tests an implementation against all that is said here.
    """

    @property
    def name(self) -> str:
        """What a write call says: ``stream.write(payload, serializer="cbor")``.

        Up to 64 letters, digits, ``.``, ``_``, ``+`` and ``-``, the first a letter or a digit. It must
        not change.
        """
        ...

    @property
    def codec(self) -> str | None:
        """The mark on the wire by which a reader finds a serializer that can read the data.

        None for plain text, which needs no decoding. Spelled like a name, and by custom equal to it:
        a reader who has not registered the codec looks for an installed plugin of that *name*.
        """
        ...

    def dumps(self, payload: Any) -> bytes:
        """Return the payload as UTF-8 text.

        It leaves the payload as it found it, and returns the same bytes for the same payload. CR and
        CR LF in the text reach the reader as LF, as the standard has it.

        :raises Exception: any, if the payload can't be written; TypeError and ValueError are
            customary. Callers of `encode` see an `EncodeError` with it as ``__cause__``. A payload
            must be refused rather than written as something else: the reader could not tell.
        """
        ...

    def loads(self, data: bytes) -> Any:
        """Return the payload that ``dumps`` made this UTF-8 text of.

        The data may come from anyone. Time and memory must stay in proportion to its length, and
        nothing in it may be executed.

        :raises Exception: any, if the data is damaged or is not this serializer's; callers of
            `tornado_sse.serializers.decode` see a `DecodeError` with it as ``__cause__``.
        """
        ...


def encode(serializer: Serializer, payload: Any) -> str:
    """Return the payload as the text of an event's ``data``.

    :raises EncodeError: whatever went wrong. The serializer's own exception is ``__cause__``; an
        EncodeError of its own is raised as it is. MemoryError, and what is no Exception
        (KeyboardInterrupt, CancelledError), pass.
    """
    try:
        data = serializer.dumps(payload)
    except (EncodeError, MemoryError):
        raise
    except Exception as error:
        raise EncodeError(serializer.name, reason_of(error)) from error
    if not isinstance(data, bytes):
        raise EncodeError(serializer.name, f"its dumps() returned {type(data).__name__} instead of bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise EncodeError(serializer.name, "its dumps() returned bytes that are not UTF-8 text") from error


def is_name(value: object) -> bool:
    """Tell whether a value can be the name or the codec of a serializer."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def reason_of(error: BaseException) -> str:
    """Return an exception as half a sentence, for the ``reason`` of one of ours."""
    if isinstance(error, UnicodeEncodeError):
        return "it holds a lone surrogate, which is not UTF-8"
    name = type(error).__name__
    text = str(error)
    if not text:
        return name
    return text if isinstance(error, TypeError | ValueError) else f"{name}: {text}"


def to_base64(data: bytes | bytearray | memoryview) -> bytes:
    """Return bytes as base64 on one line (RFC 4648, section 4: padded, the plain alphabet)."""
    return binascii.b2a_base64(data, newline=False)


def from_base64(data: bytes) -> bytes:
    """Return the bytes that `to_base64` wrote.

    :raises ValueError: if it is anything but that: base64 on one line, with its padding, and with no bits
        set that mean nothing. The lenient reading that is Python's default skips what it doesn't know,
        and so turns damage into other bytes.
    """
    result = binascii.a2b_base64(data, strict_mode=True)
    rest = result[len(result) // 3 * 3 :]
    if rest and to_base64(rest) != data[-4:]:
        raise ValueError("the last character has bits that mean nothing")
    return result
