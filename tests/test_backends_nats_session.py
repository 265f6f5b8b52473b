from __future__ import annotations

import asyncio
import logging

import pytest
from nats.aio.msg import Msg

from tests.nats_server import Server
from tests.support import Logs, until, within
from tornado_sse.backends import nats_session
from tornado_sse.backends.nats_address import Address
from tornado_sse.backends.nats_link import Link
from tornado_sse.backends.nats_session import Session
from tornado_sse.errors import BackendError

pytestmark = pytest.mark.gen_test


class Owner:
    """An owner whose log is well unless a test says what is wrong."""

    def __init__(self, *problems: Exception) -> None:
        self.problems = [*problems]
        self.notes: list[str] = []
        self.looks = 0

    def hear(self, message: Msg) -> None: ...

    def on_answer(self, number: int, data: bytes | None) -> None: ...

    async def begin(self, link: Link) -> None:
        if self.problems:
            raise self.problems.pop(0)

    def on_linked(self, link: Link) -> None:
        self.notes.append("linked")

    def on_unlinked(self, problem: BackendError | None) -> None:
        self.notes.append(f"unlinked: {problem.reason if problem else ''}")

    async def look(self, link: Link) -> None:
        self.looks += 1


def running(owner: Owner, server: Server) -> tuple[Session, asyncio.Task[None]]:
    session = Session(owner, Address([(server.host, server.port)]), 2.0)
    return session, asyncio.ensure_future(session.run())


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def test_one_connection_comes_after_the_other(nats_server: Server) -> None:
    owner = Owner()
    session, task = running(owner, nats_server)
    first = await within(session.linked())
    first.end(BackendError("nats", "a test"))
    await until(lambda: owner.notes == ["linked", "unlinked: a test", "linked"])
    assert session.link is not first
    await stop(task)


async def test_it_is_asked_again_on_the_next_one(nats_server: Server) -> None:
    session, task = running(Owner(), nats_server)
    links = []

    async def ask(link: Link) -> int:
        links.append(link)
        if len(links) < 3:
            link.end(BackendError("nats", "a test"))
            raise BackendError("nats", "a test")
        return 7

    assert await within(session.ask(ask)) == 7
    assert len({*map(id, links)}) == 3

    async def refused(link: Link) -> None:
        raise BackendError("nats", "no")

    with pytest.raises(BackendError, match="no"):
        await session.ask(refused)
    await stop(task)


async def test_it_looks_whether_all_is_well(nats_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_session, "PULSE", 0.01)
    owner = Owner()
    _, task = running(owner, nats_server)
    await until(lambda: owner.looks >= 3)
    await stop(task)


async def test_those_who_ask_at_the_same_time_share_a_look(nats_server: Server) -> None:
    owner = Owner()
    session, task = running(owner, nats_server)
    link = await within(session.linked())
    first = asyncio.ensure_future(session.look(link))
    await asyncio.sleep(0)
    await asyncio.gather(first, *(session.look(link) for _ in range(10)))
    assert owner.looks <= 3  # one may be of the pulse
    await stop(task)
    with pytest.raises(BackendError, match="is away"):
        await session.look(link)


async def test_what_is_wrong_is_told_until_it_is_over(nats_server: Server, logs: Logs) -> None:
    owner = Owner(BackendError("nats", "something"), LookupError("a bug"))
    session, task = running(owner, nats_server)
    await within(session.linked())
    assert owner.notes == ["unlinked: something", "unlinked: an unexpected LookupError: a bug", "linked"]
    (record,) = logs.claim("the nats log's connection failed")
    assert record.levelno == logging.ERROR
    problem, relief = logs.messages()
    assert problem == "the nats log can't be followed: something"
    assert relief == f"the nats log at {session._address} is back"
    await stop(task)


async def test_who_waits_when_it_is_closed_is_told_so(nats_server: Server) -> None:
    session = Session(Owner(), Address([(nats_server.host, nats_server.port)]), 60.0)

    async def ask(link: Link) -> None: ...

    asking = asyncio.ensure_future(session.ask(ask))
    await asyncio.sleep(0)
    await session.close()
    with pytest.raises(BackendError, match="it has been closed"):
        await within(asking)
