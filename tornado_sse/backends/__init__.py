"""Where the log lives: `Backend` is the contract, and `open_backend` finds the one that a URL means.

==============================  ==============================================================================
``memory://``                   `MemoryBackend`: this process's memory; the default
``sqlite:///events.db``         `SQLiteBackend`: a file, by a path that begins where the process was started
``sqlite:////var/events.db``    the same, by an absolute path; as in SQLAlchemy's URLs, the third slash ends
                                the part where other databases have a host
``…?durability=power``          each acknowledgement waits for the disk; see `SQLiteBackend`
==============================  ==============================================================================

What means something else in a URL is escaped with per cent: ``%3F`` for ``?``, ``%23`` for ``#``, ``%25`` for
``%``.
"""

from __future__ import annotations

import re
from typing import Final, cast
from urllib.parse import unquote

from tornado_sse.backends.base import Backend, Listener, Page, RetentionOf
from tornado_sse.backends.memory import MemoryBackend
from tornado_sse.backends.sqlite import SQLiteBackend, renew_epoch
from tornado_sse.backends.sqlite_file import Durability
from tornado_sse.errors import BackendNotFoundError, SettingError

__all__ = [
    "Backend",
    "Listener",
    "MemoryBackend",
    "Page",
    "RetentionOf",
    "SQLiteBackend",
    "open_backend",
    "renew_epoch",
]

_KNOWN: Final = ("memory://", "sqlite:///path/of/a/file.db")

_IS_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?",
    re.DOTALL,
).fullmatch


def open_backend(url: str | None, retention: RetentionOf) -> Backend:
    """Return the backend of a URL; it has not been started.

    :arg url: see `tornado_sse.backends`; None is ``memory://``.
    :arg retention: says how much of a channel is kept.

    :raises BackendNotFoundError: if there is no backend of that kind.
    :raises SettingError: if the URL makes no sense otherwise.
    """
    if url is None:
        return MemoryBackend(retention)
    match = _IS_URL(url) if isinstance(url, str) else None
    if match is None:
        raise SettingError("broker", f"must be a URL like {' or '.join(_KNOWN)}, not {url!r}")
    host, path, query = match["host"], match["path"], match["query"]
    scheme = match["scheme"].lower()
    if scheme == "memory":
        _parameters(url, query, {})
        if host or path.strip("/"):
            raise SettingError("broker", f"memory:// has no host and no path: {url!r}")
        return MemoryBackend(retention)
    if scheme == "sqlite":
        found = _parameters(url, query, {"durability": ("process", "power")})
        if host or not _unquoted(url, path[1:]):
            hint = f"sqlite:///{host}{path}" if host else "sqlite:///events.db"
            raise SettingError("broker", f"{url!r} names no file; write {hint}")
        durability = cast(Durability, found.get("durability", "process"))
        return SQLiteBackend(_unquoted(url, path[1:]), retention, durability=durability)
    raise BackendNotFoundError(url, _KNOWN)


def _parameters(url: str, query: str | None, known: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Return the parameters of a query, each one of those known."""
    found: dict[str, str] = {}
    for part in (query or "").split("&") if query else ():
        name, _, value = (_unquoted(url, each) for each in part.partition("="))
        if name not in known:
            there = ", ".join(known) or "none"
            raise SettingError("broker", f"{url!r} has the parameter {name!r}; there is {there}")
        if name in found:
            raise SettingError("broker", f"{url!r} has the parameter {name!r} twice")
        if value not in known[name]:
            raise SettingError("broker", f"{url!r}: {name} is {' or '.join(known[name])}, not {value!r}")
        found[name] = value
    return found


def _unquoted(url: str, text: str) -> str:
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise SettingError("broker", f"{url!r} has a % that is not followed by two hexadecimal digits")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise SettingError("broker", f"{url!r} has escapes that are not UTF-8") from None
