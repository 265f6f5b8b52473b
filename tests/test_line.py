from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import select
import socket
import struct
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import pytest
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

from tests.support import until, within
from tornado_sse.line import Line
from tornado_sse.watch import Watch

pytestmark = pytest.mark.gen_test

CLOSE_AT_ONCE = struct.pack("ii", 1, 0)


class Told(Line):
    """A line that says what it is told."""

    def __init__(self, iostream: IOStream, peer: socket.socket) -> None:
        super().__init__(iostream)
        self.iostream = iostream
        self.peer = peer
        self.told: list[str] = []
        self._listen()

    @property
    def bare(self) -> bool:
        return self._iostream is None

    def lose(self, error: BaseException) -> None:
        self.told.append(type(error).__name__)
        self.end()

    def on_flood(self) -> None:
        self.told.append("flood")
        self.end()

    def end(self) -> None:
        self.ended = True
        self._hang_up()


MakeLine = Callable[[], Told]


@pytest.fixture(params=["bare", "blocked", "iostream"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How a line is: bare, in an IOStream since somebody had to wait, or where there is no watch."""
    if request.param != "iostream" and not hasattr(select, "epoll"):
        pytest.skip("only Linux has epoll")
    if request.param == "iostream":
        monkeypatch.setattr(Watch, "of", lambda loop: None)
    return str(request.param)


@pytest.fixture
def line(io_loop: IOLoop, kind: str) -> Iterator[MakeLine]:
    with contextlib.ExitStack() as stack:

        def make() -> Told:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                peer = socket.create_connection(listener.getsockname())
                ours = listener.accept()[0]
            peer.setblocking(False)
            stack.callback(peer.close)
            made = Told(IOStream(ours), peer)
            stack.callback(made.end)
            assert made.bare == (kind != "iostream")
            if kind == "blocked":
                made._stream()
            return made

        yield make


async def test_it_is_bare_until_somebody_has_to_wait(line: MakeLine, kind: str) -> None:
    it = line()
    assert it.bare == (kind == "bare")
    assert it.socket is not None
    it.socket.send(b"x")
    assert await within(asyncio.get_running_loop().sock_recv(it.peer, 9)) == b"x"
    stream = it._stream()
    assert not it.bare
    assert it._stream() is stream
    await stream.write(b"y")
    assert await within(asyncio.get_running_loop().sock_recv(it.peer, 9)) == b"y"
    assert not it.told


async def test_the_end_of_a_client_is_heard_at_once(line: MakeLine) -> None:
    it = line()
    it.peer.close()
    await until(lambda: it.told)
    assert it.told == ["StreamClosedError"]


async def test_so_is_half_of_it(line: MakeLine) -> None:
    it = line()
    it.peer.shutdown(socket.SHUT_WR)
    await until(lambda: it.told)
    assert it.told == ["StreamClosedError"]


async def test_so_is_a_reset(line: MakeLine, kind: str) -> None:
    it = line()
    it.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CLOSE_AT_ONCE)
    it.peer.close()
    await until(lambda: it.told)
    assert it.told == ["ConnectionResetError" if kind == "bare" else "StreamClosedError"]


async def test_what_a_client_says_is_thrown_away_and_hides_nothing(line: MakeLine) -> None:
    it = line()
    for _ in range(3):
        it.peer.send(b"x" * 20_000)
    it.peer.close()
    await until(lambda: it.told)
    assert it.told == ["StreamClosedError"]


async def test_a_client_that_does_not_stop_talking_is_told_of_once(line: MakeLine) -> None:
    it = line()
    with contextlib.suppress(ConnectionError):
        while not it.told:
            await within(asyncio.get_running_loop().sock_sendall(it.peer, b"x" * 1000))
    await asyncio.sleep(0)
    assert it.told == ["flood"]


async def test_what_was_said_before_and_after_it_was_blocked_counts_together(
    line: MakeLine, kind: str
) -> None:
    it = line()
    it.peer.send(b"x" * 40_000)
    await until(lambda: it._input == 40_000)
    it._stream()
    assert not it.told
    it.peer.send(b"x" * 40_000)
    await until(lambda: it.told)
    assert it.told == ["flood"]


async def test_hanging_up_is_seen_by_the_client_and_heard_by_nobody(line: MakeLine) -> None:
    it = line()
    it.end()
    it.end()
    assert await within(asyncio.get_running_loop().sock_recv(it.peer, 9)) == b""
    assert not it.told
    assert it.socket is None
    watch = Watch.of(asyncio.get_running_loop())
    assert watch is None or len(watch) == 0


async def test_what_is_unsent_can_be_dropped(line: MakeLine) -> None:
    it = line()
    assert it.socket is not None
    it.socket.send(b"x" * 1000)
    it._drop_unsent()
    it.end()
    with pytest.raises(ConnectionResetError):
        while await within(asyncio.get_running_loop().sock_recv(it.peer, 9)):
            pass


async def test_the_iostream_that_it_came_with_is_nobodys_any_more(line: MakeLine, kind: str) -> None:
    it = line()
    if kind == "iostream":
        return
    it.iostream.close()
    assert it.socket is not None
    it.socket.send(b"x")
    assert await within(asyncio.get_running_loop().sock_recv(it.peer, 9)) == b"x"
    assert not it.told


async def test_it_is_lost_if_the_kernel_has_no_room_to_watch_it(
    line: MakeLine, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind != "bare":
        return  # there is nothing that could fail

    def refuse(watch: Watch, descriptor: int, member: Line) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Watch, "add", refuse)
    it = line()
    assert it.told == ["OSError"]
    assert await within(asyncio.get_running_loop().sock_recv(it.peer, 9)) == b""


async def test_nothing_of_the_context_it_was_made_in_is_kept(line: MakeLine, kind: str) -> None:
    if kind == "iostream":
        return  # the IOStream's handler has it, from before it came here

    class Big:
        pass

    variable: ContextVar[Big | None] = ContextVar("variable", default=None)

    async def make() -> tuple[Told, weakref.ref[Big]]:
        big = Big()
        variable.set(big)
        return line(), weakref.ref(big)

    it, gone = await asyncio.create_task(make())
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None
    it.end()
