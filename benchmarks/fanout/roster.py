"""Who is compared, and what each needs to be here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.fanout.program import Server

__all__ = ["FLOOR", "HAND", "OURS", "Contender", "Places", "ours", "present"]

OURS: Final = "tornado-sse"
FLOOR: Final = "C send() loop (the floor)"
HAND: Final = "Tornado by hand: write(), flush()"

#: Where Debian keeps nginx's modules.
_NGINX_MODULES: Final = Path("/usr/lib/nginx/modules")


class Places(NamedTuple):
    """Where what isn't part of the project is."""

    native: Path
    peers_python: str
    node_modules: Path


class Contender(NamedTuple):
    """A server that is compared.

    :ivar command: what starts it, less the port and the ``options`` that follow that.
    :ivar primed: whether a stream's body has something at once.
    """

    name: str
    command: Sequence[str | Path]
    options: Sequence[str | Path] = ()
    primed: bool = False

    def start(self, port: int = 0, *more: str | Path) -> Server:
        """Start it, on any port if none is given."""
        return Server(self.name, [*self.command, str(port), *self.options, *more])


def ours() -> Contender:
    """Return what this is about. After its port it takes a broker's URL."""
    return Contender(OURS, _module(sys.executable, "ours"), primed=True)


def present(places: Places) -> list[Contender]:
    """Return those that can be run here; say what the others lack."""
    candidates: list[tuple[Contender, Callable[[], bool], str]] = [
        (Contender(FLOOR, [places.native / "floor"]), _always, ""),
        (ours(), _always, ""),
        (Contender(HAND, _module(sys.executable, "hand")), _always, ""),
        (
            Contender("aiohttp-sse", _module(places.peers_python, "aiohttp_sse")),
            lambda: _imports(places.peers_python, "aiohttp_sse"),
            f"pip install aiohttp-sse, and --peers-python (now {places.peers_python})",
        ),
        (
            Contender("sse-starlette (uvicorn, uvloop)", _module(places.peers_python, "sse_starlette")),
            lambda: _imports(places.peers_python, "sse_starlette, uvicorn, uvloop, httptools"),
            "pip install sse-starlette uvicorn uvloop httptools, "
            f"and --peers-python (now {places.peers_python})",
        ),
        (
            Contender(
                "better-sse (Node)",
                ["node", "--expose-gc", _script("better_sse.mjs")],
                [places.node_modules.resolve()],
                primed=True,
            ),
            lambda: bool(shutil.which("node")) and (places.node_modules / "better-sse").is_dir(),
            f"npm install better-sse, and --node-modules (now {places.node_modules})",
        ),
        (
            Contender("nchan (nginx)", _module(sys.executable, "nchan"), [_NGINX_MODULES], primed=True),
            lambda: bool(shutil.which("nginx")) and (_NGINX_MODULES / "ngx_nchan_module.so").exists(),
            "apt-get install libnginx-mod-nchan",
        ),
    ]
    contenders = []
    for contender, is_here, remedy in candidates:
        if is_here():
            contenders.append(contender)
        else:
            print(f"without {contender.name}: {remedy}")
    return contenders


def _always() -> bool:
    return True


def _script(name: str) -> Path:
    return Path(__file__).with_name("servers") / name


def _module(python: str, name: str) -> list[str | Path]:
    return [python, "-m", f"benchmarks.fanout.servers.{name}"]


def _imports(python: str, names: str) -> bool:
    command = [python, "-c", f"import {names}"]
    return bool(shutil.which(python)) and subprocess.run(command, capture_output=True).returncode == 0
