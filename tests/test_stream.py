from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream
from tornado.web import Finish

from tests.support import Logs, parse, until, within
from tornado_sse import (
    BufferFullError,
    EncodeError,
    Event,
    EventParser,
    InvalidEventError,
    Observer,
    Reason,
    SerializerNotFoundError,
    Settings,
    SSEError,
    Stream,
    StreamClosedError,
)
from tornado_sse.observer import guarded

pytestmark = pytest.mark.gen_test


class Written:
    """A stream without chunks, and what has come out at its other end."""

    def __init__(self, stream: Stream, peer: socket.socket, starts: list[int]) -> None:
        self.stream = stream
        self.peer = peer
        self.starts = starts

    async def now(self) -> bytes:
        """Return what has arrived since the last time, at the end of this turn of the event loop."""
        await asyncio.sleep(0)
        return self.read()

    def read(self) -> bytes:
        """Return what has arrived. A socket pair is immediate for what the kernel took."""
        try:
            return self.peer.recv(1 << 20)
        except BlockingIOError:
            return b""

    async def pieces(self) -> list[bytes]:
        """Return what has arrived, a piece for each send: the socket keeps packets apart."""
        found = []
        while piece := await self.now():
            found.append(piece)
        return found

    def stuff(self) -> None:
        """Write until the kernel takes no more."""
        self.stream.flush()
        while not self.stream.pending:
            self.stream.write_text("x" * 4000)
            self.stream.flush()


Open = Callable[..., Written]


@pytest.fixture
def opened(io_loop: IOLoop) -> Iterator[Open]:
    with contextlib.ExitStack() as stack:

        def open(*, last_event_id: str | None = None, packets: bool = False, **settings: Any) -> Written:
            kind = socket.SOCK_SEQPACKET if packets else socket.SOCK_STREAM
            ours, peer = socket.socketpair(socket.AF_UNIX, kind)
            peer.setblocking(False)
            iostream = IOStream(ours)
            stack.callback(peer.close)
            stack.callback(iostream.close)
            starts: list[int] = []

            def connect(first: bytes) -> tuple[IOStream, bool]:
                starts.append(1)
                return iostream, False

            stream = Stream(
                connect, settings=Settings(**settings), last_event_id=last_event_id, description="GET /test"
            )
            return Written(stream, peer, starts)

        yield open


class Octets:
    def __bytes__(self) -> bytes:
        return b"\0\xff"


# The vocabulary of the Go library, function by function: what is called, and exactly what is written.
GO_TABLE: list[tuple[str, Callable[[Stream], object], bytes]] = [
    ("SetRetry", lambda s: (s.set_retry(2.5), s.write_text("x")), b"retry: 2500\ndata: x\n\n"),
    ("SetID", lambda s: (s.set_id(42), s.write_text("x")), b"id: 42\ndata: x\n\n"),
    ("SetID, of text", lambda s: (s.set_id("a-1"), s.write_text("x")), b"id: a-1\ndata: x\n\n"),
    ("SetEvent", lambda s: (s.set_event("tick"), s.write_text("x")), b"event: tick\ndata: x\n\n"),
    (
        "Set*, in any order",
        lambda s: (s.set_retry(1), s.set_id(7), s.set_event("tick"), s.write_text("x")),
        b"event: tick\nid: 7\nretry: 1000\ndata: x\n\n",
    ),
    (
        "Set* goes with one event",
        lambda s: (s.set_id(1), s.write_int(1), s.write_int(2)),
        b"id: 1\ndata: 1\n\ndata: 2\n\n",
    ),
    ("WriteBytes", lambda s: s.write_bytes("…".encode()), "data: …\n\n".encode()),
    ("WriteBytes, newlines", lambda s: s.write_bytes(b"a\nb\r\nc"), b"data: a\ndata: b\ndata: c\n\n"),
    ("WriteBytes, empty", lambda s: s.write_bytes(b""), b"data: \n\n"),
    ("WriteString, WriteText", lambda s: s.write_text("a\nb"), b"data: a\ndata: b\n\n"),
    ("WriteText, empty", lambda s: s.write_text(""), b"data: \n\n"),
    ("WriteText, of anything", lambda s: s.write_text(ValueError("what?")), b"data: what?\n\n"),
    ("WriteBinary", lambda s: s.write_binary(b"\0\xff"), b"codec: binary\ndata: AP8=\n\n"),
    ("WriteBinary, BinaryMarshaler", lambda s: s.write_binary(Octets()), b"codec: binary\ndata: AP8=\n\n"),
    (
        "WriteJSON",
        lambda s: s.write_json({"a": [1, "ä\n"]}),
        'codec: json\ndata: {"a":[1,"ä\\n"]}\n\n'.encode(),
    ),
    ("WriteInt", lambda s: s.write_int(-(10**30)), b"data: -1" + b"0" * 30 + b"\n\n"),
    ("WriteFloat", lambda s: s.write_float(0.1), b"data: 0.1\n\n"),
    ("WriteFloat, of an int", lambda s: s.write_float(3), b"data: 3.0\n\n"),
    ("WriteFloat, %.5f", lambda s: s.write_float(math.pi, 5), b"data: 3.14159\n\n"),
    ("WriteEvent", lambda s: s.write_event(7, "tick", "x"), b"event: tick\nid: 7\ndata: x\n\n"),
    ("WriteEvent, of bytes", lambda s: s.write_event("a", "tick", b"x"), b"event: tick\nid: a\ndata: x\n\n"),
    ("WriteEvent, bare", lambda s: s.write_event(None, "", "x"), b"data: x\n\n"),
    ("Flush", lambda s: (s.write(1, flush=False), s.flush()), b"codec: json\ndata: 1\n\n"),
    ("Close, with a farewell", lambda s: s.close("close"), b"event: close\ndata: \n\n"),
    ("Close, twice", lambda s: (s.close("close"), s.close("close")), b"event: close\ndata: \n\n"),
    ("Close, without", lambda s: s.close(), b""),
]


@pytest.mark.parametrize(
    ("call", "expected"), [row[1:] for row in GO_TABLE], ids=[row[0] for row in GO_TABLE]
)
async def test_the_go_librarys_vocabulary(
    opened: Open, call: Callable[[Stream], object], expected: bytes
) -> None:
    it = opened()
    call(it.stream)
    assert await it.now() == expected


async def test_last_event_id_is_none_or_what_the_client_sent(opened: Open) -> None:
    assert opened().stream.last_event_id is None
    assert opened(last_event_id="7").stream.last_event_id == "7"


@pytest.mark.parametrize(
    ("serializer", "expected"),
    [
        (None, b'codec: json\ndata: "hi"\n\n'),
        ("json", b'codec: json\ndata: "hi"\n\n'),
        ("text", b"data: hi\n\n"),
        ("msgpack", b"codec: msgpack\ndata: omhp\n\n"),
    ],
)
async def test_the_serializer_is_the_write_calls_choice(
    opened: Open, serializer: str | None, expected: bytes
) -> None:
    it = opened()
    await it.stream.write("hi", serializer=serializer)
    assert await it.now() == expected


async def test_a_handler_has_a_default_serializer(opened: Open) -> None:
    it = opened(serializer="text")
    await it.stream.write("hi")
    await it.stream.write("hi", serializer="json")
    assert await it.now() == b'data: hi\n\ncodec: json\ndata: "hi"\n\n'


async def test_all_fields_in_one_call(opened: Open) -> None:
    it = opened()
    await it.stream.write([1], event="t", id=0, retry=0.25)
    assert await it.now() == b"event: t\nid: 0\nretry: 250\ncodec: json\ndata: [1]\n\n"
    assert it.stream.events == 1


async def test_what_a_call_says_wins_over_what_was_set(opened: Open) -> None:
    it = opened()
    it.stream.set_id(1)
    it.stream.set_event("set")
    it.stream.write_event(2, None, "x")
    assert await it.now() == b"event: set\nid: 2\ndata: x\n\n"


async def test_the_retry_setting_rides_on_the_first_event_that_is_written(opened: Open) -> None:
    it = opened(retry=3)
    it.stream.comment("hello")
    with pytest.raises(EncodeError):
        it.stream.write(object())
    it.stream.write_int(1)
    it.stream.write_int(2)
    assert await it.now() == b": hello\nretry: 3000\ndata: 1\n\ndata: 2\n\n"


async def test_the_head_is_sent_with_the_first_use_and_once(opened: Open) -> None:
    for use in (
        Stream.flush,
        Stream.comment,
        Stream.close,
        Stream.finish,
        Stream.abort,
        lambda s: s.write(1),
    ):
        it = opened()
        assert (it.stream.started, it.stream.closed, it.stream.reason) == (False, False, None)
        use(it.stream)
        assert it.stream.started
        assert it.starts == [1]
    it = opened()
    it.stream.write(1)
    it.stream.write(2)
    assert it.starts == [1]


# What fails leaves nothing behind


FAILING: list[tuple[str, Callable[[Stream], object], type[Exception]]] = [
    ("unserializable", lambda s: s.write(object()), EncodeError),
    ("not a number", lambda s: s.write_json([math.nan]), EncodeError),
    ("infinite", lambda s: s.write({"a": -math.inf}), EncodeError),
    ("circular", lambda s: s.write(circular()), EncodeError),
    ("a huge integer", lambda s: s.write(2**70), EncodeError),
    ("a lone surrogate in JSON", lambda s: s.write("\ud800"), EncodeError),
    ("a lone surrogate in text", lambda s: s.write_text("\ud800"), EncodeError),
    ("a lone surrogate in msgpack", lambda s: s.write("\ud800", serializer="msgpack"), EncodeError),
    ("bytes as text", lambda s: s.write_text(b"x"), EncodeError),
    ("text as binary", lambda s: s.write_binary("x"), EncodeError),
    ("an int as binary", lambda s: s.write_binary(5), EncodeError),
    ("bytes that are no text", lambda s: s.write_bytes(b"\xff"), EncodeError),
    ("text as bytes", lambda s: s.write_bytes("x"), EncodeError),  # type: ignore[arg-type]
    ("no int", lambda s: s.write_int(1.5), EncodeError),  # type: ignore[arg-type]
    ("a bool as int", lambda s: s.write_int(True), EncodeError),
    ("no float", lambda s: s.write_float("1"), EncodeError),  # type: ignore[arg-type]
    ("an infinite float", lambda s: s.write_float(math.inf), EncodeError),
    ("an event of bytes that are no text", lambda s: s.write_event(1, "a", b"\xff"), EncodeError),
    ("no such serializer", lambda s: s.write(1, serializer="yaml"), SerializerNotFoundError),
    ("a type that injects", lambda s: s.write(1, event="a\ndata: x"), InvalidEventError),
    ("an id that injects", lambda s: s.write(1, id="a\r\nevent: x"), InvalidEventError),
    ("an id with NUL", lambda s: s.write(1, id="a\0"), InvalidEventError),
    ("an id with a control character", lambda s: s.write(1, id="a\x01"), InvalidEventError),
    ("an id that a header would trim", lambda s: s.write(1, id=" a"), InvalidEventError),
    ("an id that a header would trim, at its end", lambda s: s.write(1, id="a\t"), InvalidEventError),
    ("an id too long for a header", lambda s: s.write(1, id="x" * 1025), InvalidEventError),
    ("an id of another kind", lambda s: s.write(1, id=1.5), InvalidEventError),  # type: ignore[arg-type]
    ("an id that is finish()'s", lambda s: s.write(1, id="7~final"), InvalidEventError),
    ("a negative retry", lambda s: s.write(1, retry=-1), InvalidEventError),
    ("a retry without end", lambda s: s.write(1, retry=math.inf), InvalidEventError),
    ("a retry of text", lambda s: s.write(1, retry="1"), InvalidEventError),  # type: ignore[arg-type]
    ("too large", lambda s: s.write_text("x" * 2_000_000), BufferFullError),
    ("too large to gather", lambda s: s.write("x" * 2_000_000, flush=False), BufferFullError),
]


def circular() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(("fail", "error"), [row[1:] for row in FAILING], ids=[row[0] for row in FAILING])
async def test_what_fails_leaves_no_byte_and_no_field_behind(
    opened: Open, fail: Callable[[Stream], object], error: type[SSEError]
) -> None:
    it = opened()
    it.stream.write_int(1)
    it.stream.set_id("lost")
    it.stream.set_event("lost")
    with pytest.raises(error):
        fail(it.stream)
    it.stream.write_int(2)
    assert await it.now() == b"data: 1\n\ndata: 2\n\n"
    assert (it.stream.pending, it.stream.events) == (0, 2)


async def test_a_comment_of_two_lines_is_refused_and_is_no_event_that_takes_fields(opened: Open) -> None:
    it = opened()
    it.stream.set_id(1)
    with pytest.raises(InvalidEventError):
        it.stream.comment("a\nid: 1")
    it.stream.comment("b")
    it.stream.write_int(2)
    assert await it.now() == b": b\nid: 1\ndata: 2\n\n"


# Gathering


async def test_what_is_written_in_one_turn_leaves_in_one_piece(opened: Open) -> None:
    it = opened(packets=True)
    for turn in range(3):
        for i in range(4):
            it.stream.write([turn, i])
        it.stream.comment("sends at once")
        await it.stream.write([turn, 4])
        await asyncio.sleep(0)
    pieces = await it.pieces()
    assert [[event.data for event in parse([piece])] for piece in pieces] == [
        data for n in range(3) for data in ([f"[{n},{i}]" for i in range(4)], [f"[{n},4]"])
    ]


async def test_a_single_write_does_not_wait_for_another(opened: Open) -> None:
    it = opened(packets=True)
    it.stream.write_int(1)
    assert await it.pieces() == [b"data: 1\n\n"]
    it.stream.write_int(2)
    it.stream.flush()
    assert it.read() == b"data: 2\n\n", "flush() does not wait for the end of the turn"


async def test_a_turn_that_writes_much_sends_before_its_end(opened: Open) -> None:
    it = opened()
    it.stream.write_text("x" * 10_000)
    assert it.read() == b""
    it.stream.write_text("x" * 10_000)
    assert len(parse([it.read()])) == 2
    it.stream.write_text("x" * 50_000)
    assert len(parse([it.read()])) == 1


async def test_what_is_held_back_waits_for_the_next_that_is_not(opened: Open) -> None:
    it = opened(packets=True)
    it.stream.write(1, flush=False)
    it.stream.write(2, flush=False)
    assert await it.pieces() == []
    assert it.stream.pending > 0
    await it.stream.flush()
    await it.stream.flush()
    it.stream.write(3, flush=False)
    await asyncio.sleep(0)
    it.stream.write(4)
    await asyncio.sleep(0)
    it.stream.write(5, flush=False)
    it.stream.comment("c")
    pieces = await it.pieces()
    assert [[event.data for event in parse([piece])] for piece in pieces] == [["1", "2"], ["3", "4"], ["5"]]
    assert (it.stream.pending, it.stream.events) == (0, 5)


async def test_the_error_that_ends_a_stream_does_not_take_its_last_events_along(opened: Open) -> None:
    it = opened()
    with pytest.raises(ZeroDivisionError):
        async with it.stream:
            it.stream.write_int(1)
            raise ZeroDivisionError
    assert it.read() == b"data: 1\n\n"


async def test_a_client_that_goes_within_the_turn_is_no_error_of_anybody(opened: Open, logs: Logs) -> None:
    it = opened()
    it.stream.flush()
    it.peer.close()
    it.stream.write_int(1)
    await until(lambda: it.stream.ended)
    assert it.stream.reason is Reason.DISCONNECTED


async def test_an_event_is_one_send(opened: Open) -> None:
    it = opened(packets=True)
    it.stream.write_event(1, "t", "a\nb")
    assert await it.pieces() == [b"event: t\nid: 1\ndata: a\ndata: b\n\n"]


async def test_what_is_gathered_makes_room_by_being_sent(opened: Open) -> None:
    it = opened(max_buffer=100)
    it.stream.flush()
    for letter in "abc":
        it.stream.write(letter * 50, serializer="text", flush=False)
    assert [event.data[0] for event in parse([it.read()])] == ["a", "b"]
    it.stream.flush()
    assert [event.data[0] for event in parse([it.read()])] == ["c"]


async def test_what_is_held_before_the_start_is_bounded(opened: Open) -> None:
    it = opened(max_buffer=100)
    it.stream.write("x" * 50, serializer="text", flush=False)
    with pytest.raises(BufferFullError):
        it.stream.write("y" * 50, serializer="text", flush=False)
    assert not it.stream.started
    await it.stream.flush()
    assert it.read() == b"data: " + b"x" * 50 + b"\n\n"


@pytest.mark.parametrize(
    ("max_buffer", "size"), [(4096, 100), (60_000, 1000), (2**20, 700_000), (2**20, 250), (1000, 740)]
)
async def test_a_writer_that_awaits_is_never_refused(opened: Open, max_buffer: int, size: int) -> None:
    it = opened(max_buffer=max_buffer)
    count = max(60, 3 * max_buffer // size)

    async def write() -> None:
        for _ in range(count):
            await it.stream.write_text("x" * size)
        it.stream.flush()

    writing = asyncio.ensure_future(write())
    received = b""
    while not writing.done() or it.stream.pending:
        received += it.read()[:100_000]
        received += await it.now()
    await writing
    assert len(parse([received + it.read()])) == count


async def test_a_writer_that_awaits_may_write_half_the_buffer_after_small_events(opened: Open) -> None:
    it = opened(max_buffer=20_000)
    it.stuff()
    before = it.stream.events
    sizes = [*[500] * 29, 9_900] * 20

    async def write() -> None:
        for size in sizes:
            await it.stream.write_text("x" * size)
        it.stream.flush()

    writing = asyncio.ensure_future(write())
    await asyncio.sleep(0)
    received = b""
    while not writing.done() or it.stream.pending:
        received += await it.now()
    await writing
    assert [len(event.data) for event in parse([received + it.read()])][before:] == sizes


@pytest.mark.parametrize(
    "write",
    [
        lambda stream: stream.write_text("x" * 248),  # 64 of them are just what a turn gathers at most
        lambda stream: stream.comment("x"),
        lambda stream: (stream.write(1, flush=False), stream.flush())[1],
    ],
)
async def test_every_kind_of_write_lets_others_run(opened: Open, write: Callable[[Stream], Any]) -> None:
    it = opened()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await it.now()

    task = asyncio.ensure_future(other())
    for _ in range(1000):
        await write(it.stream)
    task.cancel()
    assert turns >= 5


async def test_what_is_gathered_goes_before_the_end(opened: Open) -> None:
    it = opened()
    it.stream.write(1, flush=False)
    it.stream.close("bye", "now")
    assert await it.now() == b"codec: json\ndata: 1\n\nevent: bye\ndata: now\n\n"


# Backpressure


async def test_a_writer_that_awaits_goes_at_the_readers_pace(opened: Open) -> None:
    it = opened(max_buffer=200_000)
    total = 0

    async def write() -> None:
        nonlocal total
        for i in range(300):
            await it.stream.write_text(f"{i}:" + "x" * 10_000)
            total += 1

    writing = asyncio.ensure_future(write())
    # It gives up writing when more is pending than a writer may leave behind, and nobody reads.
    await until(lambda: it.stream.pending > 50_000)
    stuck = total
    assert stuck < 300
    assert it.stream.pending <= 200_000
    received = b""
    while not writing.done() or it.stream.pending:
        received += await it.now()
        await asyncio.sleep(0)
    await writing
    received += await it.now()
    assert [int(event.data.split(":")[0]) for event in parse([received])] == list(range(300))


async def test_a_writer_that_is_never_made_to_wait_lets_others_run(opened: Open) -> None:
    it = opened()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await it.now()
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    for i in range(1000):
        await it.stream.write(i)
    task.cancel()
    assert turns >= 5


async def test_a_cancelled_write_leaves_whole_events_only(opened: Open) -> None:
    it = opened()
    it.stuff()
    it.stream.write_text("x" * 4000)
    events = it.stream.events

    async def write() -> None:
        await it.stream.write_text("y" * 100_000)

    writing = asyncio.ensure_future(write())
    await asyncio.sleep(0)
    assert not writing.done()
    writing.cancel()
    await asyncio.sleep(0)
    assert writing.cancelled()
    it.stream.write_text("after")
    it.stream.close()
    received = b""
    while not it.stream.ended:
        received += await it.now()
        await asyncio.sleep(0)
    read = parse([received + await it.now()])
    assert [event.data[:1] for event in read] == ["x"] * events + ["y", "a"]
    assert {len(event.data) for event in read} == {4000, 100_000, 5}


async def test_a_reader_that_never_reads_costs_bounded_memory_and_an_error(opened: Open) -> None:
    it = opened(max_buffer=300_000)
    with pytest.raises(BufferFullError, match="await each write"):
        for _ in range(10_000):
            it.stream.write_text("x" * 1000)
    assert it.stream.pending <= 300_000
    assert not it.stream.closed
    # The last word needs no room.
    it.stream.close("bye", "z" * 1000)
    received = b""
    while not it.stream.ended:
        received += await it.now()
    read = parse([received + await it.now()])
    assert len(read) == it.stream.events + 1
    assert read[-1] == Event("z" * 1000, "bye", "")


# The end


async def test_leaving_the_block_ends_the_stream(opened: Open) -> None:
    it = opened()
    async with it.stream as stream:
        assert stream is it.stream
        assert it.starts == [1]
        await stream.write(1)
    assert (stream.closed, stream.reason) == (True, Reason.CLOSED)


async def test_an_exception_in_the_block_aborts_it(opened: Open) -> None:
    it = opened()
    with pytest.raises(ZeroDivisionError):
        async with it.stream:
            raise ZeroDivisionError
    assert it.stream.reason is Reason.FAILED


async def test_tornados_finish_in_the_block_ends_it_cleanly(opened: Open) -> None:
    it = opened()
    with pytest.raises(Finish):
        async with it.stream:
            raise Finish
    assert it.stream.reason is Reason.CLOSED


async def test_the_end_of_its_time_takes_no_event_along(opened: Open) -> None:
    it = opened(max_age=0.2)
    it.stream.write("held", flush=False)
    it.stream.flush()
    written = 1
    with pytest.raises(StreamClosedError, match="expired"):
        while True:
            it.stream.write(written, flush=bool(written % 2))
            written += 1
            await asyncio.sleep(0.001)
    received = b""
    while piece := it.read():
        received += piece
    assert len(parse([received])) == written


async def test_an_exception_after_the_end_does_not_change_it(opened: Open) -> None:
    it = opened()
    with pytest.raises(ZeroDivisionError):
        async with it.stream as stream:
            stream.close()
            raise ZeroDivisionError
    assert it.stream.reason is Reason.CLOSED


async def test_finish_says_so_in_its_id(opened: Open) -> None:
    it = opened()
    it.stream.write(1, id=41)
    it.stream.write(2, id=42)
    it.stream.write(3)
    await it.now()
    await it.stream.finish()
    assert parse([await it.now()]) == [Event("", "finish", "42~final")]
    assert it.stream.reason is Reason.FINISHED


async def test_finish_may_say_more_and_needs_no_ids(opened: Open) -> None:
    it = opened()
    it.stream.finish("done", "thank you")
    assert await it.now() == b"event: done\nid: ~final\ndata: thank you\n\n"


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s.write(1),
        lambda s: s.write(1, flush=False),
        lambda s: s.comment(),
        lambda s: s.flush(),
        lambda s: s.write_event(1, "a", "b"),
    ],
)
@pytest.mark.parametrize("end", [Stream.close, Stream.finish, Stream.abort])
async def test_after_the_end_what_would_send_raises(
    opened: Open, use: Callable[[Stream], object], end: Callable[[Stream], object]
) -> None:
    it = opened()
    end(it.stream)
    with pytest.raises(StreamClosedError):
        use(it.stream)
    it.stream.close()
    it.stream.finish()
    it.stream.abort()


async def test_those_who_made_it_hear_of_the_end_once(opened: Open, logs: Logs) -> None:
    it = opened()
    ends: list[Reason | None] = []
    it.stream.on_end = lambda stream: ends.append(stream.reason)
    it.stream.write(1)
    it.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    it.peer.close()
    await until(lambda: ends)
    it.stream.close()
    await asyncio.sleep(0)
    assert ends == [Reason.DISCONNECTED]
    opening, closing = logs.messages()
    assert opening == "GET /test: stream opened"
    assert closing.startswith("GET /test: stream disconnected after 0.0 s, 1 events, ")
    assert closing.endswith(" 21 bytes")


async def test_close_may_be_awaited_until_all_is_on_its_way(opened: Open) -> None:
    it = opened()
    it.stuff()
    closing = asyncio.ensure_future(_await(it.stream.close()))
    await asyncio.sleep(0)
    assert not closing.done()
    while not it.stream.ended:
        await it.now()
        await asyncio.sleep(0)
    await within(closing)


async def _await(awaitable: Any) -> None:
    await awaitable


@pytest.mark.parametrize("end", [lambda s: s.close("bye", "B" * 100), lambda s: s.finish("done", "B" * 100)])
async def test_a_farewell_that_has_no_room_takes_nothing_with_it(
    opened: Open, end: Callable[[Stream], object]
) -> None:
    it = opened(max_buffer=200)
    it.stream.write("A" * 120, serializer="text", flush=False)
    end(it.stream)
    assert [event.data for event in parse([await it.now()])] == ["A" * 120, "B" * 100]


async def test_a_dismissed_stream_is_over_without_having_been(opened: Open, logs: Logs) -> None:
    it = opened()
    it.stream.write(1, flush=False)
    it.stream.dismiss()
    assert (it.stream.closed, it.stream.ended, it.stream.started, it.stream.reason) == (
        True,
        True,
        False,
        None,
    )
    for use in (lambda: it.stream.write(1), lambda: it.stream.write(1, flush=False), it.stream.flush):
        with pytest.raises(StreamClosedError, match="never started"):
            use()
    it.stream.close()
    it.stream.finish()
    it.stream.abort()
    assert it.starts == []
    assert logs.messages() == []


async def test_a_transport_that_can_not_be_made_lets_go_of_its_connection(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = opened()

    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tornado_sse.stream.Transport", fail)
    with pytest.raises(ZeroDivisionError):
        it.stream.flush()
    assert it.peer.recv(1) == b""


async def test_a_start_that_fails_may_be_tried_again(io_loop: IOLoop) -> None:
    def connect(first: bytes) -> tuple[IOStream, bool]:
        raise SSEError("no")

    stream = Stream(connect, settings=Settings())
    for _ in range(2):
        with pytest.raises(SSEError, match="no"):
            stream.write(1)
    assert not stream.started


# The ends that are not the application's


async def test_expiry_may_say_when_to_come_back(opened: Open) -> None:
    it = opened()
    it.stream.write("last", serializer="text", flush=False)
    await it.stream.expire(retry=2.5)
    # A line on its own: no event to anybody, and in effect as soon as it is read.
    assert it.read() == b"data: last\n\nretry: 2500\n"
    parser = EventParser()
    assert parse([b"data: last\n\nretry: 2500\n"], parser) == [Event("last", "message", "")]
    assert parser.retry == 2500
    assert it.stream.reason is Reason.EXPIRED


async def test_expiry_has_a_reason_and_is_the_end_once(opened: Open) -> None:
    it = opened()
    it.stream.flush()
    await it.stream.expire(Reason.DRAINED)
    await it.stream.expire(Reason.EXPIRED, retry=1)
    assert (it.read(), it.stream.reason) == (b"", Reason.DRAINED)


async def test_the_last_word_needs_no_room(opened: Open) -> None:
    it = opened(max_buffer=4096)
    it.stuff()
    await asyncio.sleep(0)
    ended = it.stream.expire(Reason.DRAINED, retry=1)
    arrived = bytearray()

    async def read() -> None:
        while not it.stream.ended:
            arrived.extend(await it.now())

    await within(asyncio.gather(ended, read()))
    arrived += it.read()
    assert arrived.endswith(b"x\n\nretry: 1000\n")


async def test_what_is_revoked_sends_nothing_more(opened: Open) -> None:
    it = opened()
    it.stream.write_text("before")
    assert await it.now() == b"data: before\n\n"
    it.stream.write_text("gathered, and not for this client any more")
    it.stream.revoke()
    assert it.stream.ended
    assert (await it.now(), it.stream.reason) == (b"", Reason.REVOKED)
    with pytest.raises(StreamClosedError, match="revoked"):
        it.stream.write_text("after")
    it.stream.revoke()


@pytest.mark.parametrize("end", [lambda s: None, lambda s: s.close(), lambda s: s.expire()])
async def test_what_waits_is_lost_when_it_is_revoked(opened: Open, end: Callable[[Stream], object]) -> None:
    it = opened()
    it.stuff()
    end(it.stream)
    assert not it.stream.ended
    it.stream.revoke()
    assert (it.stream.ended, it.stream.pending, it.stream.reason) == (True, 0, Reason.REVOKED)


async def test_one_that_has_not_begun_can_not_be_revoked(opened: Open) -> None:
    it = opened()
    it.stream.revoke()
    assert not it.stream.closed
    it.stream.write_text("begun")
    assert await it.now() == b"data: begun\n\n"


# What its owner and its observer hear


async def test_starting_is_done_once_and_not_after_the_end(opened: Open) -> None:
    it = opened()
    transport = it.stream.start()
    assert it.stream.start() is transport
    assert (it.starts, it.stream.started) == ([1], True)
    never = opened()
    never.stream.dismiss()
    with pytest.raises(StreamClosedError, match="never started"):
        never.stream.start()
    assert never.starts == []


async def test_the_owner_is_told_which_stream_has_ended(opened: Open) -> None:
    streams = [opened().stream for _ in range(3)]
    ended: list[Stream] = []
    for stream in streams:
        stream.on_end = ended.append
        stream.flush()
    streams[1].abort()
    streams[0].close()
    await until(lambda: len(ended) == 2)
    assert ended == [streams[1], streams[0]]


async def test_the_observer_is_called_when_it_opens_and_when_it_has_ended(opened: Open) -> None:
    notes: list[tuple[object, ...]] = []

    class Notes(Observer):
        def on_open(self, *arguments: object) -> None:
            notes.append(("open", *arguments))

        def on_close(self, *arguments: object) -> None:
            notes.append(("close", *arguments))

    it = opened()
    it.stream.observer = guarded(Notes())
    it.stream.on_end = lambda stream: notes.append(("owner",))
    it.stream.write("held", serializer="text", flush=False)
    assert notes == []
    it.stream.flush()
    assert notes == [("open", "GET /test")]
    it.stream.close()
    assert len(notes) == 1, "never from within a call"
    await until(lambda: len(notes) == 3)
    (closed, description, reason, seconds, events, size), owner = notes[1:]
    assert (closed, description, reason, events, size) == ("close", "GET /test", "closed", 1, 12)
    assert isinstance(reason, str)
    assert isinstance(seconds, float)
    assert owner == ("owner",)
