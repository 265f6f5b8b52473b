from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest

from tests.nats_server import Server
from tornado_sse.backends.nats_address import Address
from tornado_sse.backends.nats_link import Link
from tornado_sse.backends.nats_names import Names
from tornado_sse.backends.nats_stream import Stream
from tornado_sse.errors import BackendError

pytestmark = pytest.mark.gen_test

_streams = itertools.count(1)


@contextlib.asynccontextmanager
async def opened(server: Server) -> AsyncIterator[tuple[Stream, Names, Link]]:
    heard: list[object] = []
    address = Address([(server.host, server.port)])
    link = Link(address, 5.0, heard.append, lambda number, data: heard.append(data))
    name = f"stream-{next(_streams)}"
    names = Names(name)
    try:
        await link.open(0)
        yield Stream(name, names, "memory", None), names, link
    finally:
        await link.close()


async def test_many_who_make_it_at_once_make_one(nats_server: Server) -> None:
    async with opened(nats_server) as (stream, _, link):
        infos = await asyncio.gather(*(stream.open(link) for _ in range(10)))
        assert len({info.epoch for info in infos}) == 1
        assert (infos[0].last, infos[0].floor, len(infos[0].epoch)) == (0, 0, 10)


async def test_many_who_renew_it_at_once_agree(nats_server: Server) -> None:
    async with opened(nats_server) as (stream, _, link):
        info = await stream.open(link)
        renewed = await asyncio.gather(*(stream.renew(link, info) for _ in range(10)))
        assert {each.epoch for each in renewed} == {(await stream.look(link)).epoch}
        assert renewed[0].epoch != info.epoch


async def test_a_subject_of_one_message(nats_server: Server) -> None:
    async with opened(nats_server) as (stream, names, link):
        await stream.open(link)
        subject = names.floors("a")
        assert await stream.last(link, subject) is None
        assert await stream.replace(link, subject, b"one", 0)
        assert not await stream.replace(link, subject, b"two", 0)
        assert await stream.replace(link, subject, b"three", 1)
        last = await stream.last(link, subject)
        assert last is not None
        assert (last.sequence, last.data, last.subject) == (2, b"three", subject)
        assert last.headers["Nats-Rollup"] == "sub"
        assert abs(last.time - (await stream.look(link)).time) < 10
        assert await stream.at(link, 1) is None
        await stream.purge(link, subject, 2)
        assert await stream.at(link, 2) is None


async def test_a_fence_writes_nothing(nats_server: Server) -> None:
    async with opened(nats_server) as (stream, _, link):
        before = await stream.open(link)
        await stream.fence(link)
        assert (await stream.look(link)).last == before.last


async def test_another_who_has_its_subjects_is_left_alone(nats_server: Server) -> None:
    async with opened(nats_server) as (stream, names, link):
        await stream.open(link)
        with pytest.raises(BackendError, match="subjects overlap"):
            await Stream("another", names, None, None).open(link)
        with pytest.raises(BackendError, match='storage is "memory" and not "file"'):
            await Stream(stream.name, names, "file", None).open(link)
        with pytest.raises(BackendError, match="stream not found"):
            await Stream("another", names, None, None).look(link)


async def test_which_subjects_there_are(nats_server: Server) -> None:
    async with opened(nats_server) as (stream, names, link):
        await stream.open(link)
        assert [each async for each in stream.subjects(link)] == []
        subjects = [names.plain(f"channel.{i}") for i in range(100)]
        for subject in subjects:
            assert await stream.replace(link, subject, b"x", 0)
        assert sorted([each async for each in stream.subjects(link)]) == sorted(subjects)
