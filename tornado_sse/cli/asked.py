"""What ``tail`` and ``probe`` are told of a request, by options in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from tornado_sse.server.access import is_token

__all__ = ["headers_of", "request_options"]

_F = TypeVar("_F", bound=Callable[..., Any])


def request_options(command: _F) -> _F:
    """Add ``--header`` and ``--token`` to a command."""
    header = click.option(
        "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent along. May be repeated."
    )
    token = click.option(
        "--token", envvar="TORNADO_SSE_TOKEN", show_envvar=True, help="Sent as Authorization: Bearer."
    )
    return header(token(command))


def headers_of(given: Sequence[str], token: str | None) -> dict[str, str]:
    """Return the headers of a request.

    :raises click.UsageError: if one is none.
    """
    headers = {}
    for each in given:
        name, colon, value = each.partition(":")
        if not colon or not name.strip():
            raise click.UsageError("--header is like 'Name: value'")
        headers[name.strip()] = value.strip()
    if token is not None:
        if not is_token(token):
            raise click.UsageError("a token has letters and digits of ASCII and - . _ ~ + / =")
        headers["Authorization"] = f"Bearer {token}"
    return headers
