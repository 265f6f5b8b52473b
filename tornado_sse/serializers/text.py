"""Plain text: what an `EventSource` in the browser shows as it is. It has no codec."""

from __future__ import annotations

from typing import Any

from tornado_sse.errors import DecodeError, EncodeError
from tornado_sse.serializers.base import reason_of

__all__ = ["TextSerializer"]


class TextSerializer:
    """A str as it is, and of anything else its ``str()``.

    Newlines survive, except that CR and CR LF reach the reader as LF (HTML, section 9.2.6).
    """

    name = "text"
    codec = None

    def dumps(self, payload: Any) -> bytes:
        """Return the text in UTF-8.

        :raises EncodeError: for bytes-like payloads, whose ``str()`` is ``b'…'`` and never meant; and
            for a lone surrogate.
        :raises Exception: what the payload's ``__str__`` raises.
        """
        if isinstance(payload, bytes | bytearray | memoryview):
            raise EncodeError(self.name, 'it is bytes; decode() them, or write with serializer="binary"')
        text = payload if isinstance(payload, str) else str(payload)
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise EncodeError(self.name, reason_of(error)) from error

    def loads(self, data: bytes) -> str:
        """Return the text.

        :raises DecodeError: if the data is not UTF-8.
        """
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise DecodeError(self.name, str(error)) from error
