from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, SSLIOStream

from tests.support import SECOND, VirtualLoop, until, within
from tornado_sse import Reason, Settings, StreamClosedError
from tornado_sse.outbox import _unacknowledged
from tornado_sse.ticker import Ticker
from tornado_sse.transport import Transport

pytestmark = pytest.mark.gen_test

KILOBYTE = b"x" * 1024


class Pair:
    """A transport, and the other end of its connection as a plain socket."""

    def __init__(self, transport: Transport, peer: socket.socket, ends: list[str]) -> None:
        self.transport = transport
        self.peer = peer
        self.ends = ends

    async def read(self, count: int) -> bytes:
        loop = asyncio.get_running_loop()
        data = b""
        while len(data) < count:
            piece = await within(loop.sock_recv(self.peer, count - len(data)))
            assert piece, f"the connection ended after {data!r}"
            data += piece
        return data

    async def read_all(self) -> bytes:
        loop = asyncio.get_running_loop()
        data = b""
        while piece := await within(loop.sock_recv(self.peer, 1 << 20)):
            data += piece
        return data

    async def settle(self) -> None:
        """Wait until the kernel has moved all that it can between the two ends."""
        seen: list[tuple[int, int]] = []
        while len(seen) < 4 or len({*seen[-4:]}) > 1:
            seen.append((self.transport.pending, _unacknowledged(self.transport._iostream.socket)))
            await asyncio.sleep(0.005 * SECOND)

    def fill(self, *, beyond: int = 0) -> int:
        """Send until the kernel takes no more, and then so many bytes; return how many were sent."""
        sent = 0
        while self.transport.pending <= beyond:
            self.transport.send(KILOBYTE)
            sent += len(KILOBYTE)
        return sent


MakePair = Callable[..., Pair]


@pytest.fixture
def pair(io_loop: IOLoop) -> Iterator[MakePair]:
    with contextlib.ExitStack() as stack:

        def make(*, chunked: bool = False, jitter: float = 0.0, unix: bool = False, **settings: Any) -> Pair:
            if unix:
                ours, peer = socket.socketpair()
            else:
                with socket.create_server(("127.0.0.1", 0)) as listener:
                    peer = socket.socket()
                    # Small, so that a reader that does not read is soon full.
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    peer.connect(listener.getsockname())
                    ours = listener.accept()[0]
                    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            peer.setblocking(False)
            stack.callback(peer.close)
            iostream = IOStream(ours)
            stack.callback(iostream.close)
            ends: list[str] = []
            transport = Transport(
                iostream,
                chunked=chunked,
                settings=Settings(**settings),
                on_end=lambda: ends.append(str(transport.reason)),
                jitter=lambda: jitter,
            )
            return Pair(transport, peer, ends)

        yield make


# Framing


async def test_a_chunk_a_send_and_the_last_chunk_at_the_end(pair: MakePair) -> None:
    it = pair(chunked=True)
    it.transport.send(b"data: x\n\n")
    it.transport.send(b"y" * 300)
    await it.transport.close()
    assert await it.read_all() == b"9\r\ndata: x\n\n\r\n12c\r\n" + b"y" * 300 + b"\r\n0\r\n\r\n"
    await until(lambda: it.ends)
    assert it.ends == ["closed"]


async def test_without_chunks_the_connections_end_is_the_end(pair: MakePair) -> None:
    it = pair()
    it.transport.send(b"data: x\n\n")
    it.transport.close()
    assert await it.read_all() == b"data: x\n\n"
    assert it.transport.bytes_sent == 9


async def test_an_abort_sends_no_last_chunk(pair: MakePair) -> None:
    it = pair(chunked=True)
    it.transport.send(b"x")
    it.transport.abort()
    it.transport.abort(Reason.STALLED)
    assert await it.read_all() == b"1\r\nx\r\n"
    await until(lambda: it.ends)
    assert it.ends == ["failed"]


# Backpressure


async def test_a_writer_goes_on_at_once_while_the_kernel_takes_it_all(pair: MakePair) -> None:
    it = pair()
    for _ in range(10):
        it.transport.send(b"x")
        assert it.transport.pending == 0
        # An awaitable that never suspends lets nobody else run in between.
        ran: list[int] = []
        asyncio.get_running_loop().call_soon(ran.append, 1)
        await it.transport.drained()
        assert not ran
        await asyncio.sleep(0)


async def test_order_and_content_survive_a_slow_reader(pair: MakePair) -> None:
    it = pair()
    expected = bytearray()

    async def writer(name: int) -> None:
        for i in range(100):
            data = b"%d:%d;" % (name, i) * 500
            expected.extend(data)
            it.transport.send(data)
            await it.transport.drained()

    writers = asyncio.gather(*map(writer, range(5)))
    received = b""
    while not writers.done() or it.transport.pending:
        received += await it.read(1)
        with contextlib.suppress(BlockingIOError):
            received += it.peer.recv(20_000)
    await writers
    it.transport.close()
    assert received + await it.read_all() == expected


async def test_what_the_reader_does_not_take_is_counted(pair: MakePair) -> None:
    it = pair()
    sent = it.fill(beyond=100_000)
    received = await it.read(sent - it.transport.pending)
    received += await it.read(sent - len(received))
    await until(lambda: not it.transport.pending)
    assert received == b"x" * sent


async def test_all_who_wait_are_woken_and_one_who_gives_up_takes_nobody_along(pair: MakePair) -> None:
    it = pair()

    async def wait() -> str:
        await it.transport.drained(0)
        return "drained"

    sent = it.fill(beyond=100_000)
    waiting = [asyncio.ensure_future(wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await it.read(sent)
    results = await within(asyncio.gather(*waiting, return_exceptions=True))
    assert [str(result) or type(result).__name__ for result in results] == [
        "drained",
        "CancelledError",
        "drained",
    ]


async def test_a_piece_larger_than_any_socket_buffer_arrives_whole(pair: MakePair) -> None:
    it = pair(chunked=True)
    data = bytes(range(256)) * 40_000
    it.transport.send(data)
    it.transport.send(b"next")
    it.transport.close()
    assert await it.read_all() == b"%x\r\n" % len(data) + data + b"\r\n4\r\nnext\r\n0\r\n\r\n"


async def test_close_waits_for_what_is_pending(pair: MakePair) -> None:
    it = pair(chunked=True)
    it.fill(beyond=100_000)
    closing = it.transport.close()
    assert (it.transport.closed, it.transport.ended) == (True, False)
    with pytest.raises(StreamClosedError):
        it.transport.send(b"late")
    received, _ = await asyncio.gather(it.read_all(), closing)
    assert received.endswith(b"\r\n0\r\n\r\n")
    assert (it.transport.ended, it.transport.reason) == (True, Reason.CLOSED)


async def test_waiting_ends_with_an_error_when_the_client_goes(pair: MakePair) -> None:
    it = pair()
    it.fill(beyond=100_000)
    early = it.transport.drained()
    waiting = asyncio.ensure_future(early)
    await asyncio.sleep(0)
    it.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    it.peer.close()
    with pytest.raises(StreamClosedError, match="disconnected"):
        await within(waiting)
    with pytest.raises(StreamClosedError, match="disconnected"):
        await early
    assert it.transport.pending == 0


async def test_what_a_write_returns_may_be_left_alone(pair: MakePair) -> None:
    it = pair()
    it.fill(beyond=70_000)
    it.transport.drained()
    it.transport.abort()
    gc.collect()
    await until(lambda: it.ends)


# The client goes, or says something


async def test_a_disconnect_is_seen_without_a_write(pair: MakePair) -> None:
    it = pair()
    it.peer.close()
    await until(lambda: it.ends)
    assert (it.ends, it.transport.closed) == (["disconnected"], True)
    with pytest.raises(StreamClosedError, match="disconnected"):
        it.transport.send(b"x")


async def test_a_disconnect_behind_unread_bytes_is_seen(pair: MakePair) -> None:
    it = pair()
    it.peer.send(b"GET /next HTTP/1.1\r\n\r\n")
    it.peer.close()
    await until(lambda: it.ends)
    assert it.ends == ["disconnected"]


async def test_a_half_closed_connection_counts_as_closed(pair: MakePair) -> None:
    it = pair()
    it.peer.shutdown(socket.SHUT_WR)
    await until(lambda: it.ends)
    assert it.ends == ["disconnected"]


async def test_a_write_that_finds_the_client_gone_raises_and_says_so_once(pair: MakePair) -> None:
    it = pair()
    it.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    it.peer.close()
    # The event loop does not run in between, so it can't have heard of it.
    with pytest.raises(StreamClosedError, match="disconnected"):
        for _ in range(1000):
            it.transport.send(b"x")
    assert it.ends == []
    await until(lambda: it.ends)
    await asyncio.sleep(0)
    assert it.ends == ["disconnected"]


async def test_what_the_client_says_is_thrown_away(pair: MakePair) -> None:
    it = pair()
    for _ in range(20):
        it.peer.send(b"x" * 1000)
        await asyncio.sleep(0)
    it.transport.send(b"y")
    assert await it.read(1) == b"y"
    assert not it.transport.closed


async def test_a_client_that_does_not_stop_talking_is_cut(pair: MakePair) -> None:
    it = pair()
    with contextlib.suppress(ConnectionError):
        while not it.ends:
            await within(asyncio.get_running_loop().sock_sendall(it.peer, b"x" * 1000))
    await until(lambda: it.ends)
    assert it.ends == ["flooded"]


async def test_a_connection_that_is_gone_from_the_start_ends_at_once(io_loop: IOLoop) -> None:
    ours, peer = socket.socketpair()
    iostream = IOStream(ours)
    iostream.close()
    ends: list[str] = []
    transport = Transport(iostream, chunked=True, settings=Settings(), on_end=lambda: ends.append("end"))
    assert transport.ended
    with pytest.raises(StreamClosedError):
        transport.send(b"x")
    transport.close()
    transport.abort()
    await until(lambda: ends)
    assert ends == ["end"]
    peer.close()


async def test_a_head_still_on_its_way_stays_in_front(io_loop: IOLoop) -> None:
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    iostream = IOStream(ours)
    head = b"h" * 5_000_000
    iostream.write(head)
    transport = Transport(iostream, chunked=False, settings=Settings(), on_end=lambda: None)
    transport.send(b"body")
    assert transport.pending == 4
    it = Pair(transport, peer, [])
    transport.close()
    assert await it.read_all() == head + b"body"
    peer.close()


# Time


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch, io_loop: IOLoop) -> VirtualLoop:
    """Put the tickers and transports of the test on a clock of its own."""
    virtual = VirtualLoop()
    ticker = Ticker(virtual)  # type: ignore[arg-type]
    monkeypatch.setattr(Ticker, "of", lambda loop: ticker)
    return virtual


async def test_an_idle_stream_says_something_before_the_silence_is_too_long(
    pair: MakePair, virtual: VirtualLoop
) -> None:
    it = pair(keepalive=15)
    virtual.advance(14)
    with pytest.raises(BlockingIOError):
        it.peer.recv(1)
    virtual.advance(1)
    assert await it.read(2) == b":\n", "not a moment later than was promised"
    virtual.advance(60)
    assert await it.read(8) == b":\n" * 4
    with pytest.raises(BlockingIOError):
        it.peer.recv(1)


async def test_a_silence_after_a_backlog_is_no_longer_than_any_other(
    pair: MakePair, virtual: VirtualLoop
) -> None:
    it = pair(keepalive=15, stall_timeout=300)
    sent = it.fill(beyond=100_000)
    await it.read(sent)
    await until(lambda: not it.transport.pending)
    virtual.advance(15)
    assert await it.read(2) == b":\n"


async def test_a_busy_stream_sends_no_comments(pair: MakePair, virtual: VirtualLoop) -> None:
    it = pair(keepalive=15)
    for _ in range(100):
        virtual.advance(5)
        it.transport.send(b"x")
    assert await it.read(100) == b"x" * 100


async def test_the_form_of_a_comment_can_be_set_and_is_framed(pair: MakePair, virtual: VirtualLoop) -> None:
    it = pair(keepalive=15, keepalive_frame=b": ping\n\n", chunked=True)
    virtual.advance(16)
    assert await it.read(13) == b"8\r\n: ping\n\n\r\n"


async def test_without_keepalive_there_is_silence_and_no_timer(pair: MakePair, virtual: VirtualLoop) -> None:
    it = pair(keepalive=None)
    assert not virtual.timers
    virtual.advance(10_000)
    with pytest.raises(BlockingIOError):
        it.peer.recv(1)


async def test_a_reader_that_takes_nothing_is_cut_after_the_stall_timeout(
    pair: MakePair, virtual: VirtualLoop
) -> None:
    it = pair(stall_timeout=60, keepalive=None)
    it.fill(beyond=100_000)
    await it.settle()
    virtual.advance(40)
    assert not it.transport.closed
    virtual.advance(60)
    assert (it.transport.ended, it.transport.reason) == (True, Reason.STALLED)
    # It is told by a reset, so that the kernel keeps nothing for it.
    with pytest.raises(ConnectionResetError):
        await it.read_all()


async def test_a_reader_that_is_only_slow_is_not_cut(pair: MakePair, virtual: VirtualLoop) -> None:
    it = pair(stall_timeout=60, keepalive=None)
    it.fill(beyond=500_000)
    for _ in range(20):
        await it.read(20_000)
        await it.settle()
        virtual.advance(50)
        assert not it.transport.closed, it.transport.reason


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much the peer has not acknowledged")
async def test_progress_within_the_kernels_buffer_is_progress(pair: MakePair, virtual: VirtualLoop) -> None:
    it = pair(stall_timeout=60, keepalive=None)
    it.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
    it.fill(beyond=50_000)
    pending = it.transport.pending
    for _ in range(8):
        await it.read(10_000)
        await it.settle()
        virtual.advance(50)
    assert it.transport.pending == pending
    assert not it.transport.closed, it.transport.reason


async def test_a_stalled_reader_does_not_hold_up_a_close_for_ever(
    pair: MakePair, virtual: VirtualLoop
) -> None:
    it = pair(stall_timeout=60, keepalive=None)
    it.fill(beyond=100_000)
    closing = asyncio.ensure_future(it.transport.close())
    await it.settle()
    virtual.advance(200)
    with pytest.raises(StreamClosedError, match="stalled"):
        await within(closing)


@pytest.mark.parametrize(("jitter", "life"), [(0.0, 100), (0.5, 95), (1.0, 90)])
async def test_a_stream_ends_cleanly_at_its_age_less_a_random_tenth(
    pair: MakePair, virtual: VirtualLoop, jitter: float, life: float
) -> None:
    it = pair(max_age=100, jitter=jitter, chunked=True, keepalive=None)
    virtual.advance(life - 0.1)
    assert not it.transport.closed
    virtual.advance(0.2)
    assert it.transport.reason is Reason.EXPIRED
    assert await it.read_all() == b"0\r\n\r\n"


async def test_a_pulled_cable_is_the_kernels_business(pair: MakePair) -> None:
    it = pair(stall_timeout=7.5)
    sock = it.transport.socket
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7500


async def test_a_stall_timeout_of_any_length_will_do(pair: MakePair) -> None:
    it = pair(stall_timeout=10**9)
    it.transport.send(b"x")
    assert await it.read(1) == b"x"


async def test_an_abort_without_chunks_is_a_reset_since_an_end_would_look_complete(pair: MakePair) -> None:
    it = pair()
    it.transport.send(b"x")
    assert await it.read(1) == b"x"
    it.transport.abort()
    with pytest.raises(ConnectionResetError):
        await it.read_all()


async def test_what_the_kernel_holds_is_not_sent_after_it_is_revoked(pair: MakePair) -> None:
    it = pair(chunked=True)
    it.fill(beyond=100_000)
    it.transport.abort(Reason.REVOKED)
    with pytest.raises(ConnectionResetError):
        await it.read_all()


async def test_who_waits_for_little_does_not_wait_for_nothing(pair: MakePair) -> None:
    it = pair()
    it.fill(beyond=500_000)
    waiting = asyncio.ensure_future(_wait(it.transport.drained()))
    received = 0
    while not waiting.done():
        received += len(await it.read(10_000))
        it.transport.send(KILOBYTE * 2)  # somebody else, who does not wait
    assert it.transport.pending > 0


async def _wait(awaitable: Awaitable[None]) -> None:
    await awaitable


async def test_a_unix_socket_does_as_well(pair: MakePair) -> None:
    it = pair(unix=True, chunked=True)
    sent = it.fill(beyond=10_000)
    it.transport.close()
    received = await it.read_all()
    assert received.count(KILOBYTE) * 1024 == sent


# TLS


async def test_tls_takes_the_same_road_with_backpressure(
    io_loop: IOLoop, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server_context, client_context = tls
    listener = socket.create_server(("127.0.0.1", 0))
    connecting = asyncio.ensure_future(
        asyncio.open_connection(
            *listener.getsockname(), ssl=client_context, server_hostname="localhost", limit=1024
        )
    )
    accepted = (await asyncio.get_running_loop().run_in_executor(None, listener.accept))[0]
    listener.close()
    wrapped = server_context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
    iostream = SSLIOStream(wrapped, ssl_options=server_context)
    await iostream.wait_for_handshake()
    reader, writer = await connecting
    transport = Transport(iostream, chunked=False, settings=Settings(), on_end=lambda: None)
    expected = bytearray()
    while transport.pending < 100_000:
        data = b"%d;" % len(expected) * 300
        transport.send(data)
        expected += data
    waiting: Awaitable[None] = transport.drained()
    received = bytearray(await reader.read(1))
    transport.close()
    while piece := await within(reader.read(1 << 16)):
        received += piece
    await waiting
    assert received == expected
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


# Cost


async def test_nothing_is_left_of_those_who_have_gone(pair: MakePair) -> None:
    its = [pair() for _ in range(50)]
    ticker = Ticker.of(asyncio.get_running_loop())
    assert len(ticker) == 50
    for it in its:
        it.peer.close()
    await until(lambda: all(it.ends for it in its))
    assert len(ticker) == 0
    assert len(asyncio.all_tasks()) == 1


async def test_no_garbage_needs_the_collector(pair: MakePair) -> None:
    gc.collect()
    gc.disable()
    try:
        its = [pair() for _ in range(20)]
        for it in its:
            it.transport.send(b"x")
            it.transport.close()
        await until(lambda: all(it.ends for it in its))
        its.clear()
        del it
        await asyncio.sleep(0)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        leaked = [found for found in gc.garbage if isinstance(found, (Transport, IOStream))]
        assert leaked == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
