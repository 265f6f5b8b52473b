"""The settings file of ``tornado-sse serve``: TOML, with the names of the options.

::

    broker = "sqlite:////var/lib/events.db"
    max-body = 65536

    [[grant]]
    token = "7c1c8a0f"
    publish = ["prices.*", "news"]

    [[grant]]
    anybody = true
    subscribe = ["news"]
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from tornado_sse.errors import SettingError
from tornado_sse.server import Grant

__all__ = ["read_config"]

_GRANT: Final = ("token", "anybody", "publish", "subscribe")


def read_config(path: Path, known: Collection[str]) -> tuple[dict[str, Any], tuple[Grant, ...]]:
    """Return what a file says: values by the names of options, with hyphens, and grants.

    :arg known: the names that there are.

    :raises SettingError: if it can't be read, or says what nobody would understand.
    """
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingError(str(path), f"can't be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(str(path), f"is no TOML: {error}") from error
    grants = found.pop("grant", [])
    _check_names(path, found, (*known, "grant"), "")
    if not isinstance(grants, list) or not all(isinstance(each, dict) for each in grants):
        raise SettingError(str(path), "has a grant that is no table; write [[grant]]")
    return found, tuple(_grant(path, number, each) for number, each in enumerate(grants, 1))


def _grant(path: Path, number: int, table: dict[str, Any]) -> Grant:
    where = f"{path}: grant {number}"
    _check_names(path, table, _GRANT, f" in grant {number}")
    anybody = table.get("anybody", False)
    # That a line is missing must not open a channel to everybody.
    if anybody is not ("token" not in table):
        raise SettingError(where, 'needs token = "…", or anybody = true')
    if not isinstance(table.get("token", ""), str):
        raise SettingError(where, "has a token that is no text")
    lists = {name: table.get(name, []) for name in ("publish", "subscribe")}
    for name, patterns in lists.items():
        if not isinstance(patterns, list) or not all(isinstance(each, str) for each in patterns):
            raise SettingError(where, f'must have a list of channels, as in {name} = ["prices.*"]')
    if not any(lists.values()):
        raise SettingError(where, "grants nothing; say publish or subscribe")
    try:
        return Grant(table.get("token"), tuple(lists["publish"]), tuple(lists["subscribe"]))
    except SettingError as error:
        raise SettingError(where, f"{error.name} {error.reason}") from error


def _check_names(path: Path, found: Collection[str], known: Collection[str], where: str) -> None:
    for name in found:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1, cutoff=0.75)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"
            raise SettingError(str(path), f"has the unknown name {name!r}{where}; {hint}")
