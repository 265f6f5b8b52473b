"""What docs/ says is so: its examples run, its links lead somewhere, it builds without a warning."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import tornado_sse
from tests.support import Connection, Logs, reserved_address
from tornado_sse import testing
from tornado_sse.cli.config import read_config
from tornado_sse.cli.serve import serve
from tornado_sse.metrics import Metrics
from tornado_sse.serializers import registry
from tornado_sse.server import posting
from tornado_sse.server.submission import MOST_LINES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    page.relative_to(DOCS).as_posix(): page.read_text("utf-8")
    for page in sorted(DOCS.rglob("*.md"))
    if "_build" not in page.parts
}

# Pages whose blocks are programs, each run by a test of its own.
PROGRAMS = {"tutorial.md", "how-to/writing-a-serializer.md"}


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)
    return [code for name, code in found if name == language]


async def run(page: str) -> dict[str, Any]:
    """Run a page's blocks from top to bottom, in one namespace; they may await."""
    namespace: dict[str, Any] = {"__name__": page}
    for code in blocks(page, "python"):
        compiled = compile(code, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(compiled, namespace)
        if isawaitable(result):
            await result
    return namespace


# What a page has logged, as it provokes it.
CLAIMS = {"how-to/authorization.md": ["401 GET", "403 GET"]}

# What a page prints.
PRINTED = {
    "how-to/writing-a-backend.md": "each once, and in order",
}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in PROGRAMS and blocks(page, "python")])
def test_the_examples_of_a_page_run(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logs: Logs,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tornado_sse.metrics.REGISTRY", CollectorRegistry())
    # Not with a deadline of the event loop's: a page that sets the clock forward would meet it.
    asyncio.run(run(page))
    for claim in CLAIMS.get(page, ()):
        logs.claim(claim)
    printed = capsys.readouterr().out
    assert bool(printed) == (page in PRINTED)
    assert PRINTED.get(page, "") in printed


# The tutorial


class Program:
    """A program of the tutorial in a process of its own, on an address that stays reserved for it."""

    def __init__(self, directory: Path, step: int, port: int) -> None:
        code = blocks("tutorial.md", "python")[step]
        assert code.count("listen(8888") == 1
        (directory / "prices.py").write_text(code.replace("listen(8888", f'listen({port}, "127.0.0.1"'))
        (page,) = blocks("tutorial.md", "html")
        (directory / "prices.html").write_text(page)
        self._command = [sys.executable, "-W", "error", "prices.py"]
        self._directory = directory
        self._port = port
        self._connections: list[Connection] = []
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, cwd=self._directory, stderr=subprocess.PIPE, text=True)

    async def get(self, path: str, **headers: str) -> Connection:
        """Ask for something as soon as it listens."""
        async with asyncio.timeout(20):
            while True:
                assert self.process.poll() is None, self.process.communicate()[1]
                with contextlib.suppress(ConnectionRefusedError):
                    connection = await Connection.open("127.0.0.1", self._port)
                    break
                await asyncio.sleep(0.02)
        self._connections.append(connection)
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return await connection.request(path, headers=named)

    def end(self, how: signal.Signals) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(how)
        _, said = self.process.communicate()
        assert said == ""
        return self.process.returncode

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@contextlib.asynccontextmanager
async def program(directory: Path, step: int) -> AsyncIterator[Program]:
    with reserved_address() as (_, port):
        it = Program(directory, step, port)
        try:
            yield it
        finally:
            it.close()


@pytest.mark.gen_test
async def test_a_stream(io_loop: object, tmp_path: Path) -> None:
    async with program(tmp_path, 0) as it:
        page = await it.get("/")
        assert page.headers["Content-Type"].startswith("text/html")
        stream = await it.get("/prices")
        shown = blocks("tutorial.md", "")[1].partition("\n")[2]
        parsed = tornado_sse.EventParser().feed(shown.encode() + b"\n")
        for event, like in zip(await stream.events(2), parsed, strict=True):
            assert (event.type, event.codec) == (like.type, like.codec)
            assert (
                tornado_sse.decode("json", event.data).keys() == tornado_sse.decode("json", like.data).keys()
            )


@pytest.mark.gen_test
async def test_one_market_for_all(io_loop: object, tmp_path: Path) -> None:
    async with program(tmp_path, 1) as it:
        streams = [await it.get("/prices") for _ in range(2)]
        first, second = [await stream.events(8) for stream in streams]
        # One may have begun an event later; what both have is the same, and that is most.
        of = {event.id: event for event in first}
        both = [event for event in second if event.id in of]
        assert len(both) >= 3
        assert all(of[event.id].data == event.data for event in both)


@pytest.mark.gen_test
async def test_over_restarts(io_loop: object, tmp_path: Path) -> None:
    async with program(tmp_path, 2) as it:
        stream = await it.get("/prices")
        last = await stream.event()
        it.end(signal.SIGKILL)
        it.start()
        stream = await it.get("/prices", Last_Event_ID=str(last.id))
        following = [await stream.event() for _ in range(2)]
        position = [int(str(event.id).partition("-")[2]) for event in [last, *following]]
        assert position == sorted(set(position))
        assert {event.type for event in following} == {"quote"}  # and no gap
        assert it.end(signal.SIGINT) == 0


# How-tos


def test_the_guide_to_the_server_is_true(tmp_path: Path) -> None:
    guide = PAGES["how-to/serving.md"]
    (settings,) = blocks("how-to/serving.md", "toml")
    (tmp_path / "settings.toml").write_text(settings)
    options = {(each.name or "").replace("_", "-") for each in serve.params}
    values, grants = read_config(tmp_path / "settings.toml", options)
    assert len(grants) == 3
    assert values["port"] == 8000
    for option in re.findall(r"`--([a-z-]+)", guide):
        assert option in options | {"help"}
    said = {row[0]: row[1] for row in re.findall(r"^\| `(\w+)` \| `([\w-]+)` \|", guide, re.MULTILINE)}
    assert said == posting._HEADERS
    assert f"up to {MOST_LINES:,} at once" in guide


def test_the_guide_to_serializers_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = registry.Registry()
    for name in ("register", "get_serializer", "list_serializers"):
        monkeypatch.setattr(f"tornado_sse.serializers.{name}", getattr(fresh, name))
    page = "how-to/writing-a-serializer.md"
    namespace: dict[str, Any] = {}
    for code in blocks(page, "python"):
        exec(compile(code, page, "exec"), namespace)
    assert "csv csv registered" in capsys.readouterr().out
    namespace["plain"].register(namespace["Money"], _no_longer)
    written = tornado_sse.encode(namespace["CSVSerializer"](), [["AAPL", "191.2"], ["MSFT", "402.1"]])
    shown = tornado_sse.encode_event(tornado_sse.Event(written, "quotes", codec="csv")).decode()
    assert shown in blocks(page, "")


def _no_longer(value: object) -> object:
    raise TypeError("this was an example")


def test_the_table_of_metrics_is_complete() -> None:
    metrics = Metrics(CollectorRegistry())
    kept = {family.name: family for family in metrics.registry.collect()}
    rows = re.findall(
        r"^\| ((?:`\w+`(?:, )?)+) \| (\w+?)s?(?:, by `(\w+)`)? \|", PAGES["how-to/metrics.md"], re.MULTILINE
    )
    told = {name: (kind, label) for names, kind, label in rows for name in re.findall(r"`(\w+)`", names)}
    assert {f"tornado_sse_{name}" for name in told} == {*kept}
    for name, (kind, label) in told.items():
        family = kept[f"tornado_sse_{name}"]
        assert family.type == kind
        assert label in {*family.samples[0].labels, ""} if family.samples else not label


def test_the_reference_of_settings_has_the_rows_of_the_readme() -> None:
    def rows(text: str) -> list[tuple[str, str]]:
        return re.findall(r"^\| `(sse_\w+)` \| (.*?) \|", text, re.MULTILINE)

    assert rows(PAGES["reference/settings.md"]) == rows((ROOT / "README.md").read_text("utf-8"))


# The whole


def test_the_links_lead_somewhere() -> None:
    pages = {"README.md": ROOT, "CONTRIBUTING.md": ROOT, "deploy/README.md": ROOT / "deploy"}
    texts = {name: (ROOT / name).read_text("utf-8") for name in pages}
    texts |= {f"docs/{name}": text for name, text in PAGES.items()}
    for name, text in texts.items():
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (ROOT / name).parent.joinpath(target).exists(), f"{name}: {target}"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the documentation, warnings being errors."""
    out = tmp_path_factory.mktemp("docs")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--fail-on-warning",
        "--keep-going",
        "--quiet",
        "-d",
        out / "trees",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "TORNADO_SSE_DOCS_ONLINE"}
    done = subprocess.run(
        [*command, DOCS, out / "html"], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    return out / "html"


def test_it_builds_without_a_warning(built: Path) -> None:
    assert (built / "index.html").exists()


def test_every_public_name_is_in_the_reference(built: Path) -> None:
    # The inventory: four lines of heading, then a line for each name, compressed.
    *_, compressed = (built / "objects.inv").read_bytes().split(b"\n", 4)
    documented = {line.split()[0] for line in zlib.decompress(compressed).decode().splitlines()}
    names = {*tornado_sse.__all__} - {"__version__"}
    for owner in (tornado_sse.SSEHandler, tornado_sse.Stream):
        for class_ in owner.__mro__:
            if class_.__module__.startswith("tornado_sse"):
                names |= {f"{owner.__name__}.{name}" for name in vars(class_) if not name.startswith("_")}
    names |= {f"testing.{name}" for name in testing.__all__}
    assert {name for name in names if f"tornado_sse.{name}" not in documented} == set()
