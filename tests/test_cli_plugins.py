from __future__ import annotations

import json
import sys

import pytest

from tornado_sse.backends import BackendInfo
from tornado_sse.cli import main


def test_what_there_is_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["json", "json", "built-in", "usable"] in lines
    assert ["text", "–", "built-in", "usable"] in lines
    assert ["memory://", "built-in", "usable"] in lines


def test_what_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    broken = BackendInfo("tape", "some-tape[tape]", "it does not load: OSError: \x1b[31m")
    monkeypatch.setattr(sys.modules["tornado_sse.cli.plugins"], "list_backends", lambda load: [broken])
    assert main(["plugins"]) == 0
    assert r"tape://   some-tape[tape]   it does not load: OSError: \x1b[31m" in capsys.readouterr().out


def test_programs_are_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"name": "json", "codec": "json", "source": "built-in", "problem": ""} in found["serializers"]
    assert {"scheme": "sqlite", "source": "built-in", "problem": ""} in found["backends"]
