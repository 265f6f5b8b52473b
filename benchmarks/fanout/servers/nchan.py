"""nchan: nginx with its module, which keeps messages and subscribers in the worker's memory.

This program starts nginx, and publishes to it over HTTP, one message after the other on one connection. What
is measured is the worker. Arguments: the port, and the folder with nginx's modules.
"""

from __future__ import annotations

import asyncio
import getpass
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.fanout.server import CHANNEL, Publisher, compose, follow, listen, pause

_CONFIGURATION: Final = """\
load_module {modules}/ngx_nchan_module.so;
user {user};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    nchan_max_reserved_memory 128m;
    nchan_message_buffer_length 10000;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location ~ ^/events/(\\w+)$ {{ nchan_subscriber eventsource; nchan_channel_id $1; }}
        location ~ ^/publish/(\\w+)$ {{ nchan_publisher; nchan_channel_id $1; }}
    }}
}}
"""


class _Connection:
    """A keep-alive connection that publishes. What is asked of it is sent in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    def publish(self, text: str) -> asyncio.Task[None]:
        return asyncio.create_task(self._post(text))

    async def _post(self, text: str) -> None:
        head = f"POST /publish/{CHANNEL} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(text)}\r\n\r\n"
        async with self._turn:
            self._writer.write(f"{head}{text}".encode())
            answer = await self._reader.readuntil(b"\r\n\r\n")
            if not re.match(rb"HTTP/1.1 20[12] ", answer):
                raise RuntimeError(f"nchan answers {answer!r}")
            if length := re.search(rb"(?i)content-length: (\d+)", answer):
                await self._reader.readexactly(int(length[1]))


class _Publisher(Publisher):
    """Publishes the next message when the last has been taken, for that is what nginx's turn is."""

    def __init__(self, connection: _Connection) -> None:
        super().__init__(connection.publish)
        self._connection = connection
        self.commands["publish"] = self._publish_one_by_one
        del self.commands["burst"]

    async def _publish_one_by_one(self, count: str, many: str) -> dict[str, object]:
        paused = 0.0
        for number in range(int(count)):
            await self._connection.publish(compose(number))
            if number % int(many) == int(many) - 1:
                paused += await pause()
        return {"paused": paused}


def _write_configuration(folder: Path, port: int, modules: str) -> Path:
    path = folder / "nginx.conf"
    path.write_text(_CONFIGURATION.format(folder=folder, modules=modules, port=port, user=getpass.getuser()))
    return path


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as soon as it listens."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.01)


def _worker_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


async def _follow(nginx: int, port: int, version: str) -> None:
    connection = _Connection(*await _connect(port))
    await follow(_Publisher(connection), port=port, pid=_worker_of(nginx), version=version)


def main() -> None:
    """Serve until the input ends."""
    with listen() as listener:  # a port that is free; nginx has to open it itself
        port = listener.getsockname()[1]
    version = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    with tempfile.TemporaryDirectory() as folder:
        configuration = _write_configuration(Path(folder), port, sys.argv[2])
        nginx = subprocess.Popen(["nginx", "-c", configuration, "-p", folder], stdin=subprocess.DEVNULL)
        try:
            asyncio.run(_follow(nginx.pid, port, f"nchan, {version.split()[-1]}"))
        finally:
            nginx.terminate()
            nginx.wait(10)


if __name__ == "__main__":
    main()
