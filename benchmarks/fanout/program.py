"""A program at the other end of two pipes: it is told a line, and answers with a line of JSON.

It ends with its input, so nothing is left behind however the benchmark ends.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.child import CLIENT_CORE, SERVER_CORE

__all__ = ["Program", "Server"]

# How long an answer may take, in seconds, if nothing else is said.
_PATIENCE: Final = 60.0

# The package's parent, from which a server is run as a module.
_ROOT: Final = Path(__file__).resolve().parents[2]


class Program:
    """A new process on a core of its own, for as long as a ``with`` block."""

    def __init__(self, name: str, command: Sequence[str | Path], core: int) -> None:
        self._name = name
        self._pending = b""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            preexec_fn=lambda: _prepare(core),
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            pass
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def kill(self) -> None:
        """End it without a farewell, as a crash would."""
        self._process.kill()
        self._process.wait()

    def ask(self, *words: object, patience: float = _PATIENCE) -> dict[str, Any]:
        """Tell it something and return the answer."""
        self.tell(*words)
        return self.receive(patience)

    def tell(self, *words: object) -> None:
        """Tell it something whose answer comes later."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{' '.join(map(str, words))}\n".encode())
        self._process.stdin.flush()

    def receive(self, patience: float = _PATIENCE) -> dict[str, Any]:
        """Return the next answer."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + patience
        while b"\n" not in self._pending:
            if not select.select([self._process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"no answer from {self._name} within {patience:.0f} s")
            received = os.read(self._process.stdout.fileno(), 1 << 16)
            if not received:
                raise RuntimeError(f"{self._name} has failed; it has said why above")
            self._pending += received
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Server(Program):
    """A server that has introduced itself."""

    def __init__(self, name: str, command: Sequence[str | Path]) -> None:
        super().__init__(name, command, SERVER_CORE)
        try:
            introduction = self.receive()
        except BaseException:
            self.kill()
            raise
        self.port: int = introduction["port"]
        self.version: str = introduction["version"]
        self._measured: int = introduction["pid"]
        if self._measured != self.pid:  # what serves is a child of it, and has inherited the core
            os.sched_setaffinity(self.pid, {_core(CLIENT_CORE)})

    def cpu(self) -> float:
        """Return the CPU time that it has used, user and system, in seconds."""
        return time.clock_gettime(~self._measured << 3 | 2)  # clock_getcpuclockid(3), which Python lacks

    def memory(self) -> int:
        """Return how many of its bytes are resident, when garbage has been collected."""
        self.ask("collect")
        pages = int(Path(f"/proc/{self._measured}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def _prepare(core: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the benchmark ends us
    os.sched_setaffinity(0, {_core(core)})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _core(number: int) -> int:
    cores = sorted(os.sched_getaffinity(0))
    return cores[number % len(cores)]
