"""A backend that is being checked: every call has a deadline, and everything that it tells is looked at."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from typing import Any, Final, NoReturn, TypeVar

from tornado_sse.backends.base import Backend, Page
from tornado_sse.errors import BackendError
from tornado_sse.log import ChannelLog
from tornado_sse.record import Draft, Record, with_id

__all__ = ["Probe", "show"]

_T = TypeVar("_T")

# How long to wait before something is looked at again, in seconds.
_PAUSE: Final = 0.01


class Probe:
    """A backend that has been started, its listener, and what is known of it.

    :arg float timeout: how long one call may take, in seconds.

    Whatever is wrong raises AssertionError: what a call does, at once; what the listener is told, at the next
    `look`.
    """

    def __init__(self, backend: Backend, timeout: float) -> None:
        if isinstance(backend, type) or not isinstance(backend, Backend):
            raise AssertionError(f"{backend!r} is not a Backend; return an instance of one")
        self.backend = backend
        self.timeout = timeout
        #: All that has been told.
        self.told: list[Record] = []
        #: Up to where.
        self.position = 0
        #: What has been appended and acknowledged.
        self.acknowledged: dict[int, Draft] = {}
        #: The logs in memory, by channel.
        self.logs: dict[str, ChannelLog] = {}
        self._followed: set[str] = set()
        self._breach = ""
        self._ended = False
        try:
            backend.start(self)
        except Exception as error:
            self.fail("raises in start(); let what is asked next fail instead", error)

    # The listener

    def on_records(self, records: Sequence[Record], position: int) -> None:
        """Take what is told."""
        try:
            self._take(records, position)
        except AssertionError as error:
            self._breach = self._breach or str(error)

    def on_gap(self, channel: str) -> None:
        """Nothing is dropped here before it can be told."""
        self._breach = self._breach or f"calls on_gap({channel!r}) though nothing has been lost"

    def on_epoch(self) -> None:
        """Nothing that a check does makes a log begin anew."""
        self._breach = self._breach or "calls on_epoch() though nothing has been lost"

    def _take(self, records: Sequence[Record], position: int) -> None:
        assert not self._ended, "tells something after it has been closed"
        for record in records:
            where = f"position {record.position} of {record.channel!r}"
            assert record.position > self.position, (
                f"tells {where} after it has told everything up to {self.position}; "
                "tell each once, in the order of positions"
            )
            assert record.position <= position, f"tells {where}, but says that it has told up to {position}"
            assert record.channel in self._followed, f"tells {where}, which nobody follows"
            self.position = record.position
            log = self.logs.get(record.channel)
            if log is not None:
                found, _ = log.read(record.position - 1, record.position, 1)
                # It may have been replaced, or dropped, on account of others of the same batch.
                gone = record.key is not None or record.position <= log.start
                assert list(found) == [record] or gone, (
                    f"tells {where} before it is in the channel's log; append it there first"
                )
        assert position >= self.position, f"tells up to {position} after it has told up to {self.position}"
        self.position = position
        self.told += records
        if self.backend.position != position:
            raise AssertionError(f"has the position {self.backend.position} when it tells up to {position}")

    # What is asked of it

    async def append(self, channel: str, frame: bytes = b"data: x\n\n", key: str | None = None) -> int:
        """Append an event; return its position."""
        return await self.settle(self.begin(channel, frame, key))

    def begin(self, channel: str, frame: bytes = b"data: x\n\n", key: str | None = None) -> Awaitable[int]:
        """Append an event; return an awaitable of its position."""
        return self.offer(Draft(channel, frame, key))

    def offer(self, draft: Draft) -> Awaitable[int]:
        """Append a draft; return an awaitable of its position."""
        return _Appending(self._acknowledged, draft, self._append(draft))

    def repeat(self, draft: Draft) -> Awaitable[int]:
        """Append a draft that has been appended; return an awaitable of the position that is given."""
        return _Appending(self._repeated, draft, self._append(draft))

    def _append(self, draft: Draft) -> int | asyncio.Future[int]:
        try:
            return self.backend.append(draft)
        except Exception as error:
            self.fail(f"can't append {show(draft)}", error)

    async def settle(self, position: Awaitable[int]) -> int:
        """Wait for an acknowledgement."""
        return await self._call("append()", position)

    async def sync(self) -> int:
        """Have everything told."""
        position = await self._call("sync()", self.backend.sync())
        if position != self.backend.position:
            self.fail(f"returns {position!r} from sync(), but its position is {self.backend.position}")
        self.look()
        return position

    async def follow(self, channel: str) -> ChannelLog:
        """Follow a channel."""
        self._followed.add(channel)
        log = self.logs[channel] = await self._call("follow()", self.backend.follow(channel))
        if not isinstance(log, ChannelLog):
            self.fail(f"returns {show(log)} from follow(); return a ChannelLog")
        return log

    def unfollow(self, channel: str) -> None:
        """Don't."""
        self.backend.unfollow(channel)
        self._followed.discard(channel)
        self.logs.pop(channel, None)

    async def page(self, channel: str, after: int = 0, size: int = 1_000_000) -> Page:
        """Read a page."""
        page = await self._call("read()", self.backend.read(channel, after, size))
        positions = [record.position for record in page.records]
        if positions != sorted({*positions}):
            self.fail(f"reads positions {positions}; each once, and in order")
        if positions and positions[0] <= after:
            self.fail(f"reads position {positions[0]} where those after {after} were asked for")
        return page

    async def all(self, channel: str, after: int = 0) -> Sequence[Record]:
        """Read all pages."""
        records: list[Record] = []
        more = True
        while more:
            page = await self.page(channel, after)
            more = page.more
            if more and not page.records:
                self.fail("reads an empty page and says that there is more; return one event at least")
            records += page.records
            after = records[-1].position if records else after
        return records

    async def state(self, channel: str) -> Sequence[Record]:
        """Read the latest of every key."""
        return await self._call("state()", self.backend.state(channel))

    async def close(self) -> None:
        """End."""
        await self._call("close()", self.backend.close())
        self.look()
        self._ended = True

    # What is expected of it

    def look(self) -> None:
        """Fail if something has been told that should not have been."""
        if self._breach:
            self.fail(self._breach)

    def same(self, records: Iterable[Record], positions: Iterable[int], where: str) -> None:
        """Fail unless these are the events that were appended at these positions, byte for byte."""
        records = list(records)
        found, expected = [record.position for record in records], list(positions)
        if found != expected:
            missing = [position for position in expected if position not in found]
            extra = [position for position in found if position not in expected]
            self.fail(f"{where}: {missing} is missing, and {extra} should not be there, in {found}")
        for record in records:
            channel, frame, key, _ = self.acknowledged[record.position]
            frame = with_id(frame, self.backend.epoch, record.position)
            if record[:4] != (record.position, channel, frame, key):
                self.fail(f"{where}: {show((channel, frame, key))} has come back as {show(record)}")

    def appended(self, channel: str) -> list[int]:
        """Return the positions of all that has been appended to a channel."""
        return sorted(position for position, draft in self.acknowledged.items() if draft.channel == channel)

    def held(self, log: ChannelLog) -> list[Record]:
        """Return what is in a log in memory beyond its start; before it there may be anything."""
        return log.read(log.start, self.backend.position, 10**9)[0]

    def whole(self, log: ChannelLog, positions: Iterable[int], where: str = "the log from follow()") -> None:
        """Fail unless a log in memory has all of these that are beyond its start, and nothing else."""
        self.same(self.held(log), [position for position in positions if position > log.start], where)

    async def until(self, condition: Callable[[], Awaitable[str]]) -> None:
        """Wait until a condition returns ""; fail with what it returns when the time is over."""
        end = time.monotonic() + self.timeout
        while message := await condition():
            if time.monotonic() > end:
                self.fail(message)
            await asyncio.sleep(_PAUSE)

    def fail(self, message: str, cause: BaseException | None = None) -> NoReturn:
        """Raise AssertionError."""
        name = getattr(self.backend, "name", None)
        who = f"backend {name!r}" if isinstance(name, str) else repr(self.backend)
        # What was told wrong comes first: what is missed now is likely to follow from it.
        raise AssertionError(f"{who} {self._breach or message}") from cause

    async def _acknowledged(self, draft: Draft, result: int | asyncio.Future[int]) -> int:
        position = result if isinstance(result, int) else await asyncio.shield(result)
        if not isinstance(position, int) or position < 1:
            self.fail(f"acknowledges {show(draft)} with {position!r}; positions are whole numbers from 1")
        if position in self.acknowledged:
            self.fail(f"gives position {position} to two events")
        self.acknowledged[position] = draft
        if self.position < position:
            self.fail(f"acknowledges position {position} before the listener is told up to there")
        return position

    async def _repeated(self, draft: Draft, result: int | asyncio.Future[int]) -> int:
        async def settle() -> int:
            return result if isinstance(result, int) else await asyncio.shield(result)

        return await self._call("append() of what has been appended", settle())

    async def _call(self, what: str, awaitable: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self.timeout):
                return await awaitable
        except TimeoutError:
            self.fail(f"has not answered {what} within {self.timeout:g} s")
        except BackendError as error:
            self.fail(f"fails in {what}: {error}", error)
        except AssertionError:
            raise
        except Exception as error:
            self.fail(f"raises {type(error).__name__} in {what}; raise BackendError", error)


class _Appending:
    """An append that has been called; whether or not anybody waits for it."""

    def __init__(
        self, settle: Callable[[Draft, Any], Coroutine[Any, Any, int]], draft: Draft, result: object
    ) -> None:
        self._settle = settle
        self._draft = draft
        self._result = result

    def __await__(self) -> Generator[Any, Any, int]:
        return self._settle(self._draft, self._result).__await__()


def show(value: object) -> str:
    """Return a value's repr, not all of it."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
