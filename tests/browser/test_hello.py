"""The first demo: short, and alive in a browser."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import SECOND

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]


def test_hello_fits_one_screen() -> None:
    files = (ROOT / "demos" / "hello").glob("*.py")
    assert sum(len(file.read_text().splitlines()) for file in files) <= 40


def test_hello_shows_the_servers_clock(open_page: Any) -> None:
    command = [sys.executable, "-W", "error", "-u", "-m", "demos.hello"]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        environment = {**os.environ, "PORT": str(probe.getsockname()[1])}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 20 * SECOND)[0]
            page = open_page()
            page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
            page.goto(process.stdout.readline().strip())
            shown = "document.querySelector('output').textContent"
            page.wait_for_function(f"() => /\\d\\d:\\d\\d:\\d\\d/.test({shown})")
            page.wait_for_function(f"(before) => {shown} !== before", arg=page.evaluate(shown))
        finally:
            process.terminate()
