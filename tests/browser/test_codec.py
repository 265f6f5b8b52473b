"""What Python wrote, Chromium reads: the serializers here against the browser module there.

Both sides describe a value in the same few words (see `describe`), which JSON carries without loss: numbers
as the bits of a double, big integers as text. Equal descriptions are equal values.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack
import pytest
import tornado.web
from hypothesis import given, settings
from hypothesis import strategies as st

import tornado_sse
from tests.browser.stage import Blank
from tornado_sse.browser import ModuleHandler

pytestmark = pytest.mark.browser

SAFE = 2**53 - 1
MAX_DEPTH = 1024

DESCRIBE = """
function describe(value) {
  if (value === null) return ["null"];
  if (typeof value === "number") {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value);
    return ["number", Number.isNaN(value) ? "nan" : view.getBigUint64(0).toString()];
  }
  if (typeof value === "bigint") return ["bigint", value.toString()];
  if (value instanceof Uint8Array) return ["bytes", [...value]];
  if (value instanceof Date) return ["date", value.getTime()];
  if (Array.isArray(value)) return ["array", value.map(describe)];
  if (value instanceof Map) return ["map", [...value].map(([key, item]) => [describe(key), describe(item)])];
  if (typeof value === "object") {
    if (Object.getPrototypeOf(value) !== Object.prototype) return ["an object of another kind"];
    return ["object", Object.keys(value).sort().map((key) => [key, describe(value[key])])];
  }
  return [typeof value, value];
}
"""

READ = f"""async ([codec, data]) => {{
  {DESCRIBE}
  const {{ decode, DecodeError }} = await import("/tornado_sse/tornado_sse.js");
  try {{
    return JSON.stringify(describe(decode(codec, data)));
  }} catch (error) {{
    if (!(error instanceof DecodeError && error instanceof Error && error.codec === codec)) throw error;
    return JSON.stringify(["error", error.message, error.cause instanceof Error]);
  }}
}}"""


def describe(value: Any) -> list[Any]:
    """Describe what a value should have become in JavaScript."""
    match value:
        case None:
            return ["null"]
        case bool():
            return ["boolean", value]
        case int() if abs(value) > SAFE:
            return ["bigint", str(value)]
        case int() | float():
            bits = struct.unpack(">Q", struct.pack(">d", value))[0]
            return ["number", "nan" if math.isnan(value) else str(bits)]
        case str():
            return ["string", value]
        case bytes():
            return ["bytes", list(value)]
        case datetime():
            return ["date", (value - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)]
        case list() | tuple():
            return ["array", [describe(item) for item in value]]
        case dict() if all(isinstance(key, str) for key in value):
            # JavaScript sorts by UTF-16 code units
            keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
            return ["object", [[key, describe(value[key])] for key in keys]]
        case dict():
            return ["map", [[describe(key), describe(item)] for key, item in value.items()]]
    raise TypeError(value)


class Everything(tornado_sse.SSEHandler):
    """Writes the table of values by every serializer that takes them, and then ends for good."""

    async def open(self) -> None:
        """Write."""
        async with self.stream:
            for serializer, value in WRITTEN:
                await self.stream.write(value, serializer=serializer, event=f"test-{serializer}")
            await self.stream.finish()


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Any]) -> Any:
    """A server with the module, a blank page and a stream."""
    handlers: list[Any] = [
        ("/", Blank),
        ("/everything", Everything),
        ("/tornado_sse/(.*)", ModuleHandler),
    ]
    return start_server(tornado.web.Application(handlers))


@pytest.fixture(scope="module")
def page(browser: Any, server: Any) -> Iterator[Any]:
    """The blank page."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url)
    yield page
    context.close()


@pytest.fixture(scope="module")
def read(page: Any) -> Callable[[str | None, str], list[Any]]:
    """``read(codec, data)`` describes what the module's decode() returned or raised."""
    return lambda codec, data: json.loads(page.evaluate(READ, [codec, data]))


def written(serializer: str, value: object) -> str:
    """Return the data of an event, as a stream would write it."""
    return tornado_sse.encode(tornado_sse.get_serializer(serializer), value)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


TEXTS = {
    "empty": "",
    "ascii": "a line",
    "newlines": "two\nlines\n",
    "BOM": "\ufeffkept",
    "NUL": "a\0b",
    "separators": "\u2028\u2029\x85\v\f",
    "two bytes": "é",
    "emoji": "🐟👩‍👩‍👧",
    "edges of UTF-16": "\ud7ff\ue000\uffff\U00010000\U0010ffff",
    "markup": "<img src=x onerror=alert(1)>",
}
JSON_VALUES = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "minus zero": -0.0,
    "safe": [SAFE, -SAFE],
    "floats": [0.1, 1e300, 5e-324, -1.5],
    "empty array": [],
    "empty object": {},
    "__proto__": {"__proto__": {"polluted": True}, "constructor": 1, "toString": None, "hasOwnProperty": 2},
    "empty key": {"": ""},
    "number-like keys": {"10": 1, "9": 2, "-1": 3},
    "nested": {"a": [{"b": [None, {"c": "d"}]}]},
}
BINARY = {
    "empty": b"",
    "one": b"\0",
    "two": b"\xff\xfe",
    "three": b"abc",
    "all": bytes(range(256)),
    "large": bytes(range(256)) * 4096,
}
EDGES = [
    edge + step for bits in (5, 7, 8, 15, 16, 31, 32, 53, 63) for edge in (2**bits,) for step in (-1, 0, 1)
]
MSGPACK_VALUES = {
    **TEXTS,
    **JSON_VALUES,
    "positive edges": [*EDGES, 2**64 - 1],
    "negative edges": [-edge for edge in EDGES if edge <= 2**63],
    "not finite": [math.nan, math.inf, -math.inf],
    "bytes inside": {"pixels": bytes(range(256)), "none": b""},
    "bin of every width": [b"x" * size for size in (255, 256, 65535, 65536)],
    "str of every width": ["x" * size for size in (31, 32, 255, 256, 65535, 65536)],
    "array of every width": [[None] * size for size in (15, 16, 65535, 65536)],
    "map of every width": [{str(key): key for key in range(size)} for size in (15, 16, 65535, 65536)],
    "map with integers as keys": {1: "a", -1: "b", 2**60: "c"},
    "map with one other key": {"a": 1, None: 2},
    "map with mixed keys": {True: 1, 2.5: 2, b"bytes": 3, "text": 4},
}
TABLE = [
    pytest.param(serializer, value, id=f"{serializer}: {name}")
    for serializer, values in {
        "text": TEXTS,
        "json": TEXTS | JSON_VALUES,
        "binary": BINARY,
        "msgpack": MSGPACK_VALUES,
    }.items()
    for name, value in values.items()
]
# The large ones take their time on the way through a browser's automation; once each is enough.
WRITTEN = [
    (serializer, value)
    for serializer, value in (parameter.values for parameter in TABLE)
    if len(written(serializer, value)) < 10_000
]


@pytest.mark.parametrize(("serializer", "value"), TABLE)
def test_what_a_serializer_wrote_is_read_back(serializer: str, value: object, read: Any) -> None:
    codec = tornado_sse.get_serializer(serializer).codec
    assert read(codec, written(serializer, value)) == describe(value)


json_values = (
    st.none()
    | st.booleans()
    | st.integers(-SAFE, SAFE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
msgpack_values = json_values | st.floats() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=300)


def nested(values: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def extend(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(inner, max_size=8) | st.dictionaries(keys, inner, max_size=8)

    return st.recursive(values, extend, max_leaves=30)


# One property may take long where a browser is slow; how long is not what is tested.
bounded = settings(max_examples=100, deadline=None)


@bounded
@given(value=nested(msgpack_values, st.text() | st.integers(-(2**63), 2**64 - 1)))
def test_any_msgpack_value_is_read_back(value: object, read: Any) -> None:
    assert read("msgpack", written("msgpack", value)) == describe(value)


@bounded
@given(value=nested(json_values, st.text()))
def test_any_json_value_is_read_back(value: object, read: Any) -> None:
    assert read("json", written("json", value)) == describe(value)


@bounded
@given(value=st.binary(max_size=2000))
def test_any_bytes_are_read_back(value: bytes, read: Any) -> None:
    assert read("binary", written("binary", value)) == describe(value)


@bounded
@given(garbage=st.binary(min_size=1, max_size=200))
def test_any_garbage_is_a_value_or_a_decode_error(garbage: bytes, read: Any) -> None:
    assert read("msgpack", base64_of(garbage))


@bounded
@given(value=nested(msgpack_values, st.text()), data=st.data())
def test_msgpack_that_is_cut_short_is_a_decode_error(value: object, data: st.DataObject, read: Any) -> None:
    whole = msgpack.packb(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert read("msgpack", base64_of(whole[:cut]))[0] == "error"


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (b"\xca\x3f\x80\x00\x00", ["number", describe(1.0)[1]]),
        (b"\xca\x7f\xc0\x00\x00", ["number", "nan"]),
        (b"\xd3" + struct.pack(">q", 5), describe(5)),  # wider than it need be
        (b"\xcf" + struct.pack(">Q", 5), describe(5)),
        (b"\xd4\x05\x2a", describe({"type": 5, "data": b"\x2a"})),
        (b"\xd5\x7f\x01\x02", describe({"type": 127, "data": b"\x01\x02"})),
        (b"\xd6\x80abcd", describe({"type": -128, "data": b"abcd"})),
        (b"\xd7\x00abcdefgh", describe({"type": 0, "data": b"abcdefgh"})),
        (b"\xd8\x01" + b"x" * 16, describe({"type": 1, "data": b"x" * 16})),
        (b"\xc7\x00\x01", describe({"type": 1, "data": b""})),
        (b"\xc8\x01\x00\x01" + b"x" * 256, describe({"type": 1, "data": b"x" * 256})),
        (b"\xc9\x00\x00\x00\x01\x01x", describe({"type": 1, "data": b"x"})),
        (b"\xd6\xff\xff\xff\xff\xff", ["date", (2**32 - 1) * 1000]),
        (
            b"\xd7\xff" + struct.pack(">Q", 999_999_999 << 34 | (2**34 - 1)),
            ["date", (2**34 - 1) * 1000 + 999],
        ),
        (b"\xc7\x0c\xff" + struct.pack(">Iq", 1_000_000, -1), ["date", -999]),
        (b"\xc7\x0c\xff" + struct.pack(">Iq", 999_999, -1), ["date", -1000]),
        (b"\xc7\x0c\xff" + struct.pack(">Iq", 0, 8_640_000_000_000), ["date", 8_640_000_000_000_000]),
        (b"\x82\xa1a\x01\xa1a\x02", describe({"a": 2})),  # of equal keys the last one counts
    ],
)
def test_the_rest_of_the_specification(packed: bytes, expected: list[Any], read: Any) -> None:
    assert read("msgpack", base64_of(packed)) == expected


def test_a_timestamp_that_python_wrote_is_a_date(read: Any) -> None:
    for moment in (datetime(1969, 12, 31, 23, 59, 59, 999000, UTC), datetime(2106, 2, 8, 1, 2, 3, 4000, UTC)):
        packed = msgpack.packb(moment, datetime=True)
        assert read("msgpack", base64_of(packed)) == describe(moment)


def test_it_reads_as_deep_as_python_does(page: Any) -> None:
    deepest = b"\x91" * (MAX_DEPTH - 1) + b"\x90"
    assert msgpack.unpackb(deepest)
    with pytest.raises(msgpack.StackError):
        msgpack.unpackb(b"\x91" + deepest)
    depth = page.evaluate(
        """async (data) => {
          const { decode } = await import("/tornado_sse/tornado_sse.js");
          let depth = 0;
          for (let value = decode("msgpack", data); value !== undefined; value = value[0]) depth++;
          return depth;
        }""",
        base64_of(deepest),
    )
    assert depth == MAX_DEPTH


HOSTILE = {
    "nothing": b"",
    "unused byte": b"\xc1",
    "trailing bytes": b"\x01\x02",
    "a second value": b"\x80\x80",
    "array of four billion": b"\xdd\xff\xff\xff\xff",
    "array longer than its bytes": b"\x92\x01",
    "map of four billion": b"\xdf\xff\xff\xff\xff",
    "map with half an entry": b"\x81\xa1a",
    "str of four billion": b"\xdb\xff\xff\xff\xffabc",
    "bin of four billion": b"\xc6\xff\xff\xff\xffabc",
    "ext of four billion": b"\xc9\xff\xff\xff\xff\x01abc",
    "ext without type": b"\xc7\x00",
    "float cut short": b"\xcb\x00\x00\x00",
    "length cut short": b"\xdd\x00\x00",
    "deeper than allowed": b"\x91" * MAX_DEPTH + b"\x90",
    "a million deep": b"\x91" * 1_000_000,
    "maps a million deep": b"\x81\xa0" * 1_000_000,
    "keys a million deep": b"\x81" * 1_000_000,
    "str that is not UTF-8": b"\xa2\xc3\x28",
    "str with an overlong form": b"\xa2\xc0\x80",
    "str with a surrogate": b"\xa3\xed\xa0\x80",
    "key that is not UTF-8": b"\x81\xa1\xff\x01",
    "timestamp of another length": b"\xd4\xff\x00",
    "timestamp with too many nanoseconds": b"\xd7\xff" + struct.pack(">Q", 1_000_000_000 << 34),
    "timestamp beyond what a Date holds": b"\xc7\x0c\xff" + struct.pack(">Iq", 0, 2**63 - 1),
}


@pytest.mark.parametrize("packed", HOSTILE.values(), ids=HOSTILE.keys())
def test_damaged_and_hostile_msgpack_is_a_decode_error(packed: bytes, read: Any) -> None:
    kind, message, _ = read("msgpack", base64_of(packed))
    assert kind == "error"
    assert message.startswith("the msgpack codec can't read this data: ")


@pytest.mark.parametrize(
    "data",
    [
        "A",
        "AA",
        "AAA",
        "AA=",
        "AAAA=",
        "=",
        "AA\nAA",
        " AAAA",
        "AAAA ",
        "AB==",
        "AAB=",
        "A-__",
        "ÄÄÄÄ",
        "AAAA====",
        "\0",
    ],
)
@pytest.mark.parametrize("codec", ["binary", "msgpack"])
def test_what_is_not_canonical_base64_is_a_decode_error(codec: str, data: str, read: Any) -> None:
    assert read(codec, data)[0] == "error"


@pytest.mark.parametrize("data", ["", "{", "NaN", "{'a': 1}", "1 2", "\ufeff1", "undefined"])
def test_what_is_not_json_is_a_decode_error_with_its_cause(data: str, read: Any) -> None:
    kind, _, has_cause = read("json", data)
    assert kind == "error"
    assert has_cause


@pytest.mark.parametrize("codec", ["cbor", "JSON", "constructor", "__proto__", "toString"])
def test_a_codec_nobody_registered_is_a_decode_error(codec: str, read: Any) -> None:
    assert read(codec, "1") == [
        "error",
        f"the {codec} codec can't read this data: it is not registered on this page",
        False,
    ]


@pytest.mark.parametrize("codec", [None, ""])
def test_without_a_codec_data_is_text(codec: str | None, read: Any) -> None:
    assert read(codec, '{"a": 1}') == ["string", '{"a": 1}']


def test_register_adds_codecs_and_replaces_none_silently(page: Any) -> None:
    assert page.evaluate(
        """async () => {
          const { decode, register, DecodeError } = await import("/tornado_sse/codec.js?a-module-of-its-own");
          const thrown = (work) => { try { work(); } catch (error) { return error; } };
          register("shout", (data) => data.toUpperCase());
          return {
            added: decode("shout", "hello"),
            again: thrown(() => register("shout", (data) => data)).message,
            builtIn: thrown(() => register("json", () => "mine")).message,
            kept: [decode("shout", "hello"), decode("json", "1")],
            names: ["", "a b", "a\\n", 5, null].map((name) => thrown(() => register(name, () => 0)).name),
            decoder: thrown(() => register("odd", "not a function")).name,
            replaced: (register("json", () => "mine", { replace: true }), decode("json", "1")),
          };
        }"""
    ) == {
        "added": "HELLO",
        "again": "the codec shout is taken; pass { replace: true } if that is meant",
        "builtIn": "the codec json is taken; pass { replace: true } if that is meant",
        "kept": ["HELLO", 1],
        "names": ["TypeError"] * 5,
        "decoder": "TypeError",
        "replaced": "mine",
    }


def test_what_a_registered_decoder_throws_is_the_cause_of_a_decode_error(page: Any) -> None:
    assert page.evaluate(
        """async () => {
          const { decode, register, DecodeError } = await import("/tornado_sse/tornado_sse.js");
          const cause = new RangeError("out of luck");
          register("broken", () => { throw cause; });
          try {
            decode("broken", "");
          } catch (error) {
            const { name, codec, message } = error;
            return [error instanceof DecodeError, name, codec, error.cause === cause, message];
          }
        }"""
    ) == [True, "DecodeError", "broken", True, "the broken codec can't read this data: out of luck"]


def test_bytes_own_their_buffer_so_that_any_typed_array_fits_over_them(page: Any) -> None:
    values = [1.5, -2.25, 1e10]
    data = written("msgpack", ["shifts the offset", struct.pack("<3d", *values)])
    assert (
        page.evaluate(
            """async (data) => {
          const { decode } = await import("/tornado_sse/tornado_sse.js");
          const [, bytes] = decode("msgpack", data);
          return [...new Float64Array(bytes.buffer)];
        }""",
            data,
        )
        == values
    )


def test_nothing_is_polluted_by_a_key_named_proto(page: Any) -> None:
    assert page.evaluate(
        """async (data) => {
          const { decode } = await import("/tornado_sse/tornado_sse.js");
          const value = decode("msgpack", data);
          return [value.polluted, {}.polluted, Object.hasOwn(value, "__proto__")];
        }""",
        written("msgpack", {"__proto__": {"polluted": True}}),
    ) == [None, None, True]


def test_an_eventsource_and_the_module_read_a_real_stream(page: Any) -> None:
    codecs = {
        f"test-{name}": tornado_sse.get_serializer(name).codec
        for name in ("text", "json", "binary", "msgpack")
    }
    described = page.evaluate(
        f"""async (codecs) => {{
          {DESCRIBE}
          const {{ decode }} = await import("/tornado_sse/tornado_sse.js");
          const values = [];
          const source = new EventSource("/everything");
          await new Promise((resolve, reject) => {{
            for (const [type, codec] of Object.entries(codecs)) {{
              source.addEventListener(type, (event) => values.push(describe(decode(codec, event.data))));
            }}
            source.addEventListener("finish", resolve);
            source.addEventListener("error", reject);
          }});
          source.close();
          return JSON.stringify(values);
        }}""",
        codecs,
    )
    assert json.loads(described) == [describe(value) for _, value in WRITTEN]
