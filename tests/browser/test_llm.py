"""The language model's page: answers that reloads, lost connections and restarts of neither side can hurt."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demos.llm.model import tokens
from tests.browser.cable import Cable
from tests.browser.program import ROOT, Program

pytestmark = pytest.mark.browser

ARTIFACTS = Path(os.environ.get("TORNADO_SSE_ARTIFACTS", ROOT / "artifacts")) / "llm"

# What the browser says by itself while there is no server, or when a page is left with its stream.
EXPECTED = r"ERR_CONNECTION_(REFUSED|RESET)|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_ABORTED"

DEVICES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1100, "height": 760}},
    "phone": {"viewport": {"width": 390, "height": 780}, "is_mobile": True, "has_touch": True},
}

TEXT = "document.querySelector('.answer:last-child .text')"
WORDS = f"(count) => ({TEXT}?.textContent ?? '').split(' ').length >= count"
DONE = f"() => document.body.dataset.state === 'idle' && {TEXT}?.parentNode.dataset.end"
KEPT = "() => JSON.parse(sessionStorage.getItem('answers')).at(-1).id"


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Program]:
    """``start(pace=0.01)`` starts the demo."""
    return lambda pace=0.01, port=0: Program(
        tmp_path / "stderr.txt", "demos.llm", "--port", str(port), "--pace", str(pace)
    )


def ask(page: Any, prompt: str) -> None:
    page.locator("#prompt").fill(prompt)
    page.locator("#prompt").press("Enter")


def whole(page: Any, prompt: str) -> str:
    """Wait for the last answer's end, and return what it must be."""
    page.wait_for_function(DONE)
    return "".join(tokens(prompt, page.evaluate(KEPT), 260))


def text(page: Any) -> str:
    return str(page.locator(".answer .text").last.evaluate("p => p.textContent"))


def forgive(page: Any, more: str = "") -> None:
    for complaint in page.complaints.take():
        assert re.search(EXPECTED + more, complaint), complaint


def test_an_answer_survives_reloads_and_lost_connections(
    start: Callable[..., Program], open_page: Callable[..., Any]
) -> None:
    prompt = "<img src=x onerror=alert(1)> & co"
    with start() as llm, Cable(llm.port) as cable:
        page = open_page()
        page.goto(cable.url)
        resumed = []
        page.on("request", lambda request: resumed.append(request.headers.get("last-event-id")))
        ask(page, prompt)
        page.wait_for_function(WORDS, arg=30)
        page.reload()
        page.wait_for_function(WORDS, arg=60)
        cable.cut()
        page.locator("#state").get_by_text("Reconnecting").wait_for()
        before = text(page)
        cable.mend()
        expected = whole(page, prompt)
        assert text(page) == expected
        assert expected.startswith(before)
        assert resumed[-1]
        assert page.locator(".answer img").count() == 0
        ask(page, "and again?")
        expected_again = whole(page, "and again?")
        assert text(page) == expected_again
        page.reload()
        page.wait_for_function("() => document.querySelectorAll('.answer[data-end]').length === 2")
        texts = page.locator(".answer .text").evaluate_all("all => all.map((each) => each.textContent)")
        assert texts == [expected, expected_again]
        forgive(page)
        page.locator("#clear").click()
        page.wait_for_function("() => document.querySelectorAll('.answer').length === 0")


def test_an_answer_is_stopped(start: Callable[..., Program], open_page: Callable[..., Any]) -> None:
    with start(0.05) as llm:
        page = open_page()
        page.goto(llm.url)
        ask(page, "why?")
        page.wait_for_function(WORDS, arg=8)
        page.locator("#stop").click()
        expected = whole(page, "why?")
        shown = text(page)
        assert expected.startswith(shown)
        assert len(shown) < len(expected)
        page.get_by_text("Stopped.").wait_for()
        page.reload()
        page.get_by_text("Stopped.").wait_for()
        assert text(page) == shown


def test_a_server_that_has_forgotten_says_so(
    start: Callable[..., Program], open_page: Callable[..., Any]
) -> None:
    llm = start(0.05)
    page = open_page()
    page.goto(llm.url)
    ask(page, "why?")
    page.wait_for_function(WORDS, arg=8)
    llm.kill()
    page.locator("#state").get_by_text("Reconnecting").wait_for()
    with start(port=llm.port):
        page.get_by_text("does not have this answer").wait_for()
        ask(page, "and now?")
        expected = whole(page, "and now?")
        assert text(page) == expected
    forgive(page, "|404")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", DEVICES)
def test_it_fits(
    device: str, scheme: str, start: Callable[..., Program], open_page: Callable[..., Any]
) -> None:
    with start(0.002) as llm:
        page = open_page(color_scheme=scheme, **DEVICES[device])
        page.goto(llm.url)
        ask(page, "What is lost when the connection is?")
        page.wait_for_function(DONE)
        ask(page, "https://example.org/" + "x" * 90)
        page.wait_for_function(WORDS, arg=100)
        assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"{device}-{scheme}.png")
        page.wait_for_function(DONE)
        # The end is in sight, and so is where to ask on.
        box = page.locator(".answer .text").last.bounding_box()
        assert box["y"] + box["height"] <= page.locator("#ask").bounding_box()["y"] + 1
