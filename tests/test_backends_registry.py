"""Backends that installed distributions offer: found, loaded when used, and blamed."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from tornado_sse.backends import MemoryBackend, RetentionOf
from tornado_sse.backends.registry import GROUP, BackendInfo, BackendRegistry, list_backends
from tornado_sse.errors import BackendNotFoundError, BackendPluginError
from tornado_sse.log import Retention

opened: list[str] = []


def opens(url: str, retention: RetentionOf) -> MemoryBackend:
    opened.append(url)
    return MemoryBackend(retention)


def lazy(url: str, retention: RetentionOf) -> object:
    return object()


def registry(**entries: str) -> BackendRegistry:
    return BackendRegistry(lambda: [EntryPoint(name, value, GROUP) for name, value in entries.items()])


def retention(channel: str) -> Retention:
    return Retention()


def test_a_plugin_is_given_the_url_as_it_is() -> None:
    there = registry(tape=f"{__name__}:opens", broken="no_such_module:x")
    backend = there.open_backend("TAPE://reel@drive?speed=2", retention)
    assert isinstance(backend, MemoryBackend)
    assert opened == ["TAPE://reel@drive?speed=2"]


def test_a_built_in_one_can_not_be_taken() -> None:
    there = registry(memory="no_such_module:x")
    assert isinstance(there.open_backend(None, retention), MemoryBackend)


def test_who_is_there_is_told_without_a_password() -> None:
    with pytest.raises(BackendNotFoundError) as caught:
        registry(tape="no_such_module:x").open_backend("gopher://me:secret@hole", retention)
    assert str(caught.value).startswith("no backend serves 'gopher://***@hole'; there are memory://, ")
    assert str(caught.value).endswith(", tape://")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no_such_module:x", "it does not load: ModuleNotFoundError: No module named 'no_such_module'"),
        (f"{__name__}:opened", "a list is no function of a URL and a retention"),
        (f"{__name__}:lazy", "it returns a object, which is no Backend"),
    ],
)
def test_a_plugin_that_is_none_is_blamed(value: str, reason: str) -> None:
    there = registry(tape=value)
    for _ in range(2):
        with pytest.raises(BackendPluginError) as caught:
            there.open_backend("tape://", retention)
        assert str(caught.value) == f"backend plugin ?[tape]: {reason}"


def test_two_that_claim_a_scheme_both_lose_it() -> None:
    entries = [EntryPoint("tape", f"{__name__}:opens", GROUP)] * 2
    with pytest.raises(BackendPluginError, match="all of these claim the name 'tape'; uninstall all but one"):
        BackendRegistry(lambda: entries).open_backend("tape://", retention)


def test_plugins_are_looked_for_when_they_are_needed() -> None:
    looked: list[Any] = []

    def find() -> list[EntryPoint]:
        looked.append(1)
        return []

    there = BackendRegistry(find)
    there.open_backend("memory://", retention)
    assert not looked
    for _ in range(2):
        with pytest.raises(BackendNotFoundError):
            there.open_backend("tape://", retention)
    assert len(looked) == 1


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("redis://host", "redis"),
        ("rediss://host", "redis"),
        ("redis+unix:///run/redis.sock", "redis"),
        ("nats://host", "nats"),
        ("tls://host", "nats"),
    ],
)
def test_an_extra_that_is_not_installed_is_named(
    url: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"tornado_sse.backends.{extra}", None)
    with pytest.raises(BackendPluginError) as caught:
        registry().open_backend(url, retention)
    hint = f"pip install 'tornado-sse[{extra}]'"
    sentence = f"backend plugin tornado-sse[{extra}]: it is not installed: {hint}"
    assert str(caught.value) == sentence


def test_what_is_there_is_listed_without_being_loaded() -> None:
    there = registry(tape=f"{__name__}:opens", broken="no_such_module:x", memory="no_such_module:x")
    built_in = [BackendInfo(scheme, "built-in") for scheme in ("memory", "sqlite")]
    listed = there.list_backends()
    assert [info for info in listed if info.scheme in ("broken", "tape")] == [
        BackendInfo("broken", "?[broken]"),
        BackendInfo("tape", "?[tape]"),
    ]
    assert BackendInfo("memory", "?[memory]", "hidden: the scheme is built in") in listed
    assert all(info in listed for info in built_in)
    assert [info.scheme for info in listed] == sorted(info.scheme for info in listed)


def test_what_can_not_be_used_is_listed_with_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tornado_sse.backends.redis", None)
    there = registry(tape=f"{__name__}:opens", broken="no_such_module:x")
    problems = {info.scheme: info.problem for info in there.list_backends(load=True)}
    assert problems["broken"].startswith("it does not load: ModuleNotFoundError")
    assert problems["redis"] == "it is not installed: pip install 'tornado-sse[redis]'"
    assert problems["tape"] == problems["memory"] == ""
    assert {info.problem for info in there.list_backends()} == {"", problems["broken"]}, "it has been tried"


def test_all_that_claim_a_scheme_are_listed() -> None:
    entries = [EntryPoint("tape", f"{__name__}:opens", GROUP)] * 2
    listed = [info for info in BackendRegistry(lambda: entries).list_backends() if info.scheme == "tape"]
    assert len(listed) == 2
    assert all("uninstall all but one" in info.problem for info in listed)


def test_the_module_functions_share_one_registry() -> None:
    assert "sqlite" in [info.scheme for info in list_backends()]
