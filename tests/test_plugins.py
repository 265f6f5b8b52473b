"""What the registries of serializers and backends have in common; their tests have the rest."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

from tornado_sse.plugins import PluginFailure, Plugins

THERE = object()


def accept(name: str, loaded: Any) -> object:
    return loaded if loaded is THERE else f"{name} is not there"


def plugins(*entries: tuple[str, str]) -> Plugins[object]:
    return Plugins(lambda: [EntryPoint(name, value, "g") for name, value in entries], accept, "; or else")


def test_finding_is_not_loading() -> None:
    it = plugins(("b", "no_such_module:x"), ("a", f"{__name__}:THERE"))
    assert it.names() == ["a", "b"], "sorted"
    assert it.sources("a") == ["?[a]"]
    assert it.sources("c") == []
    assert it.loaded("a") is None
    assert it.load("a") is it.loaded("a") is THERE
    assert it.load("c") is None


def test_a_failure_is_remembered() -> None:
    it = plugins(("a", "no_such_module:x"), ("b", f"{__name__}:__name__"))
    failure = it.load("a")
    assert isinstance(failure, PluginFailure)
    assert it.load("a") is failure is it.loaded("a")
    assert (failure.plugin, type(failure.cause)) == ("?[a]", ModuleNotFoundError)
    assert it.load("b") == PluginFailure("?[b]", "b is not there")


def test_a_clash() -> None:
    it = plugins(("a", f"{__name__}:THERE"), ("a", f"{__name__}:THERE"), ("b", f"{__name__}:THERE"))
    sentence = "all of these claim the name 'a'; uninstall all but one; or else"
    assert (it.clash("a"), it.clash("b"), it.clash("c")) == (sentence, "", "")
    assert it.load("a") == PluginFailure("?[a], ?[a]", sentence)
