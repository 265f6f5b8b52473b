"""A broker's URL, taken apart. What is said of one never shows the password in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from tornado_sse.errors import SettingError

__all__ = ["BackendURL", "choice", "seconds"]

_IS_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<netloc>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?",
    re.DOTALL,
).fullmatch

# A user, a token, a password. Greedy, since one that should have been escaped may have a slash or an @ in it.
_USERINFO: Final = re.compile(r"(?<=://).*(?=@)", re.DOTALL)

#: Reads a parameter's text, or raises ValueError with what it must be.
Reading = Callable[[str], Any]


class BackendURL:
    """A URL as ``scheme://user:password@host:port/path?parameter=value``.

    What means something else in it is escaped with per cent, as ``%3F`` for ``?``.

    :arg known: URLs like it, for the error.

    :raises SettingError: if it is none.
    """

    def __init__(self, text: object, known: str = "memory://") -> None:
        match = _IS_URL(text) if isinstance(text, str) else None
        if match is None:
            shown = _redacted(text) if isinstance(text, str) else text
            raise SettingError("broker", f"must be a URL like {known}, not {shown!r}")
        #: The scheme, in small letters.
        self.scheme = match["scheme"].lower()
        #: The user, host and port as they are, escapes included.
        self.netloc = match["netloc"]
        #: The path as it is.
        self.path = match["path"]
        self._query = match["query"] or ""
        self._text = match[0]

    def __str__(self) -> str:
        return _redacted(self._text)

    def __repr__(self) -> str:
        return repr(str(self))

    def parameters(self, known: Mapping[str, Reading]) -> dict[str, Any]:
        """Return the values of the query's parameters, each as read by the function of its name.

        :raises SettingError: if one is not known, stands twice, or makes no sense.
        """
        found: dict[str, Any] = {}
        for part in self._query.split("&") if self._query else ():
            name, _, text = (self.unquoted(each) for each in part.partition("="))
            if name not in known:
                there = ", ".join(known) or "none"
                raise SettingError("broker", f"{self!r} has the parameter {name!r}; there is {there}")
            if name in found:
                raise SettingError("broker", f"{self!r} has the parameter {name!r} twice")
            try:
                found[name] = known[name](text)
            except ValueError as error:
                raise SettingError("broker", f"{self!r}: {name} is {error}, not {text!r}") from None
        return found

    def unquoted(self, text: str) -> str:
        """Return a part of the URL without escapes.

        :raises SettingError: if they make no sense.
        """
        if re.search("%(?![0-9A-Fa-f]{2})", text):
            raise SettingError("broker", f"{self!r} has a % that is not followed by two hexadecimal digits")
        try:
            return unquote(text, errors="strict")
        except UnicodeDecodeError:
            raise SettingError("broker", f"{self!r} has escapes that are not UTF-8") from None


def choice(*values: str) -> Reading:
    """Return a reading of one of these words."""

    def read(text: str) -> str:
        if text not in values:
            raise ValueError(" or ".join(values))
        return text

    return read


def seconds(text: str) -> float:
    """Read a positive number of seconds."""
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text, re.ASCII) or not float(text):
        raise ValueError("a positive number of seconds")
    return float(text)


def _redacted(url: str) -> str:
    return _USERINFO.sub("***", url)
