"""A stream behind nginx as people find it installed: each event when it is sent, not all at the end."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.proxies import find_program, running
from tests.support import Connection, Recorder, until, within
from tornado_sse import Event, EventParser

pytestmark = pytest.mark.gen_test

# `proxy_pass` and nothing else: buffering as it is by default, HTTP/1.0 towards us; gzip as Debian has it.
CONFIG = """
daemon off; pid {folder}/pid; error_log stderr;
events {{}}
http {{
    access_log off; gzip on; {more}
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{
        listen {listen};
        location / {{ proxy_pass http://127.0.0.1:{port}; }}
    }}
}}
"""


@contextlib.contextmanager
def nginx_before(port: int, folder: Path, more: str = "", *, listen: str = "") -> Iterator[Path]:
    """Run nginx in front of a server; return its Unix socket, unless it is to listen elsewhere."""
    config = folder / "nginx.conf"
    listen = listen or f"unix:{folder}/socket"
    config.write_text(CONFIG.format(folder=folder, port=port, more=more, listen=listen))
    with running(find_program("nginx"), "-p", folder, "-e", "stderr", "-c", config, said=folder / "said"):
        yield folder / "socket"


@pytest.fixture
def nginx(tmp_path: Path, http_server: object, http_port: int) -> Iterator[Path]:
    """Run nginx in front of the test's server; return its Unix socket."""
    with nginx_before(http_port, tmp_path) as path:
        yield path


class Told(Recorder):
    """Sends an event each time it is told to, and not before."""

    go_on: asyncio.Queue[str]

    async def body(self) -> None:
        async with self.stream:
            while text := await self.go_on.get():
                await self.stream.write_text(text)


async def test_each_event_arrives_before_the_next_one_is_sent(
    nginx: Path, serve: Callable[..., None]
) -> None:
    serve(Told)
    Told.go_on = asyncio.Queue()
    await until(nginx.exists)
    it = Connection(*await asyncio.open_unix_connection(nginx))
    await it.request("/told", headers=[("Accept-Encoding", "gzip"), ("Accept", "text/event-stream")])
    assert it.status == 200
    assert "Content-Encoding" not in it.headers
    for i in range(8):
        Told.go_on.put_nowait(str(i))
        assert await it.event() == Event(str(i), "message", "")
    Told.go_on.put_nowait("")
    await it.rest()
    assert it.complete
    it.close()
    await it.writer.wait_closed()


async def test_a_browser_that_goes_is_noticed_through_the_proxy(
    nginx: Path, serve: Callable[..., None]
) -> None:
    serve(Told)
    Told.notes.clear()
    Told.go_on = asyncio.Queue()
    await until(nginx.exists)
    it = Connection(*await asyncio.open_unix_connection(nginx))
    await it.request("/told")
    it.close()
    await it.writer.wait_closed()
    await until(lambda: len(Told.notes) == 3)
    assert Told.notes == ["open", "CancelledError", "on_close disconnected"]


async def test_gzip_of_an_nginx_that_was_told_to_compress_streams_holds_nothing_back(
    tmp_path: Path, http_server: object, http_port: int, serve: Callable[..., None]
) -> None:
    serve(Told)
    Told.go_on = asyncio.Queue()
    with nginx_before(http_port, tmp_path, "gzip_types *; gzip_http_version 1.0; gzip_proxied any;") as path:
        await until(path.exists)
        it = Connection(*await asyncio.open_unix_connection(path))
        await it.request("/told", headers=[("Accept-Encoding", "gzip")])
        assert it.headers["Content-Encoding"] == "gzip"
        unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
        parser = EventParser()
        for i in range(8):
            Told.go_on.put_nowait(str(i))
            events: list[Event] = []
            while not events:
                piece = await within(it.read_some())
                assert piece
                events = parser.feed(unzip.decompress(piece))
            assert events == [Event(str(i), "message", "")]
        Told.go_on.put_nowait("")
        await it.rest()
        it.close()
        await it.writer.wait_closed()
