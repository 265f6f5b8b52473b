"""The dashboard as people run it, in the browser as people see it.

Each test starts the program in a process of its own, which must end when it is told to, and cleanly.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.program import PATIENCE, ROOT, Program

pytestmark = pytest.mark.browser

ARTIFACTS = Path(os.environ.get("TORNADO_SSE_ARTIFACTS", ROOT / "artifacts")) / "dashboard"

DEVICES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1440, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "device_scale_factor": 2},
}

# Bokeh draws in shadow roots, one below the other.
DRAWN = """() => {
  const canvases = (root) => [...root.querySelectorAll("*")].flatMap((element) => [
    ...(element instanceof HTMLCanvasElement ? [element] : []),
    ...(element.shadowRoot ? canvases(element.shadowRoot) : []),
  ]);
  const hasColour = (canvas) => {
    if (canvas.width * canvas.height === 0) return false;
    // From a copy: reading back from a canvas that is drawn on makes Chromium complain.
    const { width, height } = canvas;
    const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, width, height);
    for (let i = 0; i < data.length; i += 4) {
      const [red, green, blue] = data.slice(i, i + 3);
      if (data[i + 3] > 200 && Math.max(red, green, blue) - Math.min(red, green, blue) > 80) return true;
    }
    return false;
  };
  const plots = [...document.querySelectorAll(".plot")];
  return plots.length === 4 && plots.every((plot) => canvases(plot).some(hasColour));
}"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Program]:
    """``start(port=0)`` starts a dashboard."""
    return lambda port=0: Program(tmp_path / "stderr.txt", "demos.dashboard", "--port", str(port))


@pytest.fixture
def dashboard(start: Callable[..., Program]) -> Iterator[Program]:
    """A running dashboard."""
    with start() as dashboard:
        yield dashboard


def wait_for_state(page: Any, state: str) -> None:
    page.locator("#state").get_by_text(state, exact=True).wait_for()


def wait_for_all_kinds(page: Any) -> None:
    """Wait until an event of each kind has arrived and is on the page."""
    wait_for_state(page, "Live")
    page.wait_for_function(
        """() => ["samples", "heatmap", "system", "log"].every((kind) => {
          const total = document.querySelector(`tr[data-kind=${kind}] td:last-child`)?.textContent;
          return total && !["–", "0"].includes(total.split(/\\s/)[0]);
        })"""
    )
    page.wait_for_selector("#heatmap:not([hidden])")
    page.wait_for_selector("#processes tr:not(.empty)")
    page.wait_for_selector("#log li")
    page.wait_for_function(DRAWN)


def snapshot(page: Any, name: str) -> None:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)


def background(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_the_page_is_live(device: str, scheme: str, dashboard: Any, open_page: Any) -> None:
    options = DEVICES[device]
    page = open_page(color_scheme=scheme, **options)
    page.goto(dashboard.url)
    wait_for_all_kinds(page)

    # New values keep coming: another image, and more bytes of samples.
    now = "[heatmap.src, document.querySelector('tr[data-kind=samples] td:last-child').textContent].join()"
    page.wait_for_function(f"(before) => {now} !== before", arg=page.evaluate(now))
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate("innerWidth") == options["viewport"]["width"]
    assert page.locator("body").inner_text().count("NaN") == 0
    assert page.locator("body").inner_text().count("undefined") == 0
    snapshot(page, f"{device}-{scheme}")


def test_a_new_tab_opens_with_full_charts(dashboard: Any, open_page: Any) -> None:
    points = "document.querySelector('.tile polyline').getAttribute('points').split(' ').length"
    first = open_page()
    first.goto(dashboard.url)
    wait_for_all_kinds(first)
    first.wait_for_function(f"() => {points} >= 4")

    second = open_page()
    second.goto(dashboard.url)
    wait_for_state(second, "Live")
    second.locator(".tile polyline[points]").first.wait_for(state="attached")
    assert second.evaluate(points) >= 4


def test_two_tabs_share_one_collection(dashboard: Any, open_page: Any) -> None:
    first = open_page()
    first.goto(dashboard.url)
    second = open_page(context=first.context)
    second.goto(dashboard.url)
    for page in (first, second):
        page.locator("#viewers").get_by_text("2 viewers, one collection").wait_for()
        wait_for_all_kinds(page)
    assert second.locator("#log li").filter(has_text="collecting every").count() == 1

    second.get_by_role("button", name="Pause").click()
    wait_for_state(second, "Paused")
    first.locator("#viewers").get_by_text("1 viewer, one collection").wait_for()
    second.get_by_role("button", name="Resume").click()
    wait_for_state(second, "Live")
    first.locator("#viewers").get_by_text("2 viewers, one collection").wait_for()


def test_the_collection_rests_while_nobody_watches(dashboard: Any, open_page: Any) -> None:
    page = open_page()
    page.goto(dashboard.url)
    wait_for_all_kinds(page)
    page.get_by_role("button", name="Pause").click()
    wait_for_state(page, "Paused")
    deadline = time.monotonic() + PATIENCE
    while "nobody is watching" not in dashboard.written():
        assert time.monotonic() < deadline
        time.sleep(0.02)

    page.get_by_role("button", name="Resume").click()
    wait_for_all_kinds(page)
    assert page.locator("#log li").filter(has_text="collecting every").count() == 2


def test_a_hidden_tab_gives_its_connection_back(dashboard: Any, open_page: Any) -> None:
    page = open_page()
    page.clock.install()
    page.goto(dashboard.url)
    wait_for_state(page, "Live")
    turn = """(state) => {
      Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(turn, "hidden")
    page.clock.run_for(10_000)
    wait_for_state(page, "Live")  # a glance at another tab costs nothing
    page.clock.run_for(10_000)
    wait_for_state(page, "Resting")
    page.evaluate(turn, "visible")
    wait_for_state(page, "Live")


def test_the_theme_follows_the_system_until_somebody_chooses(dashboard: Any, open_page: Any) -> None:
    page = open_page(color_scheme="light")
    page.goto(dashboard.url)
    wait_for_all_kinds(page)
    light = background(page)

    page.get_by_role("button", name="Switch to the dark theme").click()
    dark = background(page)
    assert dark != light
    page.wait_for_function(DRAWN)
    page.reload()
    assert background(page) == dark

    page.get_by_role("button", name="Switch to the light theme").click()
    page.emulate_media(color_scheme="dark")
    assert background(page) == light

    other = open_page(color_scheme="dark")
    other.goto(dashboard.url)
    assert background(other) == dark
    other.emulate_media(color_scheme="light")
    assert background(other) == light


def test_markup_in_the_log_stays_text(dashboard: Any, open_page: Any) -> None:
    page = open_page()
    page.goto(dashboard.url)
    wait_for_all_kinds(page)
    markup = "/<img/src=x/onerror=alert(1)>&lt;b&gt;"
    connection = http.client.HTTPConnection("127.0.0.1", dashboard.port, timeout=PATIENCE)
    connection.request("GET", markup)
    assert connection.getresponse().status == 404
    connection.close()

    line = page.locator("#log li").filter(has_text=markup)
    line.wait_for()
    assert line.evaluate("(line) => [...line.children].map((child) => child.children.length)") == [0, 0, 0]
    assert page.locator("#log img").count() == 0
    assert line.get_attribute("data-level") == "W"


FOUND = ["", "dashboard.js", "tornado_sse/tornado_sse.js", "bokeh.min.js"]
MISSING = ["nothing", "../app.py", "bokeh-widgets.min.js"]


@pytest.mark.parametrize("path", FOUND + MISSING)
def test_every_answer_carries_the_policy(path: str, dashboard: Any) -> None:
    try:
        with urllib.request.urlopen(dashboard.url + path, timeout=PATIENCE) as answer:
            headers, status = answer.headers, answer.status
    except urllib.error.HTTPError as error:
        with error:
            headers, status = error.headers, error.code
    assert (status == 200) == (path in FOUND)
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_survives_a_restart(start: Callable[..., Program], open_page: Any) -> None:
    page = open_page()
    with start() as dashboard:
        page.goto(dashboard.url)
        wait_for_all_kinds(page)
        dashboard.stop()
        wait_for_state(page, "Reconnecting")
        page.get_by_text("The connection is lost").wait_for()
        snapshot(page, "reconnecting")
    with start(dashboard.port):
        wait_for_state(page, "Live")
        wait_for_all_kinds(page)
        assert page.locator("#notice").is_hidden()
        # It is another log, so the page has begun anew.
        page.locator("#log li").filter(has_text="collecting every").wait_for()
        assert page.locator("#log li").filter(has_text="collecting every").count() == 1
    for complaint in page.complaints.take():
        assert re.search(r"ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|failed: .*/live", complaint)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number: signal.Signals, start: Callable[..., Program]) -> None:
    dashboard = start()
    # With a stream open, in full swing.
    with urllib.request.urlopen(f"{dashboard.url}live", timeout=PATIENCE) as answer:
        assert b"event: system\n" in iter(answer.readline, b"")
        written = dashboard.stop(number)
        answer.read()  # raises IncompleteRead if the final chunk is missing
    assert "ERROR" not in written


def test_a_port_in_use_is_one_clear_line(dashboard: Any) -> None:
    command = [sys.executable, "-m", "demos.dashboard", "--port", str(dashboard.port)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert second.returncode == 1
    assert second.stdout == ""
    assert second.stderr.count("\n") == 1
    assert f"port {dashboard.port}" in second.stderr
    assert "--port" in second.stderr
