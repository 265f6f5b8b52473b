"""The tutorial's page, in Chromium, over the restart that the tutorial tells the reader to try."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser.conftest import PATIENCE
from tests.support import reserved_address

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text("utf-8")


ARTIFACTS = Path(os.environ.get("TORNADO_SSE_ARTIFACTS", ROOT / "artifacts")) / "tutorial"


def start(directory: Path, port: int) -> subprocess.Popen[bytes]:
    """Start the program; return when it listens."""
    program = subprocess.Popen([sys.executable, "-W", "error", "prices.py"], cwd=directory)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert program.poll() is None, "it has ended"
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.02)
        else:
            return program


def test_its_prices_go_on_after_a_kill(open_page: Callable[..., Any], tmp_path: Path) -> None:
    *_, program = re.findall(r"^```python\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)
    (html,) = re.findall(r"^```html\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)
    (tmp_path / "prices.html").write_text(html)
    with reserved_address() as (_, port):
        program = program.replace("listen(8888", f'listen({port}, "127.0.0.1"')
        (tmp_path / "prices.py").write_text(program.replace("sleep(0.5)", "sleep(0.05)"))
        server = start(tmp_path, port)
        try:
            page = open_page(viewport={"width": 480, "height": 300})
            page.goto(f"http://127.0.0.1:{port}/")
            page.wait_for_function("document.querySelectorAll('tr').length === 3")
            assert page.locator("#state").inner_text() == "live"
            ARTIFACTS.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=ARTIFACTS / "prices.png")
            page.complaints.take()  # there is no icon

            server.kill()
            server.wait()
            page.wait_for_function("document.querySelector('#state').textContent === 'reconnecting …'")
            before = page.locator("table").inner_text()
            server = start(tmp_path, port)
            page.wait_for_function("document.querySelector('#state').textContent === 'live'")
            page.wait_for_function("text => document.querySelector('table').innerText !== text", arg=before)
            assert page.locator("tr").count() == 3
            page.complaints.take()  # the connection that broke, and those that were refused
        finally:
            server.kill()
            server.wait()
