"""Serializers by name, by codec, and from installed distributions.

Two sources, in the order in which they are asked:

1. What was registered in code, the four built-in serializers among it. They use the same `register`
   as everybody, so a fresh clone without metadata has them too.
2. Entry points of the group ``tornado_sse.serializers``; see `tornado_sse.plugins`.

A name belongs to the first source that has it, and two distributions that claim one name both lose it.
`list_serializers` tells of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from tornado_sse.errors import DecodeError, SerializerNotFoundError, SerializerPluginError
from tornado_sse.plugins import PluginFailure, Plugins
from tornado_sse.serializers.base import Serializer, is_name, reason_of
from tornado_sse.serializers.binary import BinarySerializer
from tornado_sse.serializers.json import JSONSerializer
from tornado_sse.serializers.msgpack import MsgpackSerializer
from tornado_sse.serializers.text import TextSerializer

__all__ = [
    "GROUP",
    "Registry",
    "SerializerInfo",
    "decode",
    "get_by_codec",
    "get_serializer",
    "list_serializers",
    "register",
]

GROUP = "tornado_sse.serializers"

_BUILT_IN: tuple[Serializer, ...] = (
    JSONSerializer(),
    TextSerializer(),
    BinarySerializer(),
    MsgpackSerializer(),
)

# What we know of without its being installed: the serializers' names, and the distributions.
_KNOWN_PLUGINS = {
    "cbor": "tornado-sse-cbor",
    "html": "tornado-sse-htmx",
    "protobuf": "tornado-sse-protobuf",
}


@dataclass(frozen=True, slots=True)
class SerializerInfo:
    """One serializer that there is, loaded or not.

    :arg str name: its name.
    :arg str codec: its codec; None also for a plugin that is not loaded yet.
    :arg str source: ``"built-in"``, ``"registered"``, or for a plugin ``distribution[entry point]``.
    :arg str problem: why it can't be used under its name; empty if it can, or was not tried.
    """

    name: str
    codec: str | None
    source: str
    problem: str = ""


class Registry:
    """The serializers of a process. The functions of this module are the methods of the one in use.

    :arg find: what finds plugins, called at most once; tests give their own.
    """

    def __init__(self, find: Callable[[], Iterable[EntryPoint]] = lambda: entry_points(group=GROUP)) -> None:
        remedy = ", or register() the right one"
        self._plugins: Plugins[Serializer] = Plugins(find, _accept, remedy)
        self._registered: dict[str, Serializer] = {}
        self._codecs: dict[str, Serializer] = {}
        for serializer in _BUILT_IN:
            self.register(serializer)

    def register(self, serializer: Serializer, *, replace: bool = False) -> None:
        """Make a serializer available under its name, and to readers under its codec.

        It goes before an installed plugin of the same name. Several may share a codec; readers then
        use the one whose name is the codec.

        :arg bool replace: take the name from the one that is registered, a built-in included.

        :raises SerializerPluginError: if it lacks a member of `Serializer`, has an impossible name or
            codec, or a name that is taken.
        """
        problem = _problem(serializer)
        if problem:
            raise SerializerPluginError(_type_name(serializer), problem)
        if serializer.name in self._registered and not replace:
            problem = (
                f"the name {serializer.name!r} is taken by the {self._source(serializer.name)} one; "
                "pass replace=True if that is meant"
            )
            raise SerializerPluginError(_type_name(serializer), problem)
        self._registered[serializer.name] = serializer
        self._codecs = {}
        for name, each in sorted(self._registered.items()):
            if each.codec is not None and (each.codec == name or each.codec not in self._codecs):
                self._codecs[each.codec] = each

    def get_serializer(self, name: str) -> Serializer:
        """Return the serializer of a name, loading the plugin that has it if need be.

        :raises SerializerNotFoundError: if nobody has the name; the message lists who is there, and
            says what to install.
        :raises SerializerPluginError: if the plugin does not load, is not a serializer, calls itself
            otherwise, or if two distributions claim the name. Each time it is asked for.
        """
        serializer = self._registered.get(name)
        if serializer is not None:
            return serializer
        loaded = self._plugins.load(name)
        if loaded is None:
            raise self._not_found(name)
        if isinstance(loaded, PluginFailure):
            raise SerializerPluginError(loaded.plugin, loaded.reason) from loaded.cause
        return loaded

    def get_by_codec(self, codec: str) -> Serializer:
        """Return a serializer that reads data with this mark.

        The codec comes from the wire, so it decides no more than this: a registered serializer, or else
        the installed plugin of exactly that name, if that is its codec.

        :raises SerializerNotFoundError: if there is none.
        :raises SerializerPluginError: if the plugin of that name is broken.
        """
        serializer = self._codecs.get(codec)
        if serializer is None:
            serializer = self.get_serializer(codec)
            if serializer.codec != codec:
                raise self._not_found(codec)
        return serializer

    def decode(self, codec: str | None, data: str) -> Any:
        """Return the payload of an event's ``codec`` and ``data``. Without a codec it is the text.

        :raises DecodeError: if the serializer can't read the data; its exception is ``__cause__``.
        :raises SerializerNotFoundError: if nobody has the codec.
        :raises SerializerPluginError: if the plugin that has it is broken.
        """
        if codec is None:
            return data
        serializer = self.get_by_codec(codec)
        try:
            return serializer.loads(data.encode())
        except (DecodeError, MemoryError):
            raise
        except Exception as error:
            raise DecodeError(serializer.name, reason_of(error)) from error

    def list_serializers(self, *, load: bool = False) -> list[SerializerInfo]:
        """Return all there are, sorted by name; plugins too.

        A plugin that can't be had under its name is listed with its ``problem``: the name is taken by
        a registered serializer, or by another distribution, or it was tried and failed.

        :arg bool load: try each of them first; otherwise none is loaded.
        """
        result = [
            SerializerInfo(name, each.codec, self._source(name)) for name, each in self._registered.items()
        ]
        for name in self._plugins.names():
            tries = load and name not in self._registered
            loaded = self._plugins.load(name) if tries else self._plugins.loaded(name)
            problem = self._plugins.clash(name)
            if name in self._registered:
                problem = f"hidden: the name is taken by the {self._source(name)} one"
            elif isinstance(loaded, PluginFailure):
                problem = loaded.reason
            codec = None if problem or loaded is None else cast(Serializer, loaded).codec
            result.extend(
                SerializerInfo(name, codec, source, problem) for source in self._plugins.sources(name)
            )
        return sorted(result, key=lambda info: (info.name, info.problem, info.source))

    def _source(self, name: str) -> str:
        built_in = any(self._registered[name] is each for each in _BUILT_IN)
        return "built-in" if built_in else "registered"

    def _not_found(self, name: str) -> SerializerNotFoundError:
        known = sorted({*self._registered, *self._plugins.names()})
        if name in _KNOWN_PLUGINS and name not in known:
            hint = f"`pip install {_KNOWN_PLUGINS[name]}` adds it"
        else:
            hint = f"A distribution adds one with an entry point `name = module:Class` in the group {GROUP}"
        return SerializerNotFoundError(name, known, hint=hint)


def _accept(name: str, loaded: Any) -> Serializer | str:
    """Return the serializer of an entry point, or what is wrong with it."""
    serializer: Serializer = loaded() if isinstance(loaded, type) else loaded
    problem = _problem(serializer)
    if not problem and serializer.name != name:
        problem = f"it calls itself {serializer.name!r}, and its entry point {name!r}"
    return problem or serializer


def _problem(serializer: Any) -> str:
    """Return what keeps an object from being a serializer, or nothing."""
    missing = [member for member in ("name", "codec") if not hasattr(serializer, member)]
    missing += [member for member in ("dumps", "loads") if not callable(getattr(serializer, member, None))]
    if missing:
        return f"it is no Serializer: it lacks {', '.join(missing)}"
    if not is_name(serializer.name):
        return f"its name, {serializer.name!r}, must be up to 64 letters, digits, . _ + and -"
    if serializer.codec is not None and not is_name(serializer.codec):
        return f"its codec, {serializer.codec!r}, must be None or spelled like a name"
    return ""


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


_registry = Registry()
register = _registry.register
get_serializer = _registry.get_serializer
get_by_codec = _registry.get_by_codec
decode = _registry.decode
list_serializers = _registry.list_serializers
