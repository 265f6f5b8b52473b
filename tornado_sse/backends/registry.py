"""Backends by the scheme of a URL: those built in, and those that installed distributions offer.

A distribution adds one by an entry point of the group ``tornado_sse.backends``. Its name is the scheme, its
object a function that takes the URL and a `RetentionOf` and returns a `Backend` that has not been started.
The schemes that are built in can't be taken. `list_backends` tells of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from tornado_sse.backends.base import Backend, RetentionOf
from tornado_sse.backends.memory import from_url as open_memory
from tornado_sse.backends.sqlite import from_url as open_sqlite
from tornado_sse.backends.url import BackendURL
from tornado_sse.errors import BackendNotFoundError, BackendPluginError
from tornado_sse.plugins import PluginFailure, Plugins

__all__ = ["GROUP", "BackendInfo", "BackendRegistry", "list_backends", "open_backend"]

GROUP: Final = "tornado_sse.backends"

# Of a plugin, what is returned may be anything.
_Open = Callable[[str, RetentionOf], Any]


class _OfExtra:
    """Opens a backend whose module needs an extra; it is imported when it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, url: str, retention: RetentionOf) -> Any:
        return self.load().from_url(url, retention)

    def load(self) -> Any:
        try:
            return import_module(f"tornado_sse.backends.{self._name}")
        except ModuleNotFoundError as error:
            reason = f"it is not installed: pip install 'tornado-sse[{self._name}]'"
            raise BackendPluginError(f"tornado-sse[{self._name}]", reason) from error


_BUILT_IN: Final[dict[str, _Open]] = {
    "memory": open_memory,
    "sqlite": open_sqlite,
    "redis": _OfExtra("redis"),
    "rediss": _OfExtra("redis"),
    "redis+unix": _OfExtra("redis"),
    "nats": _OfExtra("nats"),
    "tls": _OfExtra("nats"),
}

# What the URLs of those built in look like.
_KNOWN: Final = ("memory://", "sqlite:///path/of/a/file.db", "redis://host", "nats://host")


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """One backend that there is, loaded or not.

    :arg str scheme: how its URLs begin.
    :arg str source: ``"built-in"``, or for a plugin ``distribution[entry point]``.
    :arg str problem: why it can't be used; empty if it can, or was not tried.
    """

    scheme: str
    source: str
    problem: str = ""


class BackendRegistry:
    """The backends of a process.

    :arg find: what finds plugins, called at most once; tests give their own.
    """

    def __init__(self, find: Callable[[], Iterable[EntryPoint]] = lambda: entry_points(group=GROUP)) -> None:
        self._plugins: Plugins[_Open] = Plugins(find, _accept, "")

    def open_backend(self, url: str | None, retention: RetentionOf) -> Backend:
        """Return the backend of a URL; it has not been started.

        :arg url: see `tornado_sse.backends`; None is ``memory://``.
        :arg retention: says how much of a channel is kept.

        :raises BackendNotFoundError: if there is no backend of that kind.
        :raises BackendPluginError: if the plugin that has the scheme does not load, or two claim it.
        :raises SettingError: if the URL makes no sense otherwise.
        """
        parsed = BackendURL("memory://" if url is None else url, " or ".join(_KNOWN))
        opens = _BUILT_IN.get(parsed.scheme) or self._plugins.load(parsed.scheme)
        if opens is None:
            plugins = [f"{name}://" for name in self._plugins.names() if name not in _BUILT_IN]
            raise BackendNotFoundError(str(parsed), (*_KNOWN, *plugins))
        if isinstance(opens, PluginFailure):
            raise BackendPluginError(opens.plugin, opens.reason) from opens.cause
        backend = opens("memory://" if url is None else url, retention)
        if not isinstance(backend, Backend):
            plugin = ", ".join(self._plugins.sources(parsed.scheme))
            raise BackendPluginError(plugin, f"it returns a {type(backend).__name__}, which is no Backend")
        return backend

    def list_backends(self, *, load: bool = False) -> list[BackendInfo]:
        """Return all there are, sorted by scheme.

        A plugin that can't be had is listed with its ``problem``: its scheme is built in, or claimed by
        another distribution, or it was tried and failed. So is one that is built in, and lacks what it needs.

        :arg bool load: try each of them first; otherwise none is loaded.
        """
        result = [
            BackendInfo(scheme, "built-in", _problem(opens, load)) for scheme, opens in _BUILT_IN.items()
        ]
        for scheme in self._plugins.names():
            problem = self._plugins.clash(scheme)
            if scheme in _BUILT_IN:
                problem = "hidden: the scheme is built in"
            else:
                loaded = self._plugins.load(scheme) if load else self._plugins.loaded(scheme)
                if isinstance(loaded, PluginFailure):
                    problem = loaded.reason
            result.extend(BackendInfo(scheme, source, problem) for source in self._plugins.sources(scheme))
        return sorted(result, key=lambda info: (info.scheme, info.problem, info.source))


def _problem(opens: _Open, load: bool) -> str:
    """Return what a built-in backend lacks, or nothing."""
    if load and isinstance(opens, _OfExtra):
        try:
            opens.load()
        except BackendPluginError as error:
            return error.reason
    return ""


def _accept(name: str, loaded: Any) -> _Open | str:
    return (
        loaded if callable(loaded) else f"a {type(loaded).__name__} is no function of a URL and a retention"
    )


_registry = BackendRegistry()
open_backend = _registry.open_backend
list_backends = _registry.list_backends
