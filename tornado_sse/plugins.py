"""What installed distributions offer, by entry points of one group.

They are *found* when a name is first asked for (all at once, one time: names and distributions, from their
metadata) and *loaded* one by one, each when its own name is first asked for. What is installed and not used
costs nothing and can break nothing.

Two distributions that claim one name both lose it: which of them won would depend on the order of
``sys.path``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, Generic, TypeVar

__all__ = ["PluginFailure", "Plugins"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PluginFailure:
    """Why a plugin can't be used. Importing a broken module again and again would change nothing."""

    #: Whose fault it is: ``distribution[entry point]``.
    plugin: str
    reason: str
    cause: Exception | None = None


class Plugins(Generic[_T]):
    """The plugins of one group.

    :arg find: what finds their entry points; called at most once.
    :arg accept: turns the object of an entry point, and its name, into what it stands for, or returns a
        sentence that says what is wrong with it.
    :arg str remedy: what to do when several claim one name, besides uninstalling.
    """

    def __init__(
        self,
        find: Callable[[], Iterable[EntryPoint]],
        accept: Callable[[str, Any], _T | str],
        remedy: str,
    ) -> None:
        self._find = find
        self._accept = accept
        self._remedy = remedy
        self._found: dict[str, list[EntryPoint]] | None = None
        self._loaded: dict[str, _T | PluginFailure] = {}

    def names(self) -> Sequence[str]:
        """Return the names that are claimed, loading nothing."""
        return [*self._entries()]

    def sources(self, name: str) -> Sequence[str]:
        """Return who claims a name, each as ``distribution[entry point]``."""
        return [_label(entry) for entry in self._entries().get(name, ())]

    def clash(self, name: str) -> str:
        """Return what is wrong if several claim a name, or nothing."""
        if len(self.sources(name)) < 2:
            return ""
        return f"all of these claim the name {name!r}; uninstall all but one{self._remedy}"

    def loaded(self, name: str) -> _T | PluginFailure | None:
        """Return what has been loaded under a name, or None; loading nothing."""
        return self._loaded.get(name)

    def load(self, name: str) -> _T | PluginFailure | None:
        """Return what a name stands for, or why it can't be had, or None if nobody claims it."""
        loaded = self._loaded.get(name)
        if loaded is None and (entries := self._entries().get(name)):
            loaded = self._loaded[name] = self._load(name, entries)
        return loaded

    def _load(self, name: str, entries: Sequence[EntryPoint]) -> _T | PluginFailure:
        plugin = ", ".join(map(_label, entries))
        if clash := self.clash(name):
            return PluginFailure(plugin, clash)
        try:
            accepted = self._accept(name, entries[0].load())
        except Exception as error:
            return PluginFailure(plugin, f"it does not load: {type(error).__name__}: {error}", error)
        return PluginFailure(plugin, accepted) if isinstance(accepted, str) else accepted

    def _entries(self) -> dict[str, list[EntryPoint]]:
        if self._found is None:
            found: dict[str, list[EntryPoint]] = {}
            for entry in sorted(self._find(), key=_label):
                found.setdefault(entry.name, []).append(entry)
            self._found = found
        return self._found


def _label(entry: EntryPoint) -> str:
    return f"{entry.dist.name if entry.dist else '?'}[{entry.name}]"
