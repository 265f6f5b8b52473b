"""``tornado-sse probe`` as its user has it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from rich.console import Console

from tests.broken_servers import Injected, Right, Unmarked, broken
from tests.scripted import Scripted, redirect
from tests.serving import Command
from tests.support import reserved_address
from tornado_sse.cli.probe import _show
from tornado_sse.probe.finding import Report, advice, error

pytestmark = pytest.mark.gen_test

Start = Callable[..., Command]


@pytest.mark.parametrize(
    ("server", "code", "summary"),
    [(Right, 0, "nothing is wrong"), (Unmarked, 0, "nothing is wrong; 1 advice"), (Injected, 1, "1 error")],
)
async def test_findings_are_shown_and_are_the_exit_code(
    io_loop: object, command: Start, server: type[Right], code: int, summary: str
) -> None:
    async with broken(server()) as url:
        it = command("probe", url, "--patience", "2")
        assert await it.ended() == code
    assert it.said[0] == url
    assert it.said[-1] == summary
    assert it.complaints == []
    if code:
        assert "✗ error  repeated-field" in it.said
        assert any("Refuse CR and LF" in line for line in it.said)


async def test_findings_are_json_for_programs(io_loop: object, command: Start) -> None:
    async with broken(Injected()) as url:
        it = command("probe", url, "--patience", "2", "--json", "--header", "X: y")
        assert await it.ended() == 1
    report = json.loads("\n".join(it.said))
    assert [finding["code"] for finding in report["findings"]] == ["repeated-field"]
    assert report["facts"]["resume"] == "works"


async def test_ours_is_right(io_loop: object, command: Start) -> None:
    server = await command(
        "serve", "--port", "0", "--allow-anonymous-publish", "--keepalive", "1", "--log-level", "error"
    ).listening()
    for number in range(3):
        await server.client.post("/channels/a", str(number))
    it = command(
        "probe", f"http://127.0.0.1:{server.client.port}/channels/a?start=earliest", "--patience", "6"
    )
    assert await it.ended() == 0, it.said
    assert it.said[-1] == "nothing is wrong"


async def test_what_can_not_be_probed_is_a_line(io_loop: object, command: Start) -> None:
    with reserved_address() as (host, port):
        it = command("probe", f"http://{host}:{port}/")
        assert await it.ended() == 3
    assert it.complaints == [f"tornado-sse: http://{host}:{port}/: no connection: Connection refused"]
    async with Scripted(redirect("ftp://a/")).running() as server:
        it = command("probe", server.url)
        assert await it.ended() == 1
    assert "redirects to 'ftp://a/'" in it.complaints[0]
    for arguments in (["nonsense"], ["http://a/", "--patience", "0"]):
        it = command("probe", *arguments)
        assert await it.ended() == 2
        assert len(it.complaints) == 1


def test_what_is_worst_comes_first_and_obeys_nobody() -> None:
    report = Report("http://a/\x1b", {"retry": "\x9b"}, [advice("c", "p", "r"), error("b", "\x1b[2J", "r")])
    out = io.StringIO()
    _show(report, Console(file=out, width=80, markup=False, highlight=False, emoji=False))
    assert out.getvalue().split("\n") == [
        "http://a/\\x1b",
        "retry  \\x9b",
        "",
        "✗ error  b",
        f"  {chr(92)}x1b[2J",
        "  r",
        "",
        "· advice  c",
        "  p",
        "  r",
        "",
        "1 error, 1 advice",
        "",
    ]
