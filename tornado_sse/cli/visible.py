"""Text from anywhere, made safe to print on a terminal.

A terminal obeys what it is sent: an event with an escape sequence in it could move the cursor, change the
title, or write what looks like our own words. So whatever is not to be seen is escaped: control characters,
C1 too, which some terminals obey, and those that turn the direction of the text around.
"""

from __future__ import annotations

import json

__all__ = ["visible", "visible_bytes", "visible_json"]


def visible(text: str, *, keep: str = "") -> str:
    r"""Return a text in which all that is not printable is escaped as in Python: ``\x1b``.

    :arg keep: characters that are left as they are.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else _escaped(each) for each in text)


def visible_json(text: str) -> str:
    r"""Return JSON in which all that is not printable is escaped as there, ``\u001b``."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else json.dumps(each)[1:-1] if each != "\x7f" else "\\u007f"
        for each in text
    )


def visible_bytes(data: bytes) -> str:
    """Return bytes of a stream, of which only line feeds are left to do what they do."""
    return visible(data.decode("utf-8", "backslashreplace"), keep="\n")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
