"""The jobs' page: bars that go on where they were, over reloads and over servers that are killed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.program import ROOT, Program

pytestmark = pytest.mark.browser

ARTIFACTS = Path(os.environ.get("TORNADO_SSE_ARTIFACTS", ROOT / "artifacts")) / "progress"

# What the browser says by itself while there is no server.
EXPECTED = (
    r"ERR_CONNECTION_(REFUSED|RESET)|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED_ENCODING|failed: .*/jobs"
)

DEVICES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1100, "height": 620}},
    "phone": {"viewport": {"width": 390, "height": 780}, "is_mobile": True, "has_touch": True},
}

PAST = "(part) => document.querySelector('progress')?.value > part"
PART = "() => document.querySelector('progress').value"


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Program]:
    """``start(pace=0.02)`` starts the demo, always with the same file."""
    return lambda pace=0.02, port=0: Program(
        tmp_path / "stderr.txt",
        *("demos.progress", "--port", str(port), "--db", str(tmp_path / "jobs.db"), "--pace", str(pace)),
    )


def begin(page: Any, total: str) -> None:
    page.locator("#total").select_option(total)
    page.get_by_role("button", name="Start").click()


def forgive(page: Any) -> None:
    for complaint in page.complaints.take():
        assert re.search(EXPECTED, complaint), complaint


def test_a_job_survives_reloads_and_servers(
    start: Callable[..., Program], open_page: Callable[..., Any]
) -> None:
    progress = start()
    page, other = open_page(), open_page()
    page.goto(progress.url)
    page.get_by_text("No jobs yet").wait_for()
    begin(page, "50 million")
    page.wait_for_function(PAST, arg=0.02)
    other.goto(progress.url)
    other.wait_for_function(PAST, arg=0.03)
    page.reload()
    page.wait_for_function(PAST, arg=0.04)
    for pace in (0.02, 0):
        progress.kill()
        page.locator("#state").get_by_text("Reconnecting").wait_for()
        before = page.evaluate(PART)
        assert before < 0.5
        progress = start(pace, port=progress.port)
        page.locator("#state").get_by_text("Live").wait_for()
        page.wait_for_function(PAST, arg=before)
    with progress:
        for each in (page, other):
            each.get_by_text("3,001,134 found").wait_for()
            assert each.locator("output").all_inner_texts() == ["100 %"]
            assert each.locator("li").count() == 1
            assert not each.locator("li button").is_visible()
    forgive(page)
    forgive(other)


def test_a_job_is_stopped_for_everybody(start: Callable[..., Program], open_page: Callable[..., Any]) -> None:
    with start() as progress:
        pages = [open_page(), open_page()]
        for page in pages:
            page.goto(progress.url)
        begin(pages[0], "50 million")
        pages[1].get_by_role("button", name="Stop").click()
        for page in pages:
            page.locator("output").get_by_text("Stopped").wait_for()
            assert not page.locator("li button").is_visible()


def test_another_log_is_another_list(
    start: Callable[..., Program], open_page: Callable[..., Any], tmp_path: Path
) -> None:
    with start() as progress:
        page = open_page()
        page.goto(progress.url)
        begin(page, "2 million")
        page.locator("li").wait_for()
        progress.stop()
    for file in tmp_path.glob("jobs.db*"):
        file.unlink()
    with start(port=progress.port):
        page.get_by_text("No jobs yet").wait_for()
        assert page.locator("li").count() == 0
    forgive(page)


def test_what_is_refused_says_so(start: Callable[..., Program], open_page: Callable[..., Any]) -> None:
    with start(1) as progress:
        page = open_page()
        page.goto(progress.url)
        for count in range(1, 6):
            begin(page, "50 million")
            page.locator("li").nth(count - 1).wait_for()
        begin(page, "50 million")
        page.get_by_text("Enough jobs are running.").wait_for()
        assert all("429" in complaint for complaint in page.complaints.take())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", DEVICES)
def test_it_fits(
    device: str, scheme: str, start: Callable[..., Program], open_page: Callable[..., Any]
) -> None:
    with start(0.005) as progress:
        page = open_page(color_scheme=scheme, **DEVICES[device])
        page.goto(progress.url)
        begin(page, "2 million")
        page.locator("output").get_by_text("100 %").wait_for()
        begin(page, "50 million")
        page.wait_for_function(PAST, arg=0.05)
        page.get_by_role("button", name="Stop").click()
        page.locator("output").get_by_text("Stopped").wait_for()
        begin(page, "10 million")
        page.get_by_text("left").wait_for()
        page.wait_for_function(PAST, arg=0.5)
        assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"{device}-{scheme}.png")
