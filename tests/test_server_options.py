from __future__ import annotations

import pytest

from tornado_sse import BackendNotFoundError, Retention, SettingError
from tornado_sse.server.options import ServerOptions


def test_all_has_a_default() -> None:
    options = ServerOptions()
    assert options.open_backend().name == "memory"
    assert options.host == "127.0.0.1"
    assert options.grants == ()


def test_processes_share_a_log_or_are_one() -> None:
    with pytest.raises(SettingError, match="processes can't be more than 1 with the memory log"):
        ServerOptions(processes=2)
    assert ServerOptions("sqlite:///events.db", processes=2).processes == 2


def test_what_makes_no_sense_is_found_before_the_start() -> None:
    with pytest.raises(BackendNotFoundError):
        ServerOptions("redis2://x")
    with pytest.raises(SettingError, match="broker"):
        ServerOptions("sqlite://x")
    with pytest.raises(SettingError, match="sse_allowed_origins"):
        ServerOptions(streams={"allowed_origins": {"null"}})


def test_metrics_need_their_client(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ServerOptions(metrics_port=9100).metrics_port == 9100
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingError, match="metrics_port needs prometheus-client"):
        ServerOptions(metrics_port=9100)


def test_the_backend_keeps_what_is_said() -> None:
    assert ServerOptions(retention=Retention(events=1)).retention.events == 1
