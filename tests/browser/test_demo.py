"""The page of ``tornado-sse demo`` in a browser."""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import SECOND

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]


def test_what_one_page_publishes_all_pages_show(open_page: Any) -> None:
    command = [sys.executable, "-W", "error", "-m", "tornado_sse", "demo", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 20 * SECOND)[0]
            url = process.stdout.readline().split()[1]
            pages = [open_page(), open_page()]
            for page in pages:
                page.goto(url)
                page.wait_for_function("() => document.querySelector('#state').textContent === 'open'")
            clock = "document.querySelector('#clock').textContent"
            page.wait_for_function(f"() => /\\d\\d:\\d\\d:\\d\\d/.test({clock})")
            page.wait_for_function("() => document.querySelector('#readers').textContent[0] === '2'")
            pages[0].fill("#text", "hello <b>all</b>")
            pages[0].click("button")
            for page in pages:
                page.wait_for_selector("#words li")
                assert page.inner_text("#words") == "hello <b>all</b>"
            page.reload()
            page.wait_for_selector("#words li")
            page.screenshot(path=_artifact("demo.png"))
        finally:
            process.terminate()
            assert process.wait(20 * SECOND) == 0


def _artifact(name: str) -> Path:
    folder = ROOT / "artifacts"
    folder.mkdir(exist_ok=True)
    return folder / name
