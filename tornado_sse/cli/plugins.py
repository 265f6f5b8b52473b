"""``tornado-sse plugins``: what there is to write payloads with, and to keep a log in."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tornado_sse.backends import BackendInfo, list_backends
from tornado_sse.cli.visible import visible
from tornado_sse.serializers import SerializerInfo, list_serializers

__all__ = ["plugins"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print an object with serializers and backends.")
def plugins(as_json: bool) -> None:
    """List serializers and backends: where they are from, and what is wrong with those that can't be used.

    All of them are loaded for that.
    """
    serializers = list_serializers(load=True)
    backends = list_backends(load=True)
    if as_json:
        found = {"serializers": [*map(asdict, serializers)], "backends": [*map(asdict, backends)]}
        print(json.dumps(found, indent=2))
        return
    console = Console(markup=False, highlight=False, emoji=False)
    console.print(_table("serializer", [(info.name, info.codec or "–", info) for info in serializers]))
    console.print()
    console.print(_table("backend", [(f"{info.scheme}://", "", info) for info in backends]))


def _table(
    kind: str, rows: list[tuple[str, str, SerializerInfo]] | list[tuple[str, str, BackendInfo]]
) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    has_codec = kind == "serializer"
    for heading in (kind, *(["codec"] if has_codec else []), "from", ""):
        table.add_column(heading, overflow="fold")
    for name, codec, info in rows:
        problem = Text(visible(info.problem), "red") if info.problem else Text("usable", "green")
        cells = [Text(name, "" if not info.problem else "dim"), *([Text(codec)] if has_codec else [])]
        table.add_row(*cells, Text(visible(info.source)), problem)
    return table
