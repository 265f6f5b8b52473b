"""``tornado-sse publish``: one event from the command line, or the lines of files and pipes."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import click

from tornado_sse.backends import MemoryBackend, open_backend
from tornado_sse.broker import Broker
from tornado_sse.cli.events import EventReader
from tornado_sse.cli.sender import (
    LONGEST_PATIENCE,
    BrokerSender,
    HTTPSender,
    RefusedError,
    Sender,
    UnreachableError,
)
from tornado_sse.cli.source import SourceError
from tornado_sse.log import Retention
from tornado_sse.record import check_channel
from tornado_sse.server.access import is_token
from tornado_sse.server.submission import Submission, SubmissionError

__all__ = ["publish"]

# How much is kept is for those to say who serve the log.
_ALL: Final = Retention(None, None, None, None)


class _NoAnswer(click.ClickException):
    exit_code = 3


@click.command()
@click.argument("target")
@click.argument("data", required=False)
@click.option("--broker", envvar="TORNADO_SSE_BROKER", help="Append to this log; TARGET is a channel then.")
@click.option("--event", help="The type of the events.")
@click.option("--key", help="What the events are the latest state of.")
@click.option("--id", help="By which a repetition of DATA is known; made up if it is not given.")
@click.option("--json", "as_json", is_flag=True, help="DATA, or each line, is a JSON value rather than text.")
@click.option("--ndjson", is_flag=True, help='Each line is an object such as {"data": 1, "event": "tick"}.')
@click.option("--serializer", help="How payloads are written; text, or json with --json and --ndjson.")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Instead of stdin. May be repeated.",
)
@click.option("--token", envvar="TORNADO_SSE_TOKEN", show_envvar=True, help="What the server asks for.")
@click.option(
    "--patience",
    type=click.FloatRange(0, LONGEST_PATIENCE),
    default=30,
    show_default=True,
    help="Seconds to try for if the server does not answer.",
)
@click.option("--quiet", is_flag=True, help="Do not print the ids of the events.")
@click.pass_context
def publish(context: click.Context, /, target: str, data: str | None, **given: Any) -> None:
    """Publish DATA, or else the lines of stdin as they come, each as an event.

    \b
    tornado-sse publish http://127.0.0.1:8000/channels/news hello
    tail -f access.log | tornado-sse publish http://127.0.0.1:8000/channels/log
    tornado-sse publish http://127.0.0.1:8000/publish --ndjson < events

    TARGET is the URL of a channel, or of /publish for lines of JSON that name their channels. The id of each
    event is printed when it has been acknowledged. An event that may not have arrived is sent again, and
    published once.

    The exit code is 0 if all events were published, 1 if one was refused, 2 if the command line makes no
    sense, 3 if there was no answer. Anybody on this machine can read the command line of a process: give the
    token by the environment.
    """
    if data is not None and (given["files"] or given["ndjson"]):
        raise click.UsageError("DATA is one event; --file and --ndjson are for lines")
    if data is None and given["id"]:
        raise click.UsageError("--id is for one event; lines of --ndjson have their own")
    if given["as_json"] and given["ndjson"]:
        raise click.UsageError("--json and --ndjson say different things of a line")
    if given["token"] and not is_token(given["token"]):
        raise click.UsageError("a token has letters and digits of ASCII and - . _ ~ + / =")
    channel, make_sender = _target(target, given)
    if not channel and not given["ndjson"]:
        raise click.UsageError("/publish takes --ndjson, lines that name their channels")
    kind = "ndjson" if given["ndjson"] else "json" if given["as_json"] else "text"
    serializer = given["serializer"] or ("text" if kind == "text" else "json")
    reader = EventReader(Submission(channel, None, given["event"], given["key"], serializer), kind)
    with ExitStack() as stack:
        try:
            if data is not None:
                batches = _once(reader.one(os.fsencode(data), given["id"]))
            elif given["files"]:
                batches = reader.batches([_open(path, stack) for path in given["files"]])
            else:
                batches = reader.batches([FileIO(0, closefd=False)])
            asyncio.run(_publish(make_sender, batches, quiet=given["quiet"]))
        except (RefusedError, SubmissionError, SourceError) as error:
            raise click.ClickException(str(error)) from error
        except UnreachableError as error:
            raise _NoAnswer(str(error)) from error


async def _publish(
    make_sender: Callable[[], Sender], batches: AsyncIterator[list[Submission]], *, quiet: bool
) -> None:
    sender = make_sender()
    try:
        async for batch in batches:
            ids = await sender.send(batch)
            if not quiet:
                print("\n".join(ids), flush=True)
    finally:
        await sender.close()


async def _once(batch: list[Submission]) -> AsyncIterator[list[Submission]]:
    yield batch


def _target(target: str, given: dict[str, Any]) -> tuple[str, Callable[[], Sender]]:
    """Return the channel, or "" if the lines have to name it, and what makes a sender in an event loop."""
    if re.match("https?://", target):
        path = urlsplit(target).path
        found = re.search("/channels/([^/]+)$", path)
        if found is None and not path.endswith("/publish"):
            raise click.UsageError("the URL must end with /channels/<name> or /publish")
        channel = check_channel(unquote(found[1])) if found else ""
        return channel, lambda: HTTPSender(target, given["token"], given["patience"])
    if given["broker"] is None:
        raise click.UsageError(
            "TARGET must be a URL like http://127.0.0.1:8000/channels/news, or there be a --broker"
        )
    if isinstance(open_backend(given["broker"], lambda channel: _ALL), MemoryBackend):
        raise click.UsageError("memory:// is the memory of this process, where nobody would see the events")
    return check_channel(target), lambda: BrokerSender(
        Broker(given["broker"], retention=_ALL), given["patience"]
    )


def _open(path: Path, stack: ExitStack) -> FileIO:
    try:
        return stack.enter_context(FileIO(path))
    except OSError as error:
        raise click.ClickException(f"{path} can't be read: {error.strerror}") from error
