"""The examples of README.md, run as they stand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tornado.web
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

import tornado_sse
from tests.broken_servers import FAULTS
from tests.serving import Command
from tests.support import DEADLINE, SECOND, Connect, Connection, until, within
from tornado_sse import EventParser, Settings
from tornado_sse.cli import _commands
from tornado_sse.gap import gap_event
from tornado_sse.testing import listen

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [code for name, code in found if name == language]


def block(mark: str, language: str = "python") -> str:
    """Return the one block that holds a text."""
    (found,) = [each for each in blocks(README, language) if mark in each]
    return found


def run(code: str, **names: Any) -> dict[str, Any]:
    """Run a block with what the blocks before it have imported."""
    namespace = {**vars(tornado_sse), "tornado": tornado, "asyncio": asyncio, **names}
    exec(compile(code, "README.md", "exec"), namespace)
    return namespace


def test_the_first_stream_prints_what_it_says() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program = block("class Clock").replace("listen(8888)", f'listen({port}, "127.0.0.1")')
    assert str(port) in program
    with subprocess.Popen([sys.executable, "-W", "error", "-c", program], stderr=subprocess.PIPE) as server:
        try:
            printed = _curl(port, "/clock", lines=17)
        finally:
            server.terminate()
            assert server.stderr is not None
            assert server.stderr.read() == b""

    def shape(text: str) -> list[str]:
        """Return the lines without what is another each time."""
        text = re.sub(r"Date: .*", "Date: …", text)
        text = re.sub(r"TornadoServer/[\d.]+", "TornadoServer/…", text)
        return re.sub(r'"now":[\d.]+', '"now":…', text).split("\n")

    shown = block("curl -iN", "").removeprefix("$ curl -iN http://localhost:8888/clock\n")
    assert shape(printed)[:17] == shape(shown)[:17]


def _curl(port: int, path: str, lines: int) -> str:
    """Return the first lines of what ``curl -iN`` prints; here a socket, which ends when it is told to."""
    for _ in range(int(DEADLINE / 0.05)):
        with contextlib.suppress(ConnectionRefusedError):
            client = socket.create_connection(("127.0.0.1", port))
            break
        select.select([], [], [], 0.05)
    with client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode())
        client.settimeout(DEADLINE)
        received = b""
        while b"\r\n\r\n" not in received or _unchunk(received).count("\n") < lines:
            received += client.recv(65536)
    return _unchunk(received)


def _unchunk(response: bytes) -> str:
    head, _, body = response.partition(b"\r\n\r\n")
    text = b"".join(re.findall(rb"[0-9a-f]+\r\n(.*?)\r\n", body, re.DOTALL))
    return head.replace(b"\r\n", b"\n").decode() + "\n\n" + text.decode()


@pytest.mark.gen_test
async def test_the_kinds_of_payload(serve: Callable[..., None], connect: Connect) -> None:
    serve(run(block("class Kinds"))["Kinds"])
    events = await (await (await connect()).request("/kinds")).events(4)
    decoded = [(each.type, tornado_sse.decode(each.codec, each.data)) for each in events]
    assert decoded == [
        ("load", {"load": 0.42}),
        ("message", "two\nlines"),
        ("image", b"\x89PNG"),
        ("samples", [0.25, 0.5]),
    ]


@pytest.mark.gen_test
async def test_streams_that_outlive_open(serve: Callable[..., None], connect: Connect) -> None:
    names = run(block("class News"))
    serve(names["News"])
    clients = [await (await connect()).request("/news") for _ in range(3)]
    clients.pop().reset()
    await until(lambda: len(names["News"].streams) == 2)
    names["announce"]("extra")
    assert [(await client.event()).data for client in clients] == ['"extra"'] * 2


@pytest.mark.gen_test
async def test_errors_and_the_end(serve: Callable[..., None], connect: Connect, logs: Any) -> None:
    serve(run(block("class Article"), ARTICLES={"7": ["one", "two"]})["Article"])
    assert (await (await connect()).request("/article/8")).status == 404
    logs.claim("404")
    it = await (await connect()).request("/article/7")
    events = await it.events(3)
    assert [event.data for event in events] == ["one", "two", ""]
    it = await (await connect()).request("/article/7", headers=[("Last-Event-ID", events[-1].id or "")])
    assert it.status == 204


@pytest.mark.gen_test
async def test_without_httpserver(io_loop: object, capsys: pytest.CaptureFixture[str]) -> None:
    server = run(block("class Server(TCPServer)"))["Server"]()
    (listener,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(listener)
    it = await (await Connection.open(*listener.getsockname())).request("/where")
    assert (await it.event()).data == '{"path":"/where"}'
    refused = await (await Connection.open(*listener.getsockname())).request("/", method="PUT")
    assert refused.status == 405
    await until(lambda: "405" in capsys.readouterr().out)
    it.close()
    refused.close()
    server.stop()


def test_the_pure_parts() -> None:
    run(block("EventParser()"))


def test_the_table_of_settings_is_complete_and_true() -> None:
    rows = dict(re.findall(r"^\| `sse_(\w+)` \| (.*?) \|", README, re.MULTILINE))
    assert [*rows] == list(Settings.__dataclass_fields__)
    defaults = Settings()
    for name, said in rows.items():
        default = getattr(defaults, name)
        if default is None:
            assert said in ("none", "90 % of the file descriptors")
        elif said.startswith("`"):
            assert said == f"`{default!r}`".replace("'", '"').replace("\\\\", "\\")
        else:
            units = {" s": 1.0, " MiB": float(2**20)}
            assert any(said == f"{default / size:g}{unit}" for unit, size in units.items())


@pytest.mark.gen_test
async def test_channels(io_loop: IOLoop) -> None:
    names = run(block("class Prices"))
    it, server = await _serve(names["app"], "/prices/AAPL")
    await until(lambda: names["broker"].stats.subscribers)
    await names["on_quote"]("AAPL", {"price": 226.5})
    event = await it.event()
    assert (event.type, event.data) == ("quote", '{"price":226.5}')
    (shown,) = EventParser().feed(block("event: gap", "").encode() + b"\n")
    assert shown.type == "gap"
    lost = json.loads(shown.data)
    assert lost == json.loads(gap_event("prices.AAPL", "expired", "3f0c2a91d7", 702, 1841).data)
    it.close()
    server.stop()
    await names["broker"].close()


@pytest.mark.gen_test
async def test_stopping(io_loop: IOLoop) -> None:
    app = tornado.web.Application([])
    code = block("await serve_until_stopped").replace("8888", '0, "127.0.0.1"')
    main = asyncio.create_task(run(code, app=app)["main"]())
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    await within(main)


@pytest.mark.gen_test
async def test_watching(io_loop: IOLoop) -> None:
    names = run(block("MetricsHandler"))
    await names["broker"].publish("a", 1)
    it, server = await _serve(names["app"], "/metrics")
    assert (
        "tornado_sse_events_published_total 1.0"
        in (await it.reader.readexactly(int(it.headers["Content-Length"]))).decode()
    )
    it.close()
    server.stop()
    await names["broker"].close()


@pytest.mark.gen_test
async def test_the_server_to_run_prints_what_it_says(
    io_loop: object, command: Callable[..., Command]
) -> None:
    shown = block("tornado-sse serve", "")
    script = "".join(line.removeprefix("$ ") + "\n" for line in shown.splitlines() if line.startswith("$ "))
    serve, *commands = script.splitlines()
    server = await command(*shlex.split(serve.removesuffix("&"))[1:], "--port", "0").listening()
    printed = [f"$ {serve}", *server.said]
    for each in commands:
        printed.append(f"$ {each}")
        run = each.replace(":8000", f":{server.client.port}").replace("curl ", "curl -s --max-time 2 ")
        run = run.replace("tornado-sse", f"{sys.executable} -m tornado_sse")
        done = await asyncio.create_subprocess_shell(run, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
        out, _ = await within(done.communicate(), 60 * SECOND)
        printed += out.decode().rstrip("\n").splitlines()

    def shape(lines: list[str]) -> list[str]:
        """Return the lines without what is another each time."""
        text = re.sub(r"\b[0-9a-f]{10}-(\d+)", r"…-\1", "\n".join(lines))
        text = re.sub(r"retry: \d+", "retry: …", text)
        return re.sub(r"(listens on http://127.0.0.1):\d+", r"\1:…", text).splitlines()

    assert shape(printed) == shape(shown.splitlines())


@pytest.mark.gen_test
async def test_tail_prints_what_it_says(io_loop: object, command: Callable[..., Command]) -> None:
    server = await command(
        "serve", "--port", "0", "--allow-anonymous-publish", "--log-level", "error"
    ).listening()
    await server.client.post("/channels/news", "hello")
    await server.client.post("/channels/news?event=count", "1")
    first, *shown = block("tornado-sse tail", "").splitlines()
    it = command(*shlex.split(first.removeprefix("$ ").replace(":8000", f":{server.client.port}"))[1:])
    assert await it.ended() == 0

    def shape(line: str) -> dict[str, Any]:
        return {name: value for name, value in json.loads(line).items() if name != "id"}

    assert [shape(line) for line in it.said] == [shape(line) for line in shown]


# What people write by hand. In a process of its own, since it says much when a client goes.
PRICES = """
import asyncio, tornado.web

class Prices(tornado.web.RequestHandler):
    async def get(self):
        self.set_header("Content-Type", "text/event-stream")
        for number in range(1, 1000):
            self.write(f"id: {number}\\nretry: 3\\ndata: {number}\\n\\n")
            await self.flush()
            await asyncio.sleep(0.25)

async def main():
    (listener,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
    tornado.httpserver.HTTPServer(tornado.web.Application([("/prices", Prices)])).add_socket(listener)
    print(listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextlib.contextmanager
def _prices() -> Iterator[str]:
    """Run it; yield its port."""
    with subprocess.Popen(
        [sys.executable, "-c", PRICES], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.kill()


@pytest.mark.gen_test
async def test_probe_prints_what_it_says(io_loop: object, command: Callable[..., Command]) -> None:
    with _prices() as port:
        first, *shown = block("tornado-sse probe", "").splitlines()
        it = command(*shlex.split(first.removeprefix("$ ").replace("8001", port))[1:])
        assert await it.ended() == 1

    def shape(lines: list[str]) -> str:
        """Return the words, without the numbers that are others each time."""
        return re.sub(r"\d+", "1", " ".join(" ".join(lines).split()))

    assert shape(it.said) == shape(shown)


def test_the_page_of_the_command_line_names_all_findings() -> None:
    page = (ROOT / "docs" / "how-to" / "command-line.md").read_text("utf-8")
    rows = re.findall(
        r"^\| (`[a-z0-9-]+`(?:, `[a-z0-9-]+`)*) \|", page.partition("| finding |")[2], re.MULTILINE
    )
    named = [code for row in rows for code in re.findall(r"[a-z0-9-]+", row)]
    assert sorted(named) == sorted({code for codes in FAULTS.values() for code in codes})
    assert {*_commands.commands} == {*re.findall(r"^\| `tornado-sse (\w+)", page, re.MULTILINE)}


@pytest.mark.gen_test
async def test_a_python_client(io_loop: IOLoop, capsys: pytest.CaptureFixture[str]) -> None:
    prices = run(block("class Prices"))
    async with listen(prices["app"], "/prices/AAPL", last_event_id="e-7") as it:
        names = run(block("async def follow").replace("http://localhost:8888/prices/AAPL", it.source.url))
        following = asyncio.create_task(names["follow"]())
        await until(lambda: prices["broker"].stats.subscribers == 2)
        await prices["on_quote"]("AAPL", {"price": 226.5})
        await until(lambda: capsys.readouterr().out == "quote {'price': 226.5}\n")
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
    await prices["broker"].close()


@pytest.mark.gen_test
async def test_asking_by_post(serve: Callable[..., None], http_server: object, base_url: str) -> None:
    class Answers(tornado_sse.SSEHandler):
        sse_methods = ("POST",)

        async def open(self) -> None:
            assert self.request.headers["Authorization"] == "Bearer x"
            async with self.stream:
                for word in self.request.body.decode().split():
                    await self.stream.write_text(word)

    serve(Answers)
    code = block("async def ask").replace("http://localhost:8888", base_url).replace("…", "x")
    assert await within(run(code)["ask"]("why not")) == ["why", "not"]


@pytest.mark.gen_test
async def test_testing_streams(io_loop: IOLoop) -> None:
    prices = run(block("class Prices"))
    await run(block("import listen"), app=prices["app"], on_quote=prices["on_quote"])["test_prices"]()
    await prices["broker"].close()


async def _serve(app: tornado.web.Application, path: str) -> tuple[Connection, HTTPServer]:
    server = HTTPServer(app)
    (listener,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(listener)
    it = await Connection.open(*listener.getsockname())
    await it.request(path)
    assert it.status == 200
    return it, server


def test_every_python_block_is_run_by_a_test() -> None:
    tested = [
        "class Clock",
        "class Kinds",
        "class News",
        "class Article",
        "class Server(TCPServer)",
        "EventParser()",
        "class Prices",
        "await serve_until_stopped",
        "MetricsHandler",
        "async def follow",
        "async def ask",
        "import listen",
        "ModuleHandler",  # in tests/browser
    ]
    assert len(blocks(README, "python")) == len(tested)
    assert all(block(mark) for mark in tested)
