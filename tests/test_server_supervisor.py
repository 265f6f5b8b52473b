"""The supervisor, as a process of its own: it forks, and the tests' process is not for that."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving import ROOT, Client, Command
from tests.support import SECOND, until

pytestmark = pytest.mark.gen_test

Start = Callable[..., Command]

PROGRAM = """
import os, select, signal, sys
from tornado_sse.server import STOPPING, Supervisor

signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
marks = sys.argv[2]


def work(slot, serving, parent):
    exec(sys.argv[1])


sys.exit(Supervisor([[], []], work, lambda: print("serving", flush=True)).run())
"""


def run(what: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run two processes that do the same; return how it ended."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, what, str(directory)],
        capture_output=True,
        text=True,
        timeout=30 * SECOND,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


async def test_what_the_first_can_not_do_the_others_do_not_try(io_loop: object, tmp_path: Path) -> None:
    it = run("print('no', file=sys.stderr); os._exit(3)", tmp_path)
    assert (it.returncode, it.stdout, it.stderr) == (3, "", "no\n")


async def test_an_exception_before_it_serves_is_shown_once(io_loop: object, tmp_path: Path) -> None:
    it = run("raise RuntimeError('why')", tmp_path)
    assert it.returncode == 1
    assert it.stderr.count("RuntimeError: why") == 1


async def test_what_dies_again_and_again_is_given_up(io_loop: object, tmp_path: Path) -> None:
    it = run("serving(); os._exit(7)", tmp_path)
    assert (it.returncode, it.stdout) == (1, "serving\n")
    assert it.stderr.count("died: exit code 7") == 11
    assert "are too many" in it.stderr


@pytest.fixture
def server(command: Start) -> Command:
    """Return three processes on one log and one port. They do not outlive their parent; see the last test."""
    return command(
        *("serve", "--port", "0", "--processes", "3", "--drain", "3"),
        *("--broker", "sqlite:///events.db", "--allow-anonymous-publish"),
    )


async def all_there(server: Command) -> Client:
    await server.listening()
    await until(lambda: len(server.children) == 3)
    return server.client


async def test_all_processes_answer_on_one_port_and_share_the_log(io_loop: object, server: Command) -> None:
    client = await all_there(server)
    assert len(server.said) == 1
    streams = [await client.follow("/channels/a") for _ in range(12)]
    published = [(await client.post("/channels/a", str(i)))[1]["id"] for i in range(12)]
    for it in streams:
        assert [each.id for each in await it.events(12)] == published
    assert server.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_them_all_well(io_loop: object, server: Command, number: signal.Signals) -> None:
    client = await all_there(server)
    streams = [await client.follow("/channels/a") for _ in range(6)]
    server.process.send_signal(number)
    for it in streams:
        assert (await it.rest()).endswith(b"\n")
        assert it.complete
    assert await server.ended() == 0
    assert not [line for line in server.complaints if "Traceback" in line]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", client.port))


def two_ports() -> tuple[int, int]:
    """Return two free ports in a row, from below those that the kernel gives to whoever connects."""
    while True:
        port = random.randrange(20_000, 30_000)
        try:
            for each in (port, port + 1):
                socket.create_server(("127.0.0.1", each)).close()
        except OSError:
            continue
        return port, port + 1


async def test_each_tells_its_own_figures(io_loop: object, command: Start) -> None:
    ports = two_ports()
    server = command(
        *("serve", "--port", "0", "--processes", "2", "--metrics-port", str(ports[0])),
        *("--broker", "sqlite:///events.db", "--allow-anonymous-publish"),
    )
    await server.listening()
    await until(lambda: len(server.children) == 2)
    for _ in range(8):
        await server.client.follow("/channels/a")
    told = 0.0
    for port in ports:
        client = Client(port)
        it = await client.get("/metrics")
        body = (await it.reader.readexactly(int(it.headers["Content-Length"]))).decode()
        told += float(re.findall(r"^tornado_sse_streams_open (.*)$", body, re.MULTILINE)[0])
        assert (await client.get("/channels/a")).status == 404
        client.close()
    assert told == 8
    assert (await server.client.get("/metrics")).status == 404
    server.process.terminate()
    assert await server.ended() == 0


async def test_one_that_is_killed_is_started_again_and_its_clients_lose_nothing(
    io_loop: object, server: Command
) -> None:
    client = await all_there(server)
    streams = [await client.follow("/channels/a") for _ in range(12)]
    before = server.children
    await client.post("/channels/a", "1")
    for it in streams:
        assert (await it.event()).data == "1"
    os.kill(before[1], signal.SIGKILL)
    await until(lambda: len(server.children) == 3 and before[1] not in server.children)
    # What connects meanwhile waits for the successor.
    last = (await client.post("/channels/a", "2"))[1]["id"]
    cut = 0
    for it in streams:
        try:
            event = await it.event()
        except AssertionError:
            cut += 1
            epoch, _, position = last.partition("-")
            again = await client.get("/channels/a", Last_Event_ID=f"{epoch}-{int(position) - 1}")
            event = await again.event()
        assert (event.id, event.data) == (last, "2")
    assert cut < len(streams)
    assert [line for line in server.complaints if f"process {before[1]} died: SIGKILL" in line]


async def test_they_do_not_outlive_their_parent(io_loop: object, server: Command) -> None:
    client = await all_there(server)
    it = await client.follow("/channels/a")
    children = server.children
    server.process.kill()
    await it.rest()
    assert it.complete
    await until(lambda: not any(alive(pid) for pid in children))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
