"""Protocol Buffers for tornado-sse: messages as ``google.protobuf.Any``, in base64 on one line.

A message's bytes don't say of which type they are, and whoever reads an event must know. So the message
travels in an `Any <https://protobuf.dev/programming-guides/proto3/#any>`_, the envelope that Protocol
Buffers have for this: the type's full name, then the bytes. Every implementation of Protocol Buffers can
open it, and so can who has no other part of this project.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as Envelope
from google.protobuf.message import DecodeError as ParseError
from google.protobuf.message import Message

from tornado_sse.errors import DecodeError
from tornado_sse.serializers import from_base64, to_base64

__all__ = ["ProtobufSerializer"]


class ProtobufSerializer:
    """Messages of Protocol Buffers.

    :arg types: the message classes that may travel. Without them, all may that this process has imported, and
        what comes in chooses among them.
    """

    name = "protobuf"
    codec = "protobuf"

    def __init__(self, types: Iterable[type[Message]] | None = None) -> None:
        self._types = None if types is None else {type.DESCRIPTOR.full_name: type for type in types}

    def dumps(self, payload: Any) -> bytes:
        """Return a message in base64, in its envelope. Equal messages of one version give equal bytes.

        :raises TypeError: if it is no message, or none of those that may travel.
        :raises google.protobuf.message.EncodeError: if a required field is missing (proto2).
        """
        if not isinstance(payload, Message):
            raise TypeError(f"a {type(payload).__name__} is no message of Protocol Buffers")
        name = payload.DESCRIPTOR.full_name
        if self._types is not None and name not in self._types:
            raise TypeError(f"{name} is not among the types of this serializer")
        envelope = Envelope()
        # Deterministic: the entries of a map would otherwise come in any order.
        envelope.Pack(payload, deterministic=True)
        return to_base64(envelope.SerializeToString())

    def loads(self, data: bytes) -> Message:
        """Return the message, of the class of its type. Fields that this process's version lacks are kept.

        Its type must be known: its generated module has been imported, or ``types`` has it. The data chooses
        a type by name and can do no more than that; nothing is imported for it.

        :raises DecodeError: if the data is damaged or of an unknown type, a required field is missing
            (proto2), or it is hostile: no declared length is believed beyond the bytes that are there, and
            nesting ends at 100.
        """
        try:
            envelope = Envelope.FromString(from_base64(data))
            # What is before the last slash is a place to look types up, which nobody does; readers must
            # ignore it.
            message = self._type(envelope.type_url.rpartition("/")[2]).FromString(envelope.value)
        except (ParseError, ValueError, LookupError, RecursionError) as error:
            raise DecodeError(self.name, str(error.args[0]) if error.args else repr(error)) from error
        if not message.IsInitialized():
            raise DecodeError(self.name, "a required field is missing")
        return message

    def _type(self, name: str) -> type[Message]:
        if self._types is not None:
            found = self._types.get(name)
        else:
            try:
                descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
            except KeyError:
                found = None
            else:
                found = message_factory.GetMessageClass(descriptor)
        if found is None:
            raise LookupError(f"it is of the type {name!r}, which is not known here; import its module")
        return found
