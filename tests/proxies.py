"""Real proxies in front of a test's servers, with the files of deploy/ or with files of the test's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import tornado.web
import trustme
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tests.support import DEADLINE, Connection, reserved_address, until
from tornado_sse import Broker, SSEHandler
from tornado_sse.capacity import Capacity

__all__ = ["DEPLOY", "FILES", "Behind", "Deployed", "deployed", "filled_in", "find_program", "running"]

DEPLOY = Path(__file__).parents[1] / "deploy"

#: The shipped file for each proxy.
FILES = {"nginx": "nginx.conf", "caddy": "Caddyfile", "haproxy": "haproxy.cfg"}


def find_program(name: str) -> str:
    """Return where a program is. Without it the test is skipped, and fails in CI."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {name} to test with")
    return found


@contextlib.contextmanager
def running(*command: str | Path, said: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that stays in the foreground; what it says goes to a file."""
    with said.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **environment}
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE)
            finally:
                process.kill()
                process.wait()


def filled_in(text: str, changes: Mapping[str, str]) -> str:
    """Return a text with some of its parts replaced, each of which has to be there."""
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in the file"
        text = text.replace(old, new)
    return text


class Follow(SSEHandler):
    async def open(self, channel: str) -> None:
        await self.subscribe(channel, start=self.get_query_argument("start", "new"))


class Silent(Follow):
    sse_keepalive = None


class Dies(tornado.web.RequestHandler):
    """A response that begins well, and a connection that is closed as the system closes those of the dead."""

    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.write("data: begun\n\n")
        await self.flush()
        self.detach().close()


class Refuses(tornado.web.RequestHandler):
    """Takes what is sent to it, and says that it can't."""

    def post(self) -> None:
        self.settings["taken"].append(self.request.body)
        self.set_status(503)
        self.write("refused")


class Who(tornado.web.RequestHandler):
    """Tells who asks, as far as the server knows."""

    def get(self) -> None:
        self.write({"address": self.request.remote_ip, "protocol": self.request.protocol})


class Ready(tornado.web.RequestHandler):
    """Whether to send clients here, as ``GET /ready`` of ``tornado-sse serve`` tells."""

    def get(self) -> None:
        self.set_status(503 if Capacity.of(self.application).draining else 200)


class Behind:
    """A server that is meant to stand behind a proxy; several share a log."""

    def __init__(self, log: Path, **settings: object) -> None:
        self.broker = Broker(f"sqlite:///{log}")
        self.application = tornado.web.Application(
            [
                ("/channels/([^/]+)", Follow),
                ("/silent/([^/]+)", Silent),
                ("/dies", Dies),
                ("/refuses", Refuses),
                ("/who", Who),
                ("/ready", Ready),
            ],
            sse_broker=self.broker,
            log_function=lambda handler: None,
            taken=[],
            **settings,
        )
        self.server = HTTPServer(self.application, xheaders=True)
        (sock,) = bind_sockets(0, "127.0.0.1")
        self.address = "{}:{}".format(*sock.getsockname())
        self.server.add_socket(sock)

    @property
    def streams(self) -> int:
        """How many are open."""
        return Capacity.of(self.application).used

    async def close(self) -> None:
        self.server.stop()
        await self.broker.close()
        await self.server.close_all_connections()


class Deployed:
    """A proxy with its shipped file, and the two servers behind it."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        port: int,
        plain: int,
        authority: trustme.CA,
        behind: Sequence[Behind],
    ) -> None:
        self.process = process
        self.port = port
        #: The port without TLS.
        self.plain = plain
        self.behind = behind
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)
        self._connections: list[Connection] = []

    async def connect(self, source: str = "127.0.0.1") -> Connection:
        """Connect to the proxy as a browser would, over TLS, from an address of this machine."""
        connection = await Connection.open(
            "127.0.0.1", self.port, ssl=self.trust, server_hostname="test", local_addr=(source, 0)
        )
        connection.host = f"test:{self.port}"
        self._connections.append(connection)
        return connection

    async def get(self, path: str, **headers: str) -> Connection:
        """Send a request on a connection of its own, and read the head of the response."""
        return await (await self.connect()).request(path, headers=headers.items())

    async def publish(self, channel: str, text: str) -> None:
        await self.behind[0].broker.publish(channel, text, serializer="text")

    @property
    def streams(self) -> int:
        return sum(each.streams for each in self.behind)

    async def close(self) -> None:
        for connection in self._connections:
            connection.reset()
            with contextlib.suppress(OSError):
                await connection.writer.wait_closed()


@contextlib.asynccontextmanager
async def deployed(
    kind: str, folder: Path, changes: Mapping[str, str] | None = None, **settings: object
) -> AsyncIterator[Deployed]:
    """Run a proxy with its shipped file, in which nothing but ports and paths is replaced.

    :arg folder: where to put files; made if it is not there.
    :arg changes: what else is to be replaced in the file.
    :arg settings: of the application.
    """
    program = find_program(kind)
    authority = _certify(folder)
    async with contextlib.AsyncExitStack() as stack:
        behind = []
        for _ in range(2):
            behind.append(Behind(folder / "events.db", **settings))
            stack.push_async_callback(behind[-1].close)
        (_, port), (_, plain) = (stack.enter_context(reserved_address()) for _ in range(2))
        text = (DEPLOY / FILES[kind]).read_text("utf-8")
        text = filled_in(
            text,
            {
                "127.0.0.1:8001": behind[0].address,
                "127.0.0.1:8002": behind[1].address,
                **_places(kind, folder, port, plain),
                **(changes or {}),
            },
        )
        config = folder / FILES[kind]
        config.write_text(text)
        command = {
            "nginx": [program, "-e", "stderr", "-g", "daemon off;", "-p", folder, "-c", config],
            "caddy": [program, "run", "--adapter", "caddyfile", "--config", config],
            "haproxy": [program, "-db", "-f", config],
        }[kind]
        said = folder / "said"
        home = str(folder)
        process = stack.enter_context(
            running(*command, said=said, HOME=home, XDG_DATA_HOME=home, XDG_CONFIG_HOME=home)
        )
        await until(lambda: _listens(port) or _complain(process, said))
        it = Deployed(process, port, plain, authority, behind)
        stack.push_async_callback(it.close)
        yield it


def _certify(folder: Path) -> trustme.CA:
    """Write a certificate for the server that is called test; return who vouches for it."""
    folder.mkdir(exist_ok=True)
    authority = trustme.CA()
    certificate = authority.issue_cert("test")
    certificate.cert_chain_pems[0].write_to_path(folder / "test.pem")
    certificate.private_key_pem.write_to_path(folder / "test.key")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return authority


def _places(kind: str, folder: Path, port: int, plain: int) -> dict[str, str]:
    """Return what stands for a port or a path in a shipped file, and what takes its place."""
    if kind == "nginx":
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        return {
            "/run/nginx.pid": f"{folder}/pid",
            "/var/log/nginx": str(folder),
            "/etc/ssl/example.com": f"{folder}/test",
            "listen 443 ": f"listen 127.0.0.1:{port} ",
            "listen 80;": f"listen 127.0.0.1:{plain};",
            "example.com": "test",
            "http {": "http { " + " ".join(f"{each}_temp_path {folder}/{each};" for each in kinds),
        }
    if kind == "caddy":
        return {
            "# tls": "tls",
            "/etc/ssl/example.com": f"{folder}/test",
            "example.com {": f"https://test:{port} {{",
            "grace_period": f"http_port {plain}\n\tadmin off\n\tgrace_period",
        }
    places = {
        "/etc/haproxy/example.com.pem": f"{folder}/both.pem",
        "bind :443 ": f"bind 127.0.0.1:{port} ",
        "bind :80\n": f"bind 127.0.0.1:{plain}\n",
    }
    if os.getuid() != 0:  # only root can be somebody else
        places |= {"    user haproxy\n": "", "    group haproxy\n": ""}
    return places


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _complain(process: subprocess.Popen[bytes], said: Path) -> bool:
    """Fail if the program could not go on."""
    if process.poll() is not None:
        pytest.fail(said.read_text(errors="replace"))
    return False
