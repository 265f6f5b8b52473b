"""The test kit under the runners that people have, each in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
from tornado.web import Application
from tornado_sse import SSEHandler

class Count(SSEHandler):
    async def open(self):
        for number in range(int(self.stream.last_event_id or -1) + 1, 3):
            await self.stream.write(number, id=number)

def make_app():
    return Application([("/count", Count)], sse_keepalive=30)
"""

BODY = """
    it = await sse_listen(make_app(), "/count")
    assert [event.payload for event in await it.collect(3)] == [0, 1, 2]
    await sse_clock.advance(30)
    await it.received(b":\\n")
    await it.reconnect()
    await it.silence()
"""

RUNNERS = {
    "pytest-asyncio": (
        "import pytest\n\n@pytest.mark.asyncio\nasync def test_it(sse_listen, sse_clock):",
        ["-p", "no:anyio", "-p", "no:tornado"],
    ),
    "anyio": (
        "import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n\n"
        "@pytest.mark.anyio\nasync def test_it(sse_listen, sse_clock):",
        ["-p", "no:asyncio", "-p", "no:tornado"],
    ),
    "pytest-tornado": (
        "import pytest\nfrom tests.conftest import io_loop\n\n"
        "@pytest.mark.gen_test(timeout=3600)\nasync def test_it(io_loop, sse_listen, sse_clock):",
        ["-p", "no:asyncio", "-p", "no:anyio"],
    ),
}

UNITTEST = """
from tornado.testing import AsyncHTTPTestCase, gen_test
from tornado_sse.testing import Clock, listen
from app import make_app

class Test(AsyncHTTPTestCase):
    def get_app(self):
        return make_app()

    @gen_test(timeout=3600)  # it falls due as well
    async def test_it(self):
        with Clock() as clock:
            async with listen(self.get_url("/count")) as it:
                assert [event.payload for event in await it.collect(3)] == [0, 1, 2]
                await clock.advance(30)
                await it.received(b":\\n")
                await it.reconnect()
                await it.silence()
"""


def run(folder: Path, test: str, *options: str) -> str:
    (folder / "app.py").write_text(APP)
    (folder / "test_it.py").write_text(test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", folder, *options, folder],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parents[1])])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_fixtures_under(runner: str, tmp_path: Path) -> None:
    head, options = RUNNERS[runner]
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tornado_sse.testing.pytest"]\n')
    output = run(tmp_path, f"from app import make_app\n{head}{BODY}", *options)
    assert "1 passed" in output, output


def test_a_test_case_of_tornado(tmp_path: Path) -> None:
    output = run(tmp_path, UNITTEST, "-p", "no:asyncio", "-p", "no:anyio", "-p", "no:tornado")
    assert "1 passed" in output, output


def test_who_does_not_ask_for_it_does_not_get_it(tmp_path: Path) -> None:
    test = "import sys\n\ndef test_it():\n    assert 'tornado_sse' not in sys.modules\n"
    output = run(tmp_path, test, "-p", "no:asyncio", "-p", "no:anyio")
    assert "1 passed" in output, output
