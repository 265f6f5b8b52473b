"""The systemd unit of deploy/: what it starts, with the options that there are."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.proxies import DEPLOY, filled_in
from tests.support import DEADLINE, reserved_address
from tornado_sse.cli.serve import serve

UNIT = DEPLOY / "tornado-sse@.service"
PROGRAM = "/opt/tornado-sse/bin/tornado-sse"


def unit(text: str) -> configparser.SectionProxy:
    """Return what a unit says of its service; of what is said twice, the last."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text.replace("\\\n", " "))
    return parser["Service"]


def parsed(command: list[str]) -> dict[str, Any]:
    """Return what ``serve`` makes of its arguments."""
    assert command[0] == "serve"
    return serve.make_context("serve", command[1:]).params


def upstreams() -> list[list[str]]:
    """Return the servers that each proxy is told of."""
    files = ("nginx.conf", "Caddyfile", "haproxy.cfg")
    found = [re.findall(r"127\.0\.0\.1:(\d+)", (DEPLOY / name).read_text("utf-8")) for name in files]
    return [sorted(set(ports)) for ports in found]


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        return  # the facts that matter are below
    copy = tmp_path / "tornado-sse@8001.service"
    copy.write_text(filled_in(UNIT.read_text("utf-8"), {PROGRAM: sys.executable}))
    done = subprocess.run([program, "verify", copy], capture_output=True, text=True, timeout=6 * DEADLINE)
    assert [line for line in done.stderr.splitlines() if "tornado-sse" in line] == []
    assert done.returncode == 0


def test_the_units_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with reserved_address() as (_, port):
        text = UNIT.read_text("utf-8")
        service = unit(filled_in(text, {"%i": str(port), "/var/lib/tornado-sse": str(tmp_path)}))
        program, *arguments = shlex.split(service["ExecStart"])
        assert program == PROGRAM
        with subprocess.Popen(
            [sys.executable, "-m", "tornado_sse", *arguments],
            env={"TORNADO_SSE_PUBLISH_TOKEN": "secret"},
            cwd=DEPLOY.parent,
            stdout=subprocess.DEVNULL,
        ) as server:
            try:
                # It comes back when there is something to come to.
                subprocess.run(shlex.split(service["ExecStartPost"]), check=True, timeout=6 * DEADLINE)
                assert (tmp_path / "events.db").exists()
            finally:
                server.send_signal(signal.SIGTERM)
            assert server.wait(float(service["TimeoutStopSec"])) == 0


def test_the_unit_lets_streams_end_and_believes_the_proxy() -> None:
    service = unit(filled_in(UNIT.read_text("utf-8"), {"%i": "8001"}))
    given = parsed(shlex.split(service["ExecStart"])[1:])
    assert float(service["TimeoutStopSec"]) > given["drain"]
    # A second SIGTERM ends a process at once, and the main one passes its own on.
    assert service["KillMode"] == "mixed"
    assert given["xheaders"]
    # Whoever reaches it could otherwise say to be anybody.
    assert given["host"] == "127.0.0.1"
    assert given["broker"].startswith(f"sqlite:////var/lib/{service['StateDirectory']}/")
    assert all(ports == ["8001", "8002"] for ports in upstreams())
