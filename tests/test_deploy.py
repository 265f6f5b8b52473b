"""The files of deploy/ as shipped, at work: each proxy with two servers behind it that share a log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.proxies import FILES, Deployed, deployed, find_program
from tests.support import Connection, until, within
from tornado_sse import Event, EventParser
from tornado_sse.shutdown import serve_until_stopped

pytestmark = pytest.mark.gen_test

every_proxy = pytest.mark.parametrize("kind", FILES)


def texts(events: list[Event]) -> list[str]:
    return [event.data for event in events]


@every_proxy
async def test_each_event_arrives_before_the_next_one_is_published(kind: str, tmp_path: Path) -> None:
    async with deployed(kind, tmp_path) as it:
        stream = await it.get("/channels/news", **{"Accept-Encoding": "gzip, br, zstd"})
        assert stream.status == 200
        assert "Content-Encoding" not in stream.headers
        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        await until(lambda: it.streams == 1)
        for i in range(8):
            await it.publish("news", str(i))
            assert (await stream.event()).data == str(i)


@every_proxy
async def test_so_it_does_over_http2(kind: str, tmp_path: Path) -> None:
    async with deployed(kind, tmp_path) as it:
        curl = await asyncio.create_subprocess_exec(
            *(find_program("curl"), "-siN", "--http2", "--cacert", tmp_path / "authority.pem"),
            *("--resolve", f"test:{it.port}:127.0.0.1", f"https://test:{it.port}/channels/news"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert curl.stdout is not None
        try:
            assert await within(curl.stdout.readline()) == b"HTTP/2 200 \r\n"
            await until(lambda: it.streams == 1)
            for i in range(8):
                await it.publish("news", str(i))
                await within(curl.stdout.readuntil(f"data: {i}\n".encode()))
        finally:
            curl.kill()
            await curl.communicate()
        await until(lambda: it.streams == 0)


@every_proxy
async def test_who_comes_without_tls_is_sent_to_it(kind: str, tmp_path: Path) -> None:
    async with deployed(kind, tmp_path) as it:
        comes = await Connection.open("127.0.0.1", it.plain)
        await comes.request("/channels/news")
        assert comes.status in (301, 308)
        assert comes.headers["Location"].startswith("https://test")
        assert it.streams == 0
        comes.close()
        await comes.writer.wait_closed()


@every_proxy
async def test_who_was_cut_resumes(kind: str, tmp_path: Path) -> None:
    async with deployed(kind, tmp_path) as it:
        stream = await it.get("/channels/news")
        await it.publish("news", "first")
        first = await stream.event()
        stream.reset()
        await it.publish("news", "second")
        await it.publish("news", "third")
        again = await it.get("/channels/news", **{"Last-Event-ID": first.id or ""})
        assert texts(await again.events(2)) == ["second", "third"]


@every_proxy
async def test_a_browser_that_goes_is_noticed_without_a_write(kind: str, tmp_path: Path) -> None:
    async with deployed(kind, tmp_path, sse_keepalive=None) as it:
        stream = await it.get("/channels/news")
        await until(lambda: it.streams == 1)
        stream.reset()
        await until(lambda: it.streams == 0)


# Caddy has ended it as complete up to 2.6 at least, which makes no difference to an EventSource.
@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
async def test_what_was_cut_does_not_look_complete(kind: str, tmp_path: Path) -> None:
    async with deployed(kind, tmp_path) as it:
        stream = await it.get("/dies")
        assert b"data: begun\n\n" in await stream.rest()
        assert stream.complete is False


@every_proxy
async def test_the_server_knows_who_asks_and_is_not_lied_to(kind: str, tmp_path: Path) -> None:
    async with deployed(kind, tmp_path) as it:
        asks = await it.connect("127.0.0.2")
        forged = {
            "X-Forwarded-For": "192.0.2.1",
            "X-Real-IP": "192.0.2.2",
            "X-Forwarded-Proto": "http",
            "X-Scheme": "http",
        }
        await asks.request("/who", headers=forged.items())
        body = await asks.reader.readexactly(int(asks.headers["Content-Length"]))
        assert json.loads(body) == {"address": "127.0.0.2", "protocol": "https"}


@every_proxy
async def test_no_token_is_logged(kind: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as syslog:
        syslog.bind(("127.0.0.1", 0))
        syslog.setblocking(False)
        there = "{}:{}".format(*syslog.getsockname())
        changes = {"/dev/log": there} if kind == "haproxy" else {}
        async with deployed(kind, tmp_path, changes) as it:
            stream = await it.get(
                "/channels/news?access_token=secret", Referer="http://test/?access_token=secret"
            )
            assert stream.status == 200
            stream.reset()

            def logged() -> str:
                if kind == "haproxy":
                    with contextlib.suppress(BlockingIOError):
                        return syslog.recv(65536).decode()
                    return ""
                return (tmp_path / ("access.log" if kind == "nginx" else "said")).read_text()

            found = []
            await until(lambda: found.append(logged()) or "/channels/news" in found[-1])
            assert "secret" not in "".join(found)


@every_proxy
async def test_the_server_with_fewest_streams_gets_the_next(kind: str, tmp_path: Path) -> None:
    async with deployed(kind, tmp_path) as it:
        for count in range(1, 5):
            # Turn by turn, all those that stay would be at the same server.
            await it.get("/channels/news")
            goes = await it.get("/channels/news")
            goes.reset()
            await until(lambda count=count: it.streams == count)  # type: ignore[misc]
        assert [each.streams for each in it.behind] == [2, 2]


@every_proxy
async def test_what_is_published_is_never_sent_twice(kind: str, tmp_path: Path) -> None:
    async with deployed(kind, tmp_path) as it:
        publishes = await it.connect()
        await publishes.request("/refuses", method="POST", body=b"event")
        assert publishes.status == 503
        body = await within(publishes.reader.readexactly(int(publishes.headers["Content-Length"])))
        assert body == b"refused"
        assert [body for each in it.behind for body in each.application.settings["taken"]] == [b"event"]


class Reader:
    """Follows a channel through the proxy as an EventSource does: any status but 200 is the end."""

    def __init__(self, it: Deployed) -> None:
        self.it = it
        self.texts: list[str] = []
        self.connections = 0
        self.parser = EventParser()

    async def run(self) -> None:
        while True:
            stream = await self.it.get("/channels/news?start=earliest", **self._resume())
            assert stream.status == 200, stream.status
            self.connections += 1
            self.parser = EventParser(self.parser.last_event_id)
            while piece := await stream.read_some():
                self.texts += texts(self.parser.feed(piece))
            assert self.parser.retry is not None
            await asyncio.sleep(self.parser.retry / 1000)

    def _resume(self) -> dict[str, str]:
        return {"Last-Event-ID": self.parser.last_event_id} if self.parser.last_event_id else {}


@every_proxy
async def test_the_streams_of_a_server_that_stops_go_on_at_the_other(kind: str, tmp_path: Path) -> None:
    async with deployed(kind, tmp_path, sse_retry=0.1) as it:
        stops, stays = it.behind
        readers = [Reader(it) for _ in range(20)]
        tasks = [asyncio.create_task(reader.run()) for reader in readers]
        try:
            await until(lambda: all(reader.connections for reader in readers))
            assert stops.streams == stays.streams == 10
            stopped = asyncio.create_task(
                serve_until_stopped(stops.server, deadline=2, signals=(signal.SIGUSR1,))
            )
            await asyncio.sleep(0)
            os.kill(os.getpid(), signal.SIGUSR1)
            published = []
            while not stopped.done():
                # Publishing goes on, and clients come that are new: who is refused would never ask again.
                published.append(str(len(published)))
                await stays.broker.publish("news", published[-1], serializer="text")
                new = await it.get("/channels/news")
                assert new.status == 200
                new.reset()
            await stopped
            published.append("end")
            await stays.broker.publish("news", "end", serializer="text")
            await until(
                lambda: (
                    all(reader.texts[-1:] == ["end"] for reader in readers) or any(t.done() for t in tasks)
                )
            )
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in results), results
        assert all(reader.texts == published for reader in readers)
        assert sum(reader.connections for reader in readers) == 30


# Time

PATIENCE = {"nginx": "proxy_read_timeout 60s", "caddy": "read_timeout 60s", "haproxy": "timeout server 60s"}
GRACE = {
    "nginx": "worker_shutdown_timeout 30s",
    "caddy": "grace_period 30s",
    "haproxy": "hard-stop-after 30s",
}


async def test_ten_idle_seconds_do_not_matter_with_a_keepalive(tmp_path: Path) -> None:
    async def idle(kind: str) -> None:
        patience = PATIENCE[kind]
        changes = {patience: patience.replace("60s", "3s")}
        if kind == "haproxy":
            changes["timeout client 60s"] = "timeout client 3s"
        async with deployed(kind, tmp_path / kind, changes, sse_keepalive=1) as it:
            stream = await it.get("/channels/news")
            silent = await it.get("/silent/news")
            began = asyncio.get_running_loop().time()
            # So it is the keep-alive that does it.
            await silent.rest()
            assert asyncio.get_running_loop().time() - began > 2
            while asyncio.get_running_loop().time() - began < 10:
                assert await within(stream.read_some())
            await it.publish("news", "still there")
            assert (await stream.event()).data == "still there"

    async with asyncio.TaskGroup() as group:
        for kind in FILES:
            group.create_task(idle(kind))


@every_proxy
async def test_a_proxy_that_is_replaced_lets_streams_go_on_for_a_while(kind: str, tmp_path: Path) -> None:
    changes = {GRACE[kind]: GRACE[kind].replace("30s", "2s")}
    graceful = {"nginx": signal.SIGQUIT, "caddy": signal.SIGTERM, "haproxy": signal.SIGUSR1}[kind]
    async with deployed(kind, tmp_path, changes) as it:
        stream = await it.get("/channels/news")
        it.process.send_signal(graceful)
        await it.publish("news", "yet")
        assert (await stream.event()).data == "yet"
        await stream.rest()
        await until(lambda: it.process.poll() is not None)
