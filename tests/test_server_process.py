from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tornado_sse.server.options import ServerOptions
from tornado_sse.server.process import CANNOT_START, STOPPING, run


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener
    while signal.sigtimedwait(STOPPING, 0) is not None:
        pass  # of a test that failed: it would end all of them
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_well(listener: socket.socket, number: signal.Signals) -> None:
    assert run(ServerOptions(), [listener], lambda: os.kill(os.getpid(), number)) == 0


def test_a_signal_before_the_start_is_not_lost(listener: socket.socket) -> None:
    # To this thread: those of other tests don't block it, and would end all of them.
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    told: list[int] = []
    assert run(ServerOptions(), [listener], lambda: told.append(1)) == 0


def test_the_death_of_the_parent_stops_it(listener: socket.socket) -> None:
    alive, held = os.pipe()
    assert run(ServerOptions(), [listener], lambda: os.close(held), parent=alive) == 0
    os.close(alive)


def test_a_log_that_does_not_open_is_said_in_a_line(
    listener: socket.socket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ServerOptions(f"sqlite:///{tmp_path}/nowhere/events.db")
    assert run(options, [listener], lambda: None) == CANNOT_START
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tornado-sse: the sqlite log failed: ")
