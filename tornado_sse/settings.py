"""The settings of a stream: their names, defaults, and what they may be.

A setting is looked up on the handler first (a class attribute, a property or a method without
arguments, so that it may depend on the request), then in ``Application(**settings)``, and last here.
"""

from __future__ import annotations

import difflib
import math
import re
import weakref
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final

from tornado.web import Application, RequestHandler

from tornado_sse.errors import SettingError

__all__ = ["Settings", "lookup"]

_PREFIX: Final = "sse_"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a stream. In an application each name carries the prefix ``sse_``.

    :arg str serializer: the serializer of a write that names none.
    :arg float keepalive: the longest silence on a stream, in seconds; a comment is sent before it
        is over. Proxies cut idle connections after 29 to 60 seconds. None sends no comments.
    :arg bytes keepalive_frame: what is sent then. Some readers do not see a comment until a blank line
        follows, others take the blank line for an event; the default suits most.
    :arg float retry: the reconnection time asked of the client with the first event, in seconds.
    :arg int max_buffer: how many bytes one stream may hold for a slow reader. A writer that awaits each
        write, and has the stream to itself, can always write an event of half of it.
    :arg float stall_timeout: how long a reader may take nothing, in seconds, before it is cut off.
    :arg float max_age: the life of a stream in seconds, after which it ends as if by ``close()`` and an
        EventSource reconnects. Shortened at random by up to a tenth, so that streams opened together do
        not return together. As a method it can follow a token's expiry; what is over already gets 403.
    :arg int max_streams: how many streams the application may have open at once in this process. The
        default leaves a tenth of the process's file descriptors for everything else.
    :arg allowed_origins: which other origins may open streams: a collection of origins such as
        ``"https://app.example.com"``, or ``"*"`` for all, then without credentials. With None no CORS
        header is sent and none is looked at. Requests of any other site get 403.
    :arg bool primer: whether a stream that follows channels begins with a block of the current id and a
        reconnection time and without data, which readers remember and do not dispatch; that is what lets a
        client that is cut before its first event resume. False is for readers that take it for an event.
    :arg float reauthorize: how often a handler that overrides ``authorize()`` is asked again while a stream
        is open, in seconds; None never asks again.
    :arg int max_streams_per_address: how many streams one address may have open at once in this process, as
        ``request.remote_ip`` has it. None is no limit.
    :arg int max_streams_per_user: how many streams one user may have open at once in this process; users are
        told apart by ``current_user``, and requests without one are not counted. None is no limit.
    :arg methods: the HTTP methods that open a stream, of ``"GET"`` and ``"POST"``.

    :raises SettingError: if a value makes no sense.
    """

    serializer: str = "json"
    keepalive: float | None = 15.0
    keepalive_frame: bytes = b":\n"
    retry: float | None = None
    max_buffer: int = 1024 * 1024
    stall_timeout: float | None = 60.0
    max_age: float | None = None
    max_streams: int | None = None
    max_streams_per_address: int | None = None
    max_streams_per_user: int | None = None
    primer: bool = True
    reauthorize: float | None = 60.0
    allowed_origins: str | Collection[str] | None = None
    methods: Collection[str] = ("GET",)

    def __post_init__(self) -> None:
        _check_seconds("keepalive", self.keepalive)
        _check_seconds("stall_timeout", self.stall_timeout)
        _check_seconds("retry", self.retry, least=0)
        _check_seconds("max_age", self.max_age, least=-math.inf)
        _check_count("max_buffer", self.max_buffer)
        _check_seconds("reauthorize", self.reauthorize)
        for name in ("max_streams", "max_streams_per_address", "max_streams_per_user"):
            if getattr(self, name) is not None:
                _check_count(name, getattr(self, name), least=0)
        if not isinstance(self.primer, bool):
            raise _error("primer", "must be True or False", self.primer)
        _check_keepalive_frame(self.keepalive_frame)
        _check_origins(self.allowed_origins)
        if (
            not self.methods
            or isinstance(self.methods, str)
            or any(m not in ("GET", "POST") for m in self.methods)
        ):
            raise _error("methods", 'must be a collection of "GET" and "POST"', self.methods)
        if not isinstance(self.serializer, str):
            raise _error("serializer", "must be a serializer's name", self.serializer)

    @classmethod
    def of(cls, handler: RequestHandler, *names: str) -> Settings:
        """Return the settings that apply to a handler's request.

        With ``names``, only those are looked up, and the others have their defaults: a method that needs a
        user must not be asked before it is known that there will be a stream.

        :raises SettingError: if one makes no sense, or a name with the prefix is no setting at all.
        """
        _check_application(handler.application)
        given = _given(handler)
        if not given:
            return _shared()  # as for most
        values = {name: lookup(handler, name) for name in given if not names or name in names}
        for name in _COLLECTIONS & values.keys():
            if not isinstance(values[name], str) and isinstance(values[name], Iterable):
                values[name] = frozenset(values[name])
        return _shared(**values)


def lookup(handler: RequestHandler, name: str, default: Any = None) -> Any:
    """Return what a handler, or else its application, has for a setting; the name is without its prefix."""
    key = _PREFIX + name
    if key in _of_class(type(handler)) or key in vars(handler):
        # Not getattr() with a default: it would take an AttributeError within a property for a setting that
        # is not there, and a limit would be gone without a word.
        value = getattr(handler, key)
        return value() if callable(value) else value
    return handler.settings.get(key, default)


def _given(handler: RequestHandler) -> list[str]:
    """Return the names of the settings that somebody has set."""
    given = _VALUES.intersection(handler.settings).union(_VALUES.intersection(vars(handler)))
    given |= _VALUES & _of_class(type(handler))
    return [key.removeprefix(_PREFIX) for key in given]


def _of_class(class_: type[RequestHandler]) -> frozenset[str]:
    """Return the settings that a class has.

    It is read once: what is in it can't change often enough to be worth a look at every request.

    :raises SettingError: if it has something that looks like a misspelt one.
    """
    found = _class_settings.get(class_)
    if found is None:
        for name, close in _unknown(dir(class_)):
            if close:  # else it may well be an attribute of the application's own
                raise SettingError(name, f"is no setting; did you mean {close}?")
        found = _class_settings[class_] = frozenset(key for key in _KEYS if hasattr(class_, key))
    return found


_IS_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@A-Z]+").fullmatch
_NAMES: Final = tuple(field.name for field in fields(Settings))
# Those that are objects rather than values: a handler takes them as they are.
_OBJECTS: Final = ("broker", "observer")
_KEYS: Final = tuple(_PREFIX + name for name in _NAMES + _OBJECTS)
_VALUES: Final = frozenset(_PREFIX + name for name in _NAMES)
_COLLECTIONS: Final = {"allowed_origins", "methods"}


@lru_cache(maxsize=256, typed=True)
def _shared(**values: Any) -> Settings:
    # Streams with equal settings share one object: it is checked once, and costs a stream nothing.
    return Settings(**values)


def _error(name: str, reason: str, value: object) -> SettingError:
    return SettingError(_PREFIX + name, f"{reason}, not {value!r}")


def _check_seconds(name: str, value: Any, *, least: float = 0.001) -> None:
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not abs(value) < 1e12 or value < least:
        raise _error(name, "must be a positive number of seconds, or None", value)


def _check_count(name: str, value: Any, *, least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _error(name, f"must be a whole number, {least} or more", value)


def _check_keepalive_frame(value: Any) -> None:
    # Nothing but comments: an `id:` line dispatches no event either, but moves the client's position.
    if (
        isinstance(value, bytes)
        and value.startswith(b":")
        and len(value) <= 1024
        and value.endswith((b"\n", b"\r"))
        and all(line.startswith(b":") for line in value.splitlines() if line)
    ):
        return
    raise _error("keepalive_frame", r"must be comment lines such as b':\n' or b': ping\n\n'", value)


def _check_origins(value: Any) -> None:
    if value is None or value == "*":
        return
    if isinstance(value, str) or not isinstance(value, Collection):
        raise _error("allowed_origins", 'must be a collection of origins, or "*"', value)
    for origin in value:
        # "null" is the origin of every sandboxed page and data: URL, so to allow it is to allow anybody.
        if not isinstance(origin, str) or not _IS_ORIGIN(origin):
            raise _error(
                "allowed_origins",
                'must hold origins such as "https://app.example.com" (lower case, no path)',
                origin,
            )


def _check_application(application: Application) -> None:
    # A misspelt setting would be ignored in silence. Looked for once, as in a class.
    if application not in _checked_applications:
        for name, close in _unknown(application.settings):
            hint = f"did you mean {close}?" if close else f"there are {', '.join(_KEYS)}"
            raise SettingError(name, f"is no setting; {hint}")
        _checked_applications.add(application)


def _unknown(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the names that are no settings though they have the prefix, with the nearest one that is."""
    for name in names:
        if name.startswith(_PREFIX) and name not in _KEYS:
            yield name, "".join(difflib.get_close_matches(name, _KEYS, 1, cutoff=0.75))


_class_settings: weakref.WeakKeyDictionary[type[RequestHandler], frozenset[str]] = weakref.WeakKeyDictionary()
_checked_applications: weakref.WeakSet[Application] = weakref.WeakSet()
