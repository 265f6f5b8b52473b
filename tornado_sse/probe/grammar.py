"""Checks of what is in a stream, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tornado_sse.probe.finding import Finding, advice, error, warning
from tornado_sse.probe.transcript import Block, Transcript

__all__ = ["check_grammar", "quoted"]

# The standard's, and ours.
_FIELDS: Final = frozenset({b"data", b"event", b"id", b"retry", b"codec"})

# A client that has been told to stay away for longer is as good as lost, in milliseconds.
_LONGEST_RETRY: Final = 3_600_000

# As is a server without a pause between two connections of each client.
_SHORTEST_RETRY: Final = 100


def check_grammar(transcript: Transcript, *, over: bool) -> Iterator[Finding]:
    """Yield what is wrong with a stream's lines; each kind once.

    :arg bool over: whether nothing more is to come, or nothing has for a while.
    """
    blocks = transcript.blocks
    yield from _check_names(blocks)
    if not transcript.utf8:
        yield error(
            "not-utf8",
            "There are bytes that are no UTF-8; a client shows other characters.",
            "Encode as UTF-8; send bytes as base64.",
        )
    if over and transcript.has_unfinished:
        shown = quoted(b"\n".join(transcript.unfinished.lines) or b"data")
        yield error(
            "unfinished-event",
            f"{shown} is not followed by a blank line, so no client gets it.",
            "End each event with two line ends: data: …\\n\\n.",
        )
    if any(b"\0" in value for block in blocks for value in block.values(b"id")):
        yield error(
            "id-with-nul",
            "An id has a NUL in it, and clients ignore it.",
            "Make ids of printable characters.",
        )
    # What comes in one go, as a snapshot of several channels, may bring a client to one position.
    ids = {block.ended: block.id for block, _ in transcript.events if block.id}
    if len(ids) > 2 and len({*ids.values()}) == 1:
        same = quoted(next(iter(ids.values())).encode())
        yield warning(
            "same-id",
            f"All events have one id, {same}: resuming by it means nothing.",
            "Count, and let each event have an id of its own; or send none.",
        )
    yield from _check_retry(blocks)
    if transcript.bom:
        yield advice(
            "bom",
            "The stream begins with a BOM, over which some clients lose its first line.",
            "Send none: an event stream is UTF-8 in any case.",
        )
    if any(not block.lines for block in blocks):
        yield advice(
            "comment-block",
            "Comments are followed by a blank line, which httpx-sse and openai-python take for an empty "
            "event once there was an id.",
            "Send a comment as one line, ':\\n'.",
        )


def _check_names(blocks: list[Block]) -> Iterator[Finding]:
    for block in blocks:
        names = [name for name, _ in block.fields()]
        for line, name in zip(block.lines, names, strict=True):
            if name not in _FIELDS:
                after_data = b"data" in names[: names.index(name)]
                where = (
                    "follows a data field; it may be the rest of its text" if after_data else "is no field"
                )
                yield (error if after_data else warning)(
                    "unknown-field",
                    f"The line {quoted(line)} {where}, and clients ignore it.",
                    "Write data: before each line of a text, whichever of \\n, \\r and \\r\\n ends it; "
                    "names in small letters, with a colon right after them.",
                )
                return
    for block in blocks:
        for name in (b"event", b"id"):
            if len(block.values(name)) > 1:
                yield error(
                    "repeated-field",
                    f"One event has two fields {name.decode()}: {quoted(b', '.join(block.values(name)))}; "
                    "something with a line end in it has been written into a field.",
                    "Refuse CR and LF in event types and ids: whoever names them can write events of their "
                    "own.",
                )
                return


def _check_retry(blocks: list[Block]) -> Iterator[Finding]:
    values = [value for block in blocks for value in block.values(b"retry")]
    for value in values:
        if not value.isdigit():
            yield warning(
                "retry-ignored",
                f"The retry {quoted(value)} is no number, and is ignored.",
                "Write a whole number of milliseconds: retry: 2000.",
            )
        elif len(value) > 9 or int(value) > _LONGEST_RETRY:
            yield warning(
                "retry-long",
                f"A retry of {quoted(value)} ms keeps clients away for hours.",
                "It is in milliseconds. Some seconds are usual.",
            )
        elif int(value) < _SHORTEST_RETRY:
            yield warning(
                "retry-short",
                f"A retry of {quoted(value)} ms: clients come back all at once.",
                "It is in milliseconds. Some seconds are usual, each client another number.",
            )
        else:
            continue
        return
    if any([name for name, _ in block.fields()] == [b"retry"] for block in blocks):
        yield advice(
            "retry-alone",
            "A retry stands in a block of its own, which httpx-sse and openai-python take for an empty "
            "event.",
            "Send it along with an event, or with an id.",
        )


def quoted(value: bytes) -> str:
    """Return what a server has sent, short and printable."""
    text = value[:60].decode("utf-8", "replace")
    return repr(text if len(value) <= 60 else f"{text}…")
