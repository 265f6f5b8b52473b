"""Serializers: from a payload to the text of an event, and back.

A serializer is any object with a ``name``, a ``codec``, ``dumps`` and ``loads``; `Serializer` is the
contract. A write call names one::

    await stream.write(frame, serializer="msgpack", event="frame")

and the codec goes on the wire in a field line of its own, which the standard has browsers ignore and
by which our client and browser module decode. Four are built in:

========  =========  ==========================================================================
name      codec      payloads
========  =========  ==========================================================================
json      json       nearly anything; the default. See `tornado_sse.serializers.json`
text      None       str, or anything's ``str()``
binary    binary     bytes-like, or a type with ``__bytes__``; base64 on one line
msgpack   msgpack    nearly anything, with bytes, NaN and 64-bit integers; base64 on one line
========  =========  ==========================================================================

To add one, hand an instance to `register`, or install a distribution that has an entry point in the
group ``tornado_sse.serializers``; docs/how-to/writing-a-serializer.md is the guide, and
`tornado_sse.testing.check_serializer` the test of it. To change what happens to a type of yours in all
of them, teach it to `plain`.

The modules, each importing only from those above it:

- ``base``: the contract, and `encode`, behind which a serializer can do no harm
- ``plain``: what rich objects are in plain types, for all formats alike
- ``jsonable``: what JSON can hold, and where in a payload the trouble is
- ``json``, ``text``, ``binary``, ``msgpack``: the four
- ``registry``: who is there, by name, by codec and by entry point
"""

from __future__ import annotations

from tornado_sse.serializers.base import Serializer, encode, from_base64, to_base64
from tornado_sse.serializers.binary import BinarySerializer
from tornado_sse.serializers.json import JSONSerializer
from tornado_sse.serializers.msgpack import MsgpackSerializer
from tornado_sse.serializers.plain import plain
from tornado_sse.serializers.registry import (
    Registry,
    SerializerInfo,
    decode,
    get_by_codec,
    get_serializer,
    list_serializers,
    register,
)
from tornado_sse.serializers.text import TextSerializer

__all__ = [
    "BinarySerializer",
    "JSONSerializer",
    "MsgpackSerializer",
    "Registry",
    "Serializer",
    "SerializerInfo",
    "TextSerializer",
    "decode",
    "encode",
    "from_base64",
    "get_by_codec",
    "get_serializer",
    "list_serializers",
    "plain",
    "register",
    "to_base64",
]
