from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Callable

import pytest

from tests.serving import ROOT, Command
from tests.support import SECOND, until

pytestmark = pytest.mark.gen_test


async def test_the_page_is_live(io_loop: object, command: Callable[..., Command]) -> None:
    it = command("demo", "--port", "0")
    await until(lambda: it.said or it.process.poll() is not None, 30 * SECOND)
    found = re.fullmatch(r"Open http://127.0.0.1:(\d+) in a browser; Ctrl-C ends it.", it.said[0])
    assert found is not None
    it.client.port = int(found[1])
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        page = await it.client.get(path)
        assert page.status == 200
        assert page.headers["Content-Type"].replace("application", "text") == kind
        assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert (await it.client.get("/serve.py")).status == 404

    assert (await it.client.post("/channels/clock", "x"))[0] == 403
    stream = await it.client.follow("/channels/clock?channel=words&start=earliest")
    tick = await stream.event()
    assert (tick.type, tick.codec) == ("tick", "json")
    ours, foreign = f"http://localhost:{it.client.port}", "http://localhost.example"
    assert (await it.client.post("/channels/words", "hello", Origin=ours))[0] == 200
    assert (await it.client.post("/channels/words", "x", Origin=foreign))[0] == 403
    event = await stream.event()
    while event.type == "tick":
        assert {*json.loads(event.data)} == {"time", "readers"}
        event = await stream.event()
    assert event.data == "hello"
    it.process.send_signal(signal.SIGINT)
    assert await it.ended() == 0
    assert "Traceback" not in "".join(it.complaints)


async def test_a_port_that_is_taken_is_told(io_loop: object, command: Callable[..., Command]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        it = command("demo", "--port", str(port))
        assert await it.ended() == 1
    assert it.complaints[-1].startswith(f"tornado-sse: port {port} can't be listened on")


def test_the_page_needs_nothing_from_elsewhere() -> None:
    for file in (ROOT / "tornado_sse" / "cli" / "page").iterdir():
        assert not re.search(r"https?://", file.read_text("utf-8"))
