"""`Supervisor`: several processes on one port, started again when they die, and stopped together.

The processes are forked from this one, which has neither an event loop nor threads. Each has listening
sockets of its own on the one address, so that the kernel spreads the connections over them (with a socket in
common, the same process would get nearly all). This process made the sockets and keeps them: what connects
while a process is dead waits for its successor. When all are to stop it lets go of them, so that nobody waits
who will not be answered.

Signals are blocked here from the beginning and taken one by one, with the deaths of processes among them, so
none can come at a bad moment. A terminal sends its SIGINT to all processes of the group: the children ignore
it, and are told to stop by a SIGTERM from here. Should this process die without a word, the end of a pipe
tells them.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NoReturn

from tornado_sse.server.process import STOPPING

__all__ = ["Supervisor", "Work"]

#: What each process does: serve on the sockets of its slot, call a function when it does, and stop when a
#: descriptor can be read; returns the exit code. `STOPPING` is blocked when it begins.
Work = Callable[[int, Callable[[], object], int], int]

_log: Final = logging.getLogger("tornado_sse")

# What dies so often will die again: more deaths than these for each process, within so many seconds, are the
# end.
_MOST_DEATHS: Final = 5
_WINDOW: Final = 60.0

# How a child says that it serves.
_SERVING: Final = signal.SIGUSR1

_AWAITED: Final = STOPPING | {signal.SIGCHLD, _SERVING}


class Supervisor:
    """Runs processes.

    :arg sockets: those of each slot; there are as many processes.
    :arg work: what they do.
    :arg serving: called here when the first of them serves; the others are started then, so that what keeps
        all of them from it, such as a log that can't be opened, is said once.
    """

    def __init__(
        self, sockets: Sequence[Sequence[socket.socket]], work: Work, serving: Callable[[], object]
    ) -> None:
        self._sockets = sockets
        self._work = work
        self._serving = serving
        self._served = False
        self._children: dict[int, int] = {}
        self._deaths: deque[float] = deque()
        self._stopping = False
        self._code = 0

    def run(self) -> int:
        """Run the processes until a signal comes; return the exit code.

        0 if they ended because they had been told to, 1 if they died too often, and if the first could not
        begin to serve, its own.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        self._alive, self._held = os.pipe()
        self._start(0)
        while self._children:
            number = signal.sigwait(_AWAITED)
            if number in STOPPING:
                self._stop(0)
            elif number == _SERVING and not (self._served or self._stopping):
                self._served = True
                self._serving()
                for slot in range(1, len(self._sockets)):
                    self._start(slot)
            self._bury()
        return self._code

    def _start(self, slot: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._children[pid] = slot
        else:
            self._be_child(slot, parent)

    def _be_child(self, slot: int, parent: int) -> NoReturn:
        code = 1
        try:
            os.close(self._held)
            for other, sockets in enumerate(self._sockets):
                for each in sockets if other != slot else ():
                    each.close()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED - STOPPING)
            code = self._work(slot, partial(_tell, parent), self._alive)
        except Exception:
            _log.exception("a process failed")
        finally:
            # Not sys.exit(): what follows the call of run() is the parent's to do.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _bury(self) -> None:
        """Look who has died. One SIGCHLD may stand for several."""
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            slot = self._children.pop(pid)
            if self._stopping:
                continue
            code = os.waitstatus_to_exitcode(status)
            if not self._served:
                self._stop(code if code > 0 else 1)  # it has said why
                continue
            _log.error("process %d died: %s", pid, _how(code))
            now = time.monotonic()
            self._deaths.append(now)
            while self._deaths[0] < now - _WINDOW:
                self._deaths.popleft()
            if len(self._deaths) > _MOST_DEATHS * len(self._sockets):
                _log.error("%d deaths within %g s are too many", len(self._deaths), _WINDOW)
                self._stop(1)
            else:
                self._start(slot)

    def _stop(self, code: int) -> None:
        if not self._stopping:
            self._stopping = True
            self._code = code
            for sockets in self._sockets:
                for each in sockets:
                    each.close()
        for pid in self._children:
            os.kill(pid, signal.SIGTERM)


def _tell(parent: int) -> None:
    if os.getppid() == parent:  # its number may be another's after its death
        os.kill(parent, _SERVING)


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
