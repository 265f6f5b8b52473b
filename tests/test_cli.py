from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import tornado_sse
from tornado_sse import cli
from tornado_sse.cli import main


def test_the_docstring_names_the_modules() -> None:
    for module in pkgutil.iter_modules(cli.__path__):
        assert f"- ``{module.name}``" in (cli.__doc__ or "")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tornado-sse {tornado_sse.__version__}\n"


def test_help_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ([], ["serve"], ["publish"], ["tail"], ["probe"], ["plugins"], ["demo"]):
        assert main([*command, "--help"]) == 0
        assert "Usage: tornado-sse" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["srve"], ["--nope"]])
def test_what_is_no_command_is_said_in_a_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tornado-sse: ")
    assert line.endswith("See tornado-sse --help")


@pytest.mark.parametrize(
    ("error", "code"), [(OSError("the disk is full"), 1), (tornado_sse.SSEError("no\nsense"), 2)]
)
def test_other_errors_are_a_line_too(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(cli._commands, "main", fail)
    assert main([]) == code
    assert capsys.readouterr().err == f"tornado-sse: {' '.join(str(error).split())}\n"


def test_a_reader_that_goes_is_no_error_to_talk_of() -> None:
    program = f"exec {sys.executable} -m tornado_sse serve --help | head -n 1"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_else_needs_click() -> None:
    modules = "tornado_sse, tornado_sse.server, tornado_sse.testing"
    program = f"import sys, {modules}; print('click' in sys.modules or 'rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
