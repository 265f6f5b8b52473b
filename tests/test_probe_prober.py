"""A probe of whole servers: it finds what is wrong with broken ones, and nothing in right ones."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.broken_servers import FAULTS, PACE, Right, broken
from tests.scripted import Scripted, redirect
from tests.support import SECOND, reserved_address, until
from tests.test_proxies import nginx_before
from tornado_sse import Broker, ConnectionFailedError, RedirectError, Retention, SettingError, SSEHandler
from tornado_sse.probe import Report, Thresholds, probe

pytestmark = pytest.mark.gen_test

Serve = Callable[..., None]

QUICK = Thresholds(slow=0.5, late=0.3, silence=0.9, replay=1.0, brief=1.0, grace=0.15)


async def look_at(url: str) -> Report:
    return await probe(url, patience=1.2 * SECOND, thresholds=QUICK)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_it_finds_what_is_wrong_and_nothing_else(io_loop: object, fault: type[Right]) -> None:
    async with broken(fault()) as url:
        report = await look_at(url)
    assert {finding.code for finding in report.findings} == {*FAULTS[fault]}, report


async def test_it_finds_nothing_in_what_is_right(io_loop: object) -> None:
    async with broken(Right()) as url:
        report = await look_at(url)
    assert report.findings == []
    assert report.facts["resume"] == "works"


@pytest.mark.parametrize("keyed", [None, "k"])
async def test_it_finds_nothing_in_ours(
    io_loop: object, http_server: object, serve: Serve, http_port: int, keyed: str | None
) -> None:
    broker = Broker()
    serve(Clock, Follow, log_function=no_log, sse_broker=broker, sse_keepalive=0.4)
    publishing = asyncio.create_task(publish(broker, keyed))
    for path in ("clock", "follow/news", "follow/silence"):
        report = await look_at(f"http://127.0.0.1:{http_port}/{path}")
        assert report.findings == []
    assert report.facts["keep-alive"].startswith("a comment after 0.")
    report = await look_at(f"http://127.0.0.1:{http_port}/follow/news")
    assert report.facts["resume"] == report.facts["resume by ?last_event_id"] == "works"
    publishing.cancel()
    await broker.close()


async def test_it_finds_nothing_in_ours_behind_nginx(
    io_loop: object, serve: Serve, http_server: object, http_port: int, tmp_path: Path
) -> None:
    broker = Broker()
    serve(Clock, Follow, log_function=no_log, sse_broker=broker)
    publishing = asyncio.create_task(publish(broker, None))
    with (
        reserved_address() as (_, port),
        nginx_before(http_port, tmp_path, listen=f"127.0.0.1:{port} reuseport"),
    ):
        for path in ("clock", "follow/news"):
            await until(lambda: answers(port))
            report = await look_at(f"http://127.0.0.1:{port}/{path}")
            assert report.findings == []
    assert report.facts["resume"] == "works"
    publishing.cancel()
    await broker.close()


async def test_a_gap_that_is_told_is_right(
    io_loop: object, http_server: object, serve: Serve, http_port: int
) -> None:
    broker = Broker(retention=Retention(events=1))
    serve(Follow, log_function=no_log, sse_broker=broker)
    publishing = asyncio.create_task(publish(broker, None, burst=3))
    report = await look_at(f"http://127.0.0.1:{http_port}/follow/news")
    assert report.findings == []
    assert report.facts["resume"] in ("works", "works: what is lost is told")
    publishing.cancel()
    await broker.close()


async def test_redirects_are_followed_a_few_times(io_loop: object) -> None:
    async with broken(Right()) as url, Scripted(redirect(url)).running() as elsewhere:
        report = await look_at(elsewhere.url)
        assert report.facts["redirected to"] == url
        assert report.findings == []
    async with Scripted(redirect("/again")).running() as circle:
        report = await look_at(circle.url)
        assert [finding.code for finding in report.findings] == ["status"]
    async with Scripted(redirect("ftp://elsewhere/")).running() as astray:
        with pytest.raises(RedirectError):
            await look_at(astray.url)


async def test_what_can_not_be_asked_is_an_error(io_loop: object) -> None:
    with reserved_address() as (host, port), pytest.raises(ConnectionFailedError):
        await look_at(f"http://{host}:{port}/")
    with pytest.raises(SettingError):
        await look_at("nonsense")
    with pytest.raises(SettingError):
        await probe("http://host", patience=0)


class Clock(SSEHandler):
    async def open(self) -> None:
        async with self.stream:
            while True:
                await self.stream.write({"now": time.time()}, event="tick")
                await asyncio.sleep(PACE)


class Follow(SSEHandler):
    async def open(self, channel: str) -> None:
        await self.subscribe(channel)


def no_log(handler: object) -> None:
    """Of requests that are refused."""


async def publish(broker: Broker, key: str | None, burst: int = 1) -> None:
    for number in itertools.count():
        for _ in range(burst):
            await broker.publish("news", number, key=key)
        await asyncio.sleep(PACE)


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
