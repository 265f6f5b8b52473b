"""`read_lines`: lines of files and pipes, as they come."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import CancelledError
from io import FileIO
from typing import Final

from tornado_sse.errors import SSEError

__all__ = ["LONGEST", "SourceError", "read_lines"]

#: How many bytes a line may have.
LONGEST: Final = 16 * 1024 * 1024

# How much is read at once, and how many such pieces may wait for who sends them.
_PIECE: Final = 64 * 1024
_AHEAD: Final = 4


class SourceError(SSEError):
    """What is to be published can't be read."""


async def read_lines(files: Sequence[FileIO]) -> AsyncIterator[list[bytes]]:
    """Yield the lines of files, one file after the other, without their ends: those that are there already.

    A pipe whose writer is slow gives a line or two at a time, a file gives as many as fit in a piece. They
    are read in a thread, for an event loop can't wait for a file; it reads ahead a few pieces.

    :arg files: without buffers: a buffer that a thread waits for holds up the end of the process.

    :raises SourceError: if a file can't be read, or a line is longer than `LONGEST`.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[list[bytes] | SourceError | None] = asyncio.Queue(_AHEAD)

    def put(item: list[bytes] | SourceError | None) -> None:
        waiting = queue.put(item)
        try:
            asyncio.run_coroutine_threadsafe(waiting, loop).result()
        except RuntimeError:
            waiting.close()
            raise

    def read() -> None:
        try:
            try:
                for file in files:
                    _read(file, put)
            except OSError as error:
                put(SourceError(f"{_name(file)} can't be read: {error.strerror}"))
            except SourceError as error:
                put(error)
            put(None)
        except (RuntimeError, ValueError, CancelledError):
            pass  # the loop, or the file, has been closed: nobody wants any more

    # A daemon: it may be waiting for a line that never comes.
    threading.Thread(target=read, name="tornado-sse reader", daemon=True).start()
    while (item := await queue.get()) is not None:
        if isinstance(item, SourceError):
            raise item
        yield item


def _name(file: FileIO) -> str:
    return "stdin" if file.name == 0 else str(file.name)


def _read(file: FileIO, put: Callable[[list[bytes]], None]) -> None:
    rest = b""
    while data := file.read(_PIECE):
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > LONGEST:
            raise SourceError(f"{_name(file)} has a line of more than {LONGEST:,} bytes")
        if lines:
            put([line.removesuffix(b"\r") for line in lines])
    if rest:
        put([rest])
