"""NATS servers for tests: the real program, on ports of their own, to be killed and started."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from sysconfig import get_path
from typing import Any, Final, Self

import nats

from tests.support import DEADLINE, reserved_address

__all__ = ["PROGRAM", "Server", "admin", "running"]

#: The program, which a wheel has brought.
PROGRAM: Final = Path(get_path("scripts")) / "nats-server"


class Server:
    """A server whose data is in a folder, on a port that stays its own while it is down.

    :arg config: more of its configuration file.
    """

    def __init__(self, folder: Path, config: str = "", program: str | Path = PROGRAM) -> None:
        self._folder = folder
        self._config = config
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = contextlib.ExitStack()
        self.host, self.port, self._monitor = "", 0, 0

    def __enter__(self) -> Self:
        self.host, self.port = self._stack.enter_context(reserved_address())
        _, self._monitor = self._stack.enter_context(reserved_address())
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *args: object) -> None:
        self.kill()
        self._stack.close()

    @property
    def url(self) -> str:
        return f"nats://{self.host}:{self.port}"

    def start(self, *, empty: bool = False, config: str | None = None, jetstream: bool = True) -> Self:
        """Start it, with the data it had, and return when it serves."""
        if empty:
            shutil.rmtree(self._folder / "data", ignore_errors=True)
        if config is not None:
            self._config = config
        path = self._folder / "nats.conf"
        path.write_text(
            f'listen: "{self.host}:{self.port}"\nhttp: "{self.host}:{self._monitor}"\n'
            + (f'jetstream {{ store_dir: "{self._folder}/data" }}\n' if jetstream else "")
            + self._config
        )
        self._process = subprocess.Popen(
            [self._program, "-c", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + DEADLINE
        while True:
            try:
                with socket.create_connection((self.host, self.port), 1) as sock:
                    if sock.recv(4) == b"INFO" and self.ask("healthz")["status"] == "ok":
                        return self
            except OSError:
                assert self._process.poll() is None, "nats-server has ended by itself"
            assert time.monotonic() < end
            time.sleep(0.01)

    def ask(self, path: str) -> Any:
        """Return what its monitoring says."""
        with urllib.request.urlopen(f"http://{self.host}:{self._monitor}/{path}", timeout=DEADLINE) as answer:
            return json.load(answer)

    @property
    def connections(self) -> int:
        """How many clients it has."""
        return int(self.ask("connz")["num_connections"])

    def save(self) -> None:
        """Keep a copy of the data it has; it has ended."""
        shutil.copytree(self._folder / "data", self._folder / "copy")

    def restore(self) -> None:
        """Give it the data that was kept, as if what came later had been lost; it has ended."""
        shutil.rmtree(self._folder / "data")
        (self._folder / "copy").rename(self._folder / "data")

    def kill(self) -> None:
        """End it at once, as kill -9 does."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """End it as an operator does."""
        self._end(signal.SIGTERM)

    def stop(self) -> None:
        """Let it do nothing until `go_on`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # Its threads may go on for a moment.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            if number != signal.SIGKILL:
                process.send_signal(signal.SIGCONT)
            process.wait(DEADLINE)


@contextlib.contextmanager
def running(folder: Path, config: str = "") -> Iterator[Server]:
    """Run a server."""
    with Server(folder, config) as server:
        yield server.start()


async def admin(server: Server, verb: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
    """Do what an administrator does, by JetStream's own requests."""
    client = await nats.connect(server.url)
    try:
        data = b"" if request is None else json.dumps(request).encode()
        answer: dict[str, Any] = json.loads((await client.request(f"$JS.API.{verb}", data, DEADLINE)).data)
    finally:
        await client.close()
    assert "error" not in answer, answer
    return answer
