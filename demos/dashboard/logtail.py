"""The last lines of this program's log, for whoever asks."""

from __future__ import annotations

import itertools
import logging
from collections import deque

__all__ = ["LogTail"]


class LogTail(logging.Handler):
    """A logging handler that keeps the last records, numbered, so that each viewer reads at its own pace.

    A record is one text, with its newlines: a traceback stays in one piece.
    """

    def __init__(self, keep: int = 200) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s %(message)s", "%H:%M:%S"))
        self._entries: deque[tuple[int, str]] = deque(maxlen=keep)
        self._numbers = itertools.count(1)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record. Called with the handler's lock held."""
        # What is logged may hold lone surrogates (a file's name, say), which are not UTF-8.
        text = self.format(record).encode("utf-8", "replace").decode()
        self._entries.append((next(self._numbers), text))

    def after(self, number: int) -> tuple[list[str], int]:
        """Return the kept records that came after the one of this number, and the number to ask with next."""
        self.acquire()
        try:
            entries = [entry for entry in self._entries if entry[0] > number]
        finally:
            self.release()
        return [text for _, text in entries], entries[-1][0] if entries else number
