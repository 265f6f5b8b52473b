"""Backends by the scheme of a URL: those built in, and those that installed distributions offer.

A distribution adds one by an entry point of the group ``tornado_sse.backends``. Its name is the scheme, its
object a function that takes the URL and a `RetentionOf` and returns a `Backend` that has not been started.
The schemes that are built in can't be taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from tornado_sse.backends.base import Backend, RetentionOf
from tornado_sse.backends.memory import from_url as open_memory
from tornado_sse.backends.sqlite import from_url as open_sqlite
from tornado_sse.backends.url import BackendURL
from tornado_sse.errors import BackendNotFoundError, BackendPluginError
from tornado_sse.plugins import PluginFailure, Plugins

__all__ = ["GROUP", "BackendRegistry", "open_backend"]

GROUP: Final = "tornado_sse.backends"

# Of a plugin, what is returned may be anything.
_Open = Callable[[str, RetentionOf], Any]


def _of_extra(name: str) -> _Open:
    """Return what opens a backend whose module needs an extra, which is imported when it is asked for."""

    def opens(url: str, retention: RetentionOf) -> Any:
        try:
            module = import_module(f"tornado_sse.backends.{name}")
        except ModuleNotFoundError as error:
            reason = f"it is not installed: pip install 'tornado-sse[{name}]'"
            raise BackendPluginError(f"tornado-sse[{name}]", reason) from error
        return module.from_url(url, retention)

    return opens


_BUILT_IN: Final[dict[str, _Open]] = {
    "memory": open_memory,
    "sqlite": open_sqlite,
    "redis": _of_extra("redis"),
    "rediss": _of_extra("redis"),
    "redis+unix": _of_extra("redis"),
    "nats": _of_extra("nats"),
    "tls": _of_extra("nats"),
}

# What the URLs of those built in look like.
_KNOWN: Final = ("memory://", "sqlite:///path/of/a/file.db", "redis://host", "nats://host")


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


def _accept(name: str, loaded: Any) -> _Open | str:
    return (
        loaded if callable(loaded) else f"a {type(loaded).__name__} is no function of a URL and a retention"
    )


_registry = BackendRegistry()
open_backend = _registry.open_backend
