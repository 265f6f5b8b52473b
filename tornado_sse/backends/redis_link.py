"""A connection to a Redis or Valkey server, which is asked one thing at a time.

What fails because the server is away, starting, or slow is tried again on a new connection, until a deadline.
That is right for every script there is: they find out by themselves whether they have run before. What fails
for another reason fails at once, with a sentence that says what to do about it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from tornado_sse.backends.redis_address import Route
from tornado_sse.backends.redis_scripts import SCRIPTS
from tornado_sse.errors import BackendError

__all__ = ["AWAY", "Anew", "Link", "explained"]

# How long to wait before the next attempt, in seconds: at first, and at most.
_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5

# The first version whose scripts say what they do, and which has topics for shards.
_OLDEST: Final = 7

#: What says that a server can't be reached, or can't do anything for now.
AWAY: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.MovedError,
    exceptions.TryAgainError,
    OSError,
    TimeoutError,
)

# The same, of errors that redis-py has no class for.
_BUSY: Final = ("BUSY ", "MASTERDOWN ", "NOREPLICAS ", "UNBLOCKED ")

# What the server says, by how it begins, and what is said to the user.
_SAYINGS: Final = {
    "OOM": "its memory is full: raise its maxmemory, or keep less (Retention)",
    "MISCONF": "it refuses to write since it can't save to its disk",
    "NOPERM": "the user may not do what a log needs",
}


class Anew(Exception):  # noqa: N818 - it never gets as far as a user
    """The log is not the one that was meant, or its server is another."""


class Link:
    """Asks a server to run scripts, each after the other.

    :arg str root: the log's name there.
    :arg float timeout: for how many seconds to try, unless a deadline is given.
    """

    def __init__(self, route: Route, root: str, timeout: float) -> None:
        self._route = route
        self._root = root
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._run = ""
        #: What the server says of itself, as it was when the connection was opened.
        self.info: dict[str, str] = {}

    async def ask(self, name: str, *args: str | bytes | int, deadline: float | None = None) -> Any:
        """Return what a script returns.

        :arg deadline: when to give up, by the event loop's clock.

        :raises Anew: if the script says that the log is not the one that was meant.
        :raises BackendError: if it can't be run.
        """
        loop = asyncio.get_running_loop()
        if deadline is None:
            deadline = loop.time() + self._timeout
        pause = _PAUSE
        problem: Exception | None = None
        while True:
            try:
                # Half of the time, so that there is some left for a second attempt.
                async with asyncio.timeout_at(min(deadline, loop.time() + self._timeout / 2)):
                    return await self._attempt(name, args)
            except (exceptions.ResponseError, *AWAY) as error:
                if str(error).startswith("ANEW"):
                    raise Anew from None
                if problem is None or not isinstance(error, TimeoutError):
                    problem = error  # that the time is over says less than what happened before
            if not _may_pass(problem) or loop.time() + pause >= deadline:
                raise explained(problem, self._route) from problem
            self._route.heed(problem)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def close(self) -> None:
        """Let go of the connection. It is opened again when something is asked."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _attempt(self, name: str, args: tuple[str | bytes | int, ...]) -> Any:
        async with self._lock:
            try:
                connection = self._connection
                if connection is None:
                    connection = self._connection = await self._open()
                return await self._run_script(connection, name, args)
            except exceptions.ResponseError as error:
                if _may_pass(error):
                    await self.close()  # another connection may be to another server
                raise
            except BaseException:
                # Nobody knows what would come next on this connection.
                await self.close()
                raise

    async def _open(self) -> AbstractConnection:
        connection = self._route.connection()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("INFO", "server", "memory")
            info = (await connection.read_response()).decode(errors="replace")
            self.info = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
            self._run = self.info.get("run_id", "")
            version = self.info.get("redis_version", "?")
            if not self._run or not version.split(".")[0].isdecimal() or int(version.split(".")[0]) < _OLDEST:
                reason = f"{self._route} is of version {version}: Redis {_OLDEST} or Valkey is needed"
                raise BackendError("redis", reason)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _run_script(
        self, connection: AbstractConnection, name: str, args: tuple[str | bytes | int, ...]
    ) -> Any:
        script = SCRIPTS[name]
        try:
            await connection.send_command("EVALSHA", script.digest, 1, self._root, self._run, *args)
            return await connection.read_response()
        except exceptions.NoScriptError:
            await connection.send_command("EVAL", script.source, 1, self._root, self._run, *args)
            return await connection.read_response()


def explained(error: Exception, route: Route) -> BackendError:
    """Return the error that a user gets for one of redis-py."""
    if isinstance(error, BackendError):
        return error
    said = str(error)
    if isinstance(error, exceptions.OutOfMemoryError):
        said = f"OOM {said}"
    if isinstance(error, exceptions.NoPermissionError):
        said = f"NOPERM {said}"
    if isinstance(error, exceptions.AuthenticationError):
        reason = f"{route} does not let us in: {said}"
    elif isinstance(error, TimeoutError | exceptions.TimeoutError) and not said.strip():
        reason = f"{route} does not answer"
    elif isinstance(error, exceptions.MovedError):
        reason = f"{route} sends us to {error.host}:{error.port}, and so on"
    elif isinstance(error, AWAY):
        reason = f"{route} is away: {said or type(error).__name__}"
    else:
        saying = _SAYINGS.get(said.split(" ")[0])
        reason = f"{route}: {saying} ({said})" if saying else f"{route} answers: {said}"
    return BackendError("redis", reason)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, exceptions.AuthenticationError | BackendError):
        return False  # though these are kinds of ConnectionError
    return isinstance(error, AWAY) or str(error).startswith(_BUSY)
