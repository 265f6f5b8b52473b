from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

import tornado_sse
from tornado_sse import __main__

ROOT = Path(__file__).parents[1]


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tornado_sse", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == f"tornado-sse {tornado_sse.__version__}\n"


def test_it_is_the_console_script() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert "tornado-sse = tornado_sse.__main__:main" in setup["options.entry_points"]["console_scripts"]


@pytest.mark.parametrize("lacking", ["click", "rich.console"])
def test_who_lacks_a_dependency_is_told_what_to_install(
    lacking: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("tornado_sse.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, lacking, None)
    assert __main__.main() == 1
    assert capsys.readouterr().err.count("pip install 'tornado-sse[cli]'") == 1


def test_another_module_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("tornado_sse.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tornado_sse.cli.publish", None)
    with pytest.raises(ModuleNotFoundError):
        __main__.main()
