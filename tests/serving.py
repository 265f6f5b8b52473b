"""The server of ``tornado-sse serve``: its application in this process, and the command as one of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Self

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tests.support import SECOND, Connection, until
from tornado_sse import Broker
from tornado_sse.server import ServerOptions, make_application

ROOT = Path(__file__).parents[1]


class Client:
    """Sends requests to a port, each on a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._stack = contextlib.ExitStack()

    async def get(self, path: str, *, method: str = "GET", **headers: str) -> Connection:
        """Return the answer, of which the head has been read."""
        return await self._send(path, method, b"", headers)

    async def follow(self, path: str, **headers: str) -> Connection:
        """Return a stream whose primer has been read."""
        it = await self.get(path, **headers)
        assert it.status == 200
        assert await it.read_some()
        return it

    async def post(
        self, path: str, body: bytes | str = b"", content_type: str = "", **headers: str
    ) -> tuple[int, Any]:
        """Return the status and the JSON of the answer."""
        if content_type:
            headers["Content-Type"] = content_type
        it = await self._send(path, "POST", body.encode() if isinstance(body, str) else body, headers)
        return it.status, await body_of(it)

    async def _send(self, path: str, method: str, body: bytes, headers: dict[str, str]) -> Connection:
        it = await Connection.open("127.0.0.1", self.port)
        self._stack.callback(it.close)
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        if method == "POST" and not body:
            fields.append(("Content-Length", "0"))
        return await it.request(path, method=method, headers=fields, body=body)

    def close(self) -> None:
        self._stack.close()


async def body_of(it: Connection) -> Any:
    """Return the JSON of an answer."""
    return json.loads(await it.reader.readexactly(int(it.headers["Content-Length"])))


@contextlib.asynccontextmanager
async def serving(options: ServerOptions, broker: Broker | None = None) -> AsyncIterator[Client]:
    """Serve in this process."""
    backend = options.open_backend()
    broker = broker or Broker(backend)
    server = HTTPServer(make_application(options, broker, backend), max_body_size=options.max_body)
    (listener,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(listener)
    await broker.start()
    client = Client(listener.getsockname()[1])
    try:
        yield client
    finally:
        client.close()
        server.stop()
        await broker.close()
        await server.close_all_connections()


class Command:
    """``tornado-sse`` as a process, whose output is kept in files."""

    def __init__(self, directory: Path, *arguments: str, **environment: str) -> None:
        self.directory = directory
        number = len([*directory.glob("out.*")])
        self._out, self._err = directory / f"out.{number}", directory / f"err.{number}"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "tornado_sse", *arguments],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            )
        self.client = Client(0)

    @property
    def said(self) -> list[str]:
        return self._out.read_text().splitlines()

    @property
    def complaints(self) -> list[str]:
        return self._err.read_text().splitlines()

    async def listening(self) -> Self:
        """Wait until a server says where it listens."""
        await until(lambda: self.said or self.process.poll() is not None, 30 * SECOND)
        assert self.said, self.complaints
        self.client.port = int(self.said[-1].rpartition(":")[2])
        return self

    async def ended(self) -> int:
        """Return the exit code."""
        await until(lambda: self.process.poll() is not None, 30 * SECOND)
        code: int = self.process.returncode
        return code

    @property
    def children(self) -> list[int]:
        """The processes it has started."""
        if self.process.poll() is not None:
            return []
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def close(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


def lines(values: Iterable[Any]) -> str:
    """Return values as newline-delimited JSON."""
    return "".join(json.dumps(value) + "\n" for value in values)
