"""The command as its user has it: a process on a port. Several processes are in test_server_supervisor.py."""

from __future__ import annotations

import re
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving import Command
from tests.support import until
from tornado_sse.cli import main
from tornado_sse.server import ServerOptions

pytestmark = pytest.mark.gen_test

Start = Callable[..., Command]

SERVE = ("serve", "--port", "0")


async def test_it_says_where_it_listens_and_serves(io_loop: object, command: Start) -> None:
    server = await command(*SERVE, "--allow-anonymous-publish").listening()
    assert re.fullmatch(r"tornado-sse listens on http://127\.0\.0\.1:\d+", server.said[0])
    it = await server.client.follow("/channels/a")
    status, answer = await server.client.post("/channels/a", "hello")
    assert (status, answer["id"]) == (200, (await it.event()).id)
    assert (await server.client.get("/ready")).status == 200
    it = await server.client.get("/metrics")
    body = (await it.reader.readexactly(int(it.headers["Content-Length"]))).decode()
    assert "tornado_sse_streams_open 1.0" in body
    assert "process_open_fds" in body


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all_streams_well(
    io_loop: object, command: Start, number: signal.Signals
) -> None:
    server = await command(*SERVE, "--drain", "3").listening()
    streams = [await server.client.follow("/channels/a") for _ in range(5)]
    server.process.send_signal(number)
    for it in streams:
        assert re.search(rb"retry: \d+\n$", await it.rest())
        assert it.complete
    assert await server.ended() == 0
    assert len(server.said) == 1
    assert "Traceback" not in "".join(server.complaints)


async def test_nobody_publishes_without_being_allowed_to(io_loop: object, command: Start) -> None:
    server = await command(*SERVE).listening()
    assert "nobody may publish over HTTP" in server.complaints[0]
    assert (await server.client.post("/channels/a", "x"))[0] == 401
    await server.client.follow("/channels/a")


async def test_options_precede_the_environment_and_that_the_file(
    io_loop: object, command: Start, tmp_path: Path
) -> None:
    (tmp_path / "settings.toml").write_text("""
        port = 1
        max-body = 10
        keepalive = 0.2
        retry = 7
        max-age = "none"
        publish-token = "of-the-file"
        subscribe-token = ["s"]

        [[grant]]
        token = "news"
        publish = ["news"]
    """)
    server = await command(
        *("serve", "--config", "settings.toml", "--port", "0"),
        TORNADO_SSE_PORT="2",
        TORNADO_SSE_RETRY="3",
        TORNADO_SSE_PUBLISH_TOKEN="one two",
    ).listening()
    post = server.client.post
    for token, status in (("one", 200), ("two", 200), ("of-the-file", 401), ("news", 403)):
        assert (await post("/channels/a", "x", Authorization=f"Bearer {token}"))[0] == status
    assert (await post("/channels/news", "x", Authorization="Bearer news"))[0] == 200
    assert (await post("/channels/a", "x" * 11, Authorization="Bearer one"))[0] == 413
    it = await server.client.follow("/channels/a", Authorization="Bearer s")
    retry = re.search(rb"retry: (\d+)", it.body)
    assert retry
    assert 1500 <= int(retry[1]) <= 4500
    assert await it.read_some() == b":\n"


async def test_tokens_are_not_said(io_loop: object, command: Start) -> None:
    server = await command(
        *SERVE,
        "--log-level",
        "debug",
        TORNADO_SSE_PUBLISH_TOKEN="hush-1",
        TORNADO_SSE_SUBSCRIBE_TOKEN="hush-2",
    ).listening()
    it = await server.client.follow("/channels/a?access_token=hush-2")
    await server.client.post("/channels/a", "x", Authorization="Bearer hush-1")
    await server.client.post("/channels/a?access_token=hush-1", "x")
    await server.client.get("/channels/a?start=no&access_token=hush-2")
    it.close()
    await until(lambda: any("disconnected" in line for line in server.complaints))
    server.process.terminate()
    await server.ended()
    said = "\n".join(server.said + server.complaints)
    assert "access_token" in said
    assert "hush" not in said


async def test_what_was_published_is_there_after_a_restart(io_loop: object, command: Start) -> None:
    serve = (*SERVE, "--broker", "sqlite:///events.db", "--allow-anonymous-publish")
    server = await command(*serve).listening()
    (_, first), (_, second) = [await server.client.post("/channels/a", text) for text in "ab"]
    server.process.kill()
    await server.ended()
    server = await command(*serve).listening()
    it = await server.client.get("/channels/a", Last_Event_ID=first["id"])
    event = await it.event()
    assert (event.id, event.data) == (second["id"], "b")


async def test_an_open_door_is_remarked(io_loop: object, command: Start) -> None:
    server = await command(*SERVE, "--host", "0.0.0.0", "--allow-anonymous-publish").listening()
    assert "anybody who reaches 0.0.0.0 port 0 may publish" in server.complaints[0]
    server = await command(*SERVE, "--host", "::1", "--allow-anonymous-publish").listening()
    assert "http://[::1]:" in server.said[0]
    assert server.complaints == []


async def test_it_has_all_the_descriptors_that_it_may(io_loop: object, command: Start) -> None:
    server = await command(*SERVE).listening()
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a server in this process leave nothing behind: no signals blocked, no limits, no log records."""
    module = sys.modules["tornado_sse.cli.serve"]
    monkeypatch.setattr(module, "_set_up_logging", lambda level: None)
    monkeypatch.setattr(module, "_remark", lambda options: None)
    monkeypatch.setattr(module, "_room", lambda: 100)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


# bind_sockets() leaves the socket that can't be bound to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_port_that_is_taken_is_said(here: None, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for more in ((), ("--processes", "2", "--broker", "sqlite:///events.db")):
            assert main(["serve", "--port", port, *more]) == 1
            last = capsys.readouterr().err.splitlines()[-1]
            assert last == f"tornado-sse: 127.0.0.1 port {port} can't be listened on: Address already in use"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--prot", "1"), "No such option"),
        (("--port", "x"), "Invalid value for '--port'"),
        (("--port", "70000"), "70000 is not in the range"),
        (("--processes", "2"), "processes can't be more than 1 with the memory log"),
        (("--broker", "nope://x"), "no backend serves"),
        (("--broker", "sqlite://x"), "names no file"),
        (("--publish-token", "a b"), "token must consist of"),
        (("--allowed-origin", "https://A.example/"), "sse_allowed_origins must hold origins"),
        (("--allowed-origin", "null"), "sse_allowed_origins must hold origins"),
        (("--retain-events", "0"), "'0' is not above 0; none is no limit"),
        (("--retain-age", "day"), "'day' is neither a number nor none"),
        (("--config", "nowhere.toml"), "nowhere.toml can't be read"),
        (("more",), "unexpected extra argument"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_explained(
    here: None, arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *arguments]) == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("tornado-sse: ")]
    assert reason in line


def test_a_file_that_makes_no_sense_is_explained(
    here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "settings.toml"
    for text, reason in (
        ("prot = 1", "has the unknown name 'prot'; did you mean port?"),
        ("config = 'x'", "has the unknown name 'config'"),
        ("port = 'x'", "Invalid value for '--port'"),
        ("processes = 2", "processes can't be more than 1"),
    ):
        path.write_text(text)
        assert main(["serve", "--config", str(path)]) == 2
        assert reason in capsys.readouterr().err


def test_the_environment_is_named_like_the_options(
    here: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORNADO_SSE_MAX_STREAMS_PER_ADDRESS", "x")
    assert main(["serve"]) == 2
    assert "max-streams-per-address" in capsys.readouterr().err


def test_it_serves_in_this_process_too(
    here: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def served(
        options: ServerOptions, sockets: list[socket.socket], listening: Callable[[], None], **more: object
    ) -> int:
        assert (options.xheaders, options.trusted_proxies) == (True, ("10.0.0.1",))
        listening()
        for each in sockets:
            each.close()
        return 5

    monkeypatch.setattr(sys.modules["tornado_sse.cli.serve"], "run", served)
    assert main([*SERVE, "--trusted-proxy", "10.0.0.1"]) == 5
    assert capsys.readouterr().out.startswith("tornado-sse listens on http://127.0.0.1:")
