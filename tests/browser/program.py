"""A demo as people run it: a process that says where it listens, and ends when it is told to, cleanly."""

from __future__ import annotations

import contextlib
import http.client
import select
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import pytest

from tests.support import SECOND

ROOT = Path(__file__).parents[2]

#: How long to wait for a browser or a program. What is in order comes at once; slow machines take long.
PATIENCE = 20 * SECOND

Fields = Mapping[str, str]


class Program:
    """``python -m demos.…``, started and listening.

    :arg stderr: the file for what it writes there.
    :arg arguments: its name, ``demos.dashboard`` say, and its options.
    """

    def __init__(self, stderr: Path, *arguments: str) -> None:
        self._stderr = stderr
        command = [sys.executable, "-W", "error", "-m", *arguments]
        with stderr.open("w") as file:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=file, text=True)
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        self.url = self.process.stdout.readline().strip() if ready else ""
        if not self.url:
            self.kill()
            pytest.fail(f"{arguments[0]} did not start: {self.written()}")
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    def request(
        self, method: str, path: str, body: Fields | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Send a request, read the whole answer, and return its status and body.

        :arg body: the fields of a form.
        :arg headers: each name has an underscore where the header has a hyphen.
        """
        with self.stream(method, path, body, **headers) as answer:
            return answer.status, answer.read()

    @contextlib.contextmanager
    def stream(
        self, method: str, path: str, body: Fields | None = None, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request as `request` does, and give the answer to read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            fields["Content-Type"] = "application/x-www-form-urlencoded"
        encoded = None if body is None else urllib.parse.urlencode(body)
        with contextlib.closing(connection):
            connection.request(method, path, encoded, fields)
            with connection.getresponse() as answer:
                yield answer

    def stop(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Stop it, expect a clean end, and return what it wrote to stderr."""
        if self.process.returncode is None:
            self.process.send_signal(number)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                pytest.fail(f"it did not stop: {self.written()}")
            assert self.process.stdout is not None
            self.process.stdout.close()
        written = self.written()
        assert self.process.returncode in (0, -signal.SIGKILL), written
        assert "Traceback" not in written, written
        return written

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def written(self) -> str:
        """Return what it has written to stderr so far."""
        return self._stderr.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
