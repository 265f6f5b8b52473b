"""The compose file of deploy/, and its container: options, files and extras that there are."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.proxies import DEPLOY
from tests.test_deploy_server import parsed, upstreams
from tornado_sse.cli.serve import serve

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVERS = ("one", "two")


@pytest.mark.parametrize("name", SERVERS)
def test_the_composed_servers_do_too(name: str) -> None:
    server = COMPOSE["services"][name]
    given = parsed(shlex.split(server["command"]))
    assert float(server["stop_grace_period"].removesuffix("s")) > given["drain"]
    assert given["xheaders"]
    (port,) = server["ports"]
    address, outside, inside = port.split(":")
    assert (address, inside) == ("127.0.0.1", str(given["port"]))
    assert outside in upstreams()[0]
    known = {f"TORNADO_SSE_{option.name}".upper() for option in serve.params}
    assert set(server["environment"]) <= known
    assert given["broker"] == "redis://valkey"
    assert "valkey" in COMPOSE["services"]


def test_the_container_copies_what_there_is_and_installs_extras_that_exist() -> None:
    lines = [line.split() for line in (DEPLOY / "Dockerfile").read_text("utf-8").splitlines()]
    for line in lines:
        if line[:1] == ["COPY"]:
            assert all((DEPLOY.parent / each).exists() for each in line[1:-1])
    setup = configparser.RawConfigParser()
    setup.read(DEPLOY.parent / "setup.cfg")
    (extras,) = re.findall(r"'\.\[(.*)\]'", (DEPLOY / "Dockerfile").read_text("utf-8"))
    assert set(extras.split(",")) <= set(setup["options.extras_require"])


def test_docker_understands_the_compose_file() -> None:
    program = shutil.which("docker")
    if program is None or subprocess.run([program, "compose", "version"], capture_output=True).returncode:
        return  # the facts that matter are above
    done = subprocess.run(
        [program, "compose", "--file", DEPLOY / "compose.yaml", "config", "--quiet"],
        env={"TORNADO_SSE_PUBLISH_TOKEN": "secret"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
