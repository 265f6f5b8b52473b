"""A process of our own at the other end of a pipe, on a core of its own.

It ends with the pipe, so nothing is left behind however the benchmark ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Final, Self

__all__ = ["CLIENT_CORE", "SERVER_CORE", "Child", "pin"]

SERVER_CORE: Final = 0
CLIENT_CORE: Final = 1

# How long an answer may take, in seconds. The longest takes a few.
_PATIENCE: Final = 60.0


class Child:
    """A new process that runs ``main(pipe)``, for as long as a ``with`` block.

    :arg main: a function at the top of a module. It returns when the pipe is at its end.
    :arg core: which core it shall have, where that can be said.
    """

    def __init__(self, main: Callable[[Connection[Any, Any]], None], core: int) -> None:
        # Spawned rather than forked: it begins with nothing of ours in its memory.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(main, theirs, core), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pipe.close()
        self._process.join(5)
        self._process.kill()
        self._process.join()

    def ask(self, *question: object) -> Any:
        """Send a question and return the answer."""
        self.tell(*question)
        return self.receive()

    def tell(self, *question: object) -> None:
        """Send a question whose answer comes later."""
        self._pipe.send(question)

    def receive(self) -> Any:
        """Return the next answer."""
        if not self._pipe.poll(_PATIENCE):
            raise TimeoutError(f"no answer from {self._process.name} within {_PATIENCE:.0f} s")
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError("a process of the benchmark has failed; it has said why above") from None


def pin(core: int) -> None:
    """Keep this process on one of the cores it may use."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def _run(main: Callable[[Connection[Any, Any]], None], pipe: Connection[Any, Any], core: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent ends us
    pin(core)
    try:
        main(pipe)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
