"""The chat as people use it: two browsers in a room, and a server that does not always live."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.program import ROOT, Program

pytestmark = pytest.mark.browser

ARTIFACTS = Path(os.environ.get("TORNADO_SSE_ARTIFACTS", ROOT / "artifacts")) / "chat"

# What the browser says by itself while there is no server, or the server stops in the middle.
EXPECTED = (
    r"ERR_CONNECTION_(REFUSED|RESET)|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED_ENCODING|failed: .*/rooms/"
)

DEVICES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1100, "height": 760}},
    "phone": {"viewport": {"width": 390, "height": 780}, "is_mobile": True, "has_touch": True},
}

# Says so many lines as fast as somebody who types very fast.
SAY_MANY = """([prefix, count]) => {
  let number = 0;
  const timer = setInterval(() => {
    document.querySelector("#text").value = `${prefix} ${number++}`;
    document.querySelector("#say").requestSubmit();
    if (number === count) clearInterval(timer);
  }, 10);
}"""
TEXTS = "() => [...document.querySelectorAll('#lines li p')].map((line) => line.textContent)"
HAS = "(count) => document.querySelectorAll('#lines li').length >= count"
TURN = """(state) => {
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
ALL_SENT = "() => document.querySelector('#waiting').children.length === 0"


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Program]:
    """``start(port=0)`` starts a chat, always with the same file."""
    database = tmp_path / "chat.db"
    return lambda port=0: Program(
        tmp_path / "stderr.txt", "demos.chat", "--port", str(port), "--db", str(database)
    )


@pytest.fixture
def enter(open_page: Any) -> Callable[..., Any]:
    """``enter(chat, name, room)`` opens a page in a context of its own and waits until it is live."""

    def enter(chat: Program, name: str, room: str | None = None, **options: Any) -> Any:
        page = open_page(**options)
        page.goto(chat.url if room is None else f"{chat.url}?room={room}")
        page.locator("#name").fill(name)
        wait_for_state(page, "Live")
        return page

    return enter


def wait_for_state(page: Any, state: str) -> None:
    page.locator("#state").get_by_text(state, exact=True).wait_for()


def say(page: Any, text: str) -> None:
    page.locator("#text").fill(text)
    page.locator("#text").press("Enter")


def wait_for_lines(page: Any, texts: list[str]) -> None:
    page.wait_for_function(HAS, arg=len(texts))
    assert page.evaluate(TEXTS) == texts


def forgive(*pages: Any) -> None:
    """Take what the pages said of the server's absence, and nothing else."""
    for page in pages:
        for complaint in page.complaints.take():
            assert re.search(EXPECTED, complaint), complaint


def test_two_browsers_talk(start: Callable[..., Program], enter: Callable[..., Any]) -> None:
    with start() as chat:
        ada, grace = enter(chat, "Ada"), enter(chat, "Grace")
        talk = [(ada, "hello"), (grace, "hi"), (ada, "so it works"), (grace, "twice: hi"), (grace, "hi")]
        for said, (page, text) in enumerate(talk, 1):
            say(page, text)
            for each in (ada, grace):
                wait_for_lines(each, [text for _, text in talk[:said]])
        for each in (ada, grace):
            each.wait_for_function(ALL_SENT)
        assert ada.locator("#lines .mine b").all_inner_texts() == ["Ada"] * 2
        assert ada.locator("#lines li:not(.mine) b").all_inner_texts() == ["Grace"] * 3

        late = enter(chat, "Kurt")
        wait_for_lines(late, [text for _, text in talk])
        other = enter(chat, "Kurt", "kitchen")
        say(other, "nobody here")
        wait_for_lines(other, ["nobody here"])
        assert late.locator("#lines li").count() == len(talk)
        assert chat.stop() == ""
    for each in (ada, grace, late, other):
        wait_for_state(each, "Reconnecting")
    forgive(ada, grace, late, other)


def test_a_killed_server_costs_no_line(start: Callable[..., Program], enter: Callable[..., Any]) -> None:
    count = 60
    chat = start()
    pages = ada, grace = enter(chat, "Ada"), enter(chat, "Grace")
    ada.evaluate(SAY_MANY, ["a", count])
    grace.evaluate(SAY_MANY, ["b", count])
    for round in (1, 2):
        ada.wait_for_function(HAS, arg=20 * round)
        chat.kill()
        for page in pages:
            wait_for_state(page, "Reconnecting")
        if round == 1:
            assert not all(page.evaluate(ALL_SENT) for page in pages)
        chat = start(chat.port)
    with chat:
        for page in pages:
            page.wait_for_function(ALL_SENT)
            page.wait_for_function(HAS, arg=2 * count)
        say(grace, "the end")
        late = enter(chat, "Kurt")
        shown = []
        for page in (*pages, late):
            page.wait_for_function(HAS, arg=2 * count + 1)
            shown.append(page.evaluate(TEXTS))
            assert page.locator(".notice, .refused").count() == 0
    assert shown[0] == shown[1] == shown[2]
    for prefix in "ab":
        mine = [text for text in shown[0] if text.startswith(prefix)]
        assert mine == [f"{prefix} {number}" for number in range(count)]
    assert shown[0][-1] == "the end"
    assert len(shown[0]) == 2 * count + 1
    forgive(*pages, late)


def test_a_lost_acknowledgement_doubles_nothing(
    start: Callable[..., Program], enter: Callable[..., Any]
) -> None:
    with start() as chat:
        ada, grace = enter(chat, "Ada"), enter(chat, "Grace")
        lost = []

        def lose_the_first_two(route: Any) -> None:
            if len(lost) == 2:
                route.continue_()
            else:
                lost.append(route.fetch().status)
                route.abort("connectionreset")

        ada.route("**/rooms/lobby", lose_the_first_two)
        ada.evaluate(TURN, "hidden")
        wait_for_state(ada, "Resting")  # without its stream it can't see that the line has arrived
        with ada.expect_response("**/rooms/lobby") as acknowledged:
            say(ada, "once")
        assert [*lost, acknowledged.value.status] == [204] * 3
        ada.evaluate(TURN, "visible")
        say(ada, "after")
        for page in (ada, grace, enter(chat, "Kurt")):
            page.get_by_text("after").wait_for()
            assert page.evaluate(TEXTS) == ["once", "after"]
        ada.wait_for_function(ALL_SENT)
    forgive(ada, grace)


def test_what_is_typed_survives_the_server(start: Callable[..., Program], enter: Callable[..., Any]) -> None:
    with start() as chat:
        page = enter(chat, "Ada")
        say(page, "before")
        wait_for_lines(page, ["before"])
        chat.stop()
        wait_for_state(page, "Reconnecting")
        say(page, "while it is away")
        page.locator("#text").fill("not sent yet")
        assert page.locator("#waiting li").inner_text().startswith("Ada")
        screenshot(page, "reconnecting")
    with start(chat.port):
        wait_for_lines(page, ["before", "while it is away"])
        page.wait_for_function(ALL_SENT)
        wait_for_state(page, "Live")
        assert page.locator("#text").input_value() == "not sent yet"
        assert page.locator(".notice").count() == 0
    forgive(page)


def test_a_log_that_is_gone_is_told(
    start: Callable[..., Program], enter: Callable[..., Any], tmp_path: Path
) -> None:
    with start() as chat:
        page = enter(chat, "Ada")
        say(page, "before")
        wait_for_lines(page, ["before"])
        chat.stop()
    for file in tmp_path.glob("chat.db*"):
        file.unlink()
    with start(chat.port) as chat:
        page.get_by_text("Some lines are missing").wait_for()
        say(page, "after")
        page.wait_for_function(HAS, arg=3)
        assert page.evaluate(TEXTS) == ["before", "after"]
        wait_for_lines(enter(chat, "Grace"), ["after"])
    forgive(page)


def test_markup_stays_text(start: Callable[..., Program], enter: Callable[..., Any]) -> None:
    markup = "<img src=x onerror=alert(1)>&lt;b&gt;"
    with start() as chat:
        ada, grace = enter(chat, markup), enter(chat, "Grace")
        say(ada, markup)
        wait_for_lines(ada, [markup])
        wait_for_lines(grace, [markup])
        assert grace.locator("#lines b").inner_text() == markup
        assert grace.locator("#lines img").count() == 0
        odd = enter(chat, "Kurt", "%3Cimg%20src=x%3E")
        assert odd.locator("#title").inner_text() == "lobby"


def test_a_hidden_tab_gives_its_connection_back_and_misses_nothing(
    start: Callable[..., Program], enter: Callable[..., Any]
) -> None:
    with start() as chat:
        ada, grace = enter(chat, "Ada"), enter(chat, "Grace")
        say(ada, "one")
        wait_for_lines(grace, ["one"])
        grace.evaluate(TURN, "hidden")
        wait_for_state(grace, "Resting")
        for text in ("two", "three"):
            say(ada, text)
        wait_for_lines(ada, ["one", "two", "three"])
        assert grace.evaluate(TEXTS) == ["one"]
        grace.evaluate(TURN, "visible")
        wait_for_lines(grace, ["one", "two", "three"])


def test_a_line_that_is_refused_says_so(start: Callable[..., Program], enter: Callable[..., Any]) -> None:
    with start() as chat:
        page = enter(chat, "Ada")
        # A script is not held to what the field allows.
        page.evaluate("() => (document.querySelector('#text').value = 'no'.repeat(1001))")
        page.locator("#text").press("Enter")
        page.locator("#waiting .refused").get_by_text("nono").wait_for()
        say(page, "yes")  # it holds up none behind it
        wait_for_lines(page, ["yes"])
        for complaint in page.complaints.take():
            assert "413" in complaint, complaint


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_it_fits(device: str, scheme: str, start: Callable[..., Program], enter: Callable[..., Any]) -> None:
    texts = [
        "Did the restart lose anything?",
        "Not a line. Mine was sent again when the server was back, and it is there once.",
        "<b>Markup</b> stays text.",
        "A longer one: " + "the log is in a file, a room is a channel, and so on. " * 6,
        "https://example.org/" + "x" * 90,
    ]
    with start() as chat:
        options = DEVICES[device]
        ada = enter(chat, "Ada", "kitchen", color_scheme=scheme, **options)
        grace = enter(chat, "Grace", "kitchen")
        for number, text in enumerate(texts, 1):
            say((ada, grace)[number % 2], text)
            ada.wait_for_function(HAS, arg=number)
        ada.wait_for_function(ALL_SENT)
        assert ada.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
        assert ada.evaluate("() => innerWidth") == options["viewport"]["width"]
        # The newest line is in sight, and so is where to answer it.
        box = ada.locator("#lines li").last.bounding_box()
        assert box["y"] + box["height"] <= ada.locator("#say").bounding_box()["y"]
        screenshot(ada, f"{device}-{scheme}")


def test_it_works_by_keyboard(start: Callable[..., Program], enter: Callable[..., Any]) -> None:
    with start() as chat:
        page = enter(chat, "Ada")
        page.locator("#text").focus()
        page.keyboard.type("typed")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # on the button
        wait_for_lines(page, ["typed"])
        page.locator("#room").focus()
        page.keyboard.press("Control+A")
        page.keyboard.type("kitchen")
        page.keyboard.press("Enter")
        page.wait_for_url("**/?room=kitchen")
        wait_for_state(page, "Live")
        assert page.locator("#name").input_value() == "Ada"
        assert page.locator("#lines li").count() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_pages_are_open(
    number: signal.Signals, start: Callable[..., Program], enter: Callable[..., Any]
) -> None:
    with start() as chat:
        page = enter(chat, "Ada")
        assert chat.stop(number) == ""
        wait_for_state(page, "Reconnecting")
    forgive(page)


def screenshot(page: Any, name: str) -> None:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")
