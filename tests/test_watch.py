from __future__ import annotations

import asyncio
import gc
import select
import socket
import weakref
from collections.abc import Iterator
from contextvars import ContextVar

import pytest
from tornado.ioloop import IOLoop

from tests.support import Logs, until
from tornado_sse.watch import Watch

pytestmark = [
    pytest.mark.gen_test,
    pytest.mark.skipif(not hasattr(select, "epoll"), reason="only Linux has epoll"),
]

setting: ContextVar[str] = ContextVar("setting", default="of nobody")


class Member:
    """Reads one byte at a time, and closes at the end."""

    def __init__(self) -> None:
        self.ours, self.peer = socket.socketpair()
        self.ours.setblocking(False)
        self.descriptor = self.ours.fileno()
        self.heard: list[bytes] = []
        self.settings: list[str] = []
        self.failing = False

    def on_readable(self) -> None:
        if self.failing:
            raise ZeroDivisionError
        self.heard.append(self.ours.recv(1))
        self.settings.append(setting.get())

    def on_loop_closed(self) -> None:
        self.ours.close()

    def close(self) -> None:
        self.ours.close()
        self.peer.close()


@pytest.fixture
def members() -> Iterator[list[Member]]:
    members = [Member() for _ in range(3)]
    yield members
    for member in members:
        member.close()


def the_watch() -> Watch:
    watch = Watch.of(asyncio.get_running_loop())
    assert watch is not None
    return watch


async def test_each_hears_of_its_own_as_long_as_there_is_something(
    io_loop: IOLoop, members: list[Member]
) -> None:
    watch = the_watch()
    for member in members:
        watch.add(member.descriptor, member)
    members[0].peer.send(b"ab")
    members[2].peer.close()
    await until(lambda: len(members[0].heard) == 2 and members[2].heard)
    assert members[0].heard == [b"a", b"b"]
    assert members[1].heard == []
    assert {*members[2].heard} == {b""}
    for member in members:
        watch.discard(member.descriptor)


async def test_who_is_discarded_hears_no_more_and_the_last_takes_the_poller_along(
    io_loop: IOLoop, members: list[Member]
) -> None:
    watch = the_watch()
    assert the_watch() is watch
    for _ in range(2):  # and it comes back with the next
        for member in members:
            watch.add(member.descriptor, member)
        watch.discard(members[0].descriptor)
        watch.discard(members[0].descriptor)
        members[0].peer.send(b"a")
        members[1].peer.send(b"b")
        await until(lambda: members[1].heard)
        assert (len(watch), members[0].heard) == (2, [])
        members[1].heard.clear()
        for member in members[1:]:
            watch.discard(member.descriptor)
        assert (len(watch), watch._poller) == (0, None)


async def test_one_may_end_another_within_the_same_turn(io_loop: IOLoop, members: list[Member]) -> None:
    watch = the_watch()

    class Ending(Member):
        def on_readable(self) -> None:
            for each in both:
                watch.discard(each.descriptor)
            super().on_readable()

    both = [Ending(), Ending()]
    for member in both:
        watch.add(member.descriptor, member)
        member.peer.send(b"a")
    await until(lambda: any(member.heard for member in both))
    assert sum(len(member.heard) for member in both) == 1
    for member in both:
        member.close()


async def test_a_defect_of_one_is_not_the_others(io_loop: IOLoop, members: list[Member], logs: Logs) -> None:
    watch = the_watch()
    members[0].failing = True
    for member in members:
        watch.add(member.descriptor, member)
        member.peer.send(b"a")
    await until(lambda: members[1].heard and members[2].heard)
    assert len(watch) == 2
    logs.claim("Reading failed for")
    for member in members:
        watch.discard(member.descriptor)


async def test_a_descriptor_that_is_closed_already_is_forgotten_all_the_same(
    io_loop: IOLoop, members: list[Member]
) -> None:
    watch = the_watch()
    watch.add(members[0].descriptor, members[0])
    members[0].ours.close()
    watch.discard(members[0].descriptor)
    assert len(watch) == 0


async def test_nobody_sees_the_context_of_who_came_first(io_loop: IOLoop, members: list[Member]) -> None:
    watch = the_watch()
    token = setting.set("of the first")
    watch.add(members[0].descriptor, members[0])
    setting.reset(token)
    members[0].peer.send(b"a")
    await until(lambda: members[0].heard)
    assert members[0].settings == ["of nobody"]
    watch.discard(members[0].descriptor)


def test_a_loop_that_was_closed_is_let_go_with_its_sockets(members: list[Member]) -> None:
    async def add(member: Member) -> None:
        the_watch().add(member.descriptor, member)

    loops = [asyncio.new_event_loop(), asyncio.new_event_loop()]
    loops[0].run_until_complete(add(members[0]))
    loops[0].close()
    assert members[0].ours.fileno() != -1
    loops[1].run_until_complete(add(members[1]))
    assert members[0].ours.fileno() == -1
    gone = weakref.ref(loops.pop(0))
    gc.collect()
    assert gone() is None
    watch = Watch.of(loops[0])
    assert watch is not None
    watch.discard(members[1].descriptor)
    loops[0].close()


def test_without_epoll_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    loop = asyncio.new_event_loop()
    assert Watch.of(loop) is None
    loop.close()
