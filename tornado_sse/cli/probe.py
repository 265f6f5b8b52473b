"""``tornado-sse probe``: what is wrong with a server of event streams, and how to mend it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import click
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from tornado_sse.cli.asked import headers_of, request_options
from tornado_sse.cli.visible import visible
from tornado_sse.errors import ConnectionFailedError, RedirectError
from tornado_sse.probe import Finding, Report, Severity
from tornado_sse.probe import probe as look_at

__all__ = ["probe"]

_STYLES: Final = {
    Severity.ERROR: ("✗", "bold red"),
    Severity.WARNING: ("!", "bold yellow"),
    Severity.ADVICE: ("·", "bold cyan"),
}


class _NoConnection(click.ClickException):
    exit_code = 3


@click.command()
@click.argument("url")
@click.option(
    "--patience",
    type=click.FloatRange(1, 600),
    default=35,
    show_default=True,
    help="Seconds to listen for, at the most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print an object with url, facts and findings.")
@request_options
@click.pass_context
def probe(context: click.Context, /, url: str, **given: Any) -> None:
    """Look at a server of event streams, whoever has written it, and say what is wrong.

    \b
    tornado-sse probe https://example.com/events

    It looks at the head, the lines, when bytes come and what a proxy would make of that, keep-alive,
    compression, ids and resuming, HEAD, HTTP/1.0, and what other sites may read. It asks with GET and HEAD
    alone, on up to three connections at a time. It listens for as long as it takes to know the stream, or
    --patience; a busy stream takes ten seconds, one that is kept alive as long as that takes. With resuming
    it takes up to 15 seconds more.

    An error is what makes clients lose events, or get none; a warning what goes wrong in some clients, behind
    some proxies, or on a bad day; advice is for what is right.

    The exit code is:

    \b
    0 if nothing is wrong (there may be advice)
    1 if something is
    2 if the command line makes no sense
    3 if there is no connection
    130 after Ctrl-C
    """
    headers = headers_of(given["headers"], given["token"])
    with Console(stderr=True).status("listening …", spinner="dots"):
        try:
            report = asyncio.run(look_at(url, headers=headers, patience=given["patience"]))
        except ConnectionFailedError as error:
            raise _NoConnection(visible(str(error))) from error
        except RedirectError as error:
            raise click.ClickException(visible(str(error))) from error
    if given["as_json"]:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        _show(report, Console(markup=False, highlight=False, emoji=False))
    context.exit(int(report.faulty))


def _show(report: Report, console: Console) -> None:
    console.print(Text(visible(report.url), "bold"))
    width = max(map(len, report.facts))
    for name, fact in report.facts.items():
        console.print(Text(name.ljust(width + 2), "dim") + Text(visible(fact), "not dim"), soft_wrap=True)
    for finding in sorted(report.findings, key=lambda finding: [*Severity].index(finding.severity)):
        _show_finding(finding, console)
    console.print()
    console.print(_summary(report))


def _show_finding(finding: Finding, console: Console) -> None:
    mark, style = _STYLES[finding.severity]
    title = Text(f"{mark} {finding.severity.value}", style).append(f"  {finding.code}", "dim")
    console.print()
    console.print(title)
    console.print(Padding(Text(visible(finding.problem)), (0, 0, 0, 2), expand=False))
    console.print(Padding(Text(visible(finding.remedy), "green"), (0, 0, 0, 2), expand=False))


def _summary(report: Report) -> Text:
    counts = []
    for severity in Severity:
        number = sum(finding.severity is severity for finding in report.findings)
        plural = "s" if number != 1 and severity is not Severity.ADVICE else ""
        if number:
            counts.append(f"{number} {severity.value}{plural}")
    if report.faulty:
        return Text(", ".join(counts), "bold")
    return Text("; ".join(["nothing is wrong", *counts]), "bold green")
