"""The log in NATS JetStream: durable as the server is, and shared by many hosts.

Theory of operation
-------------------
The log is one stream, and an event's position the number of its message there; see `.nats_names` for the
subjects. A process has one connection, however many channels it follows. The server tells of each message
that has come to the stream on a subject of its own (its ``republish``), to which a process subscribes for
each channel it follows: no consumer is needed. What is told and what is acknowledged leave the stream in one
queue, in the order of positions, and are heard in that order (`.nats_link`). So when an append is
acknowledged, everything up to it has been heard.

*Looking.* To know that all is told that others have appended, a process asks for the stream's last number,
and then publishes something that the stream refuses, in its turn: when it has the refusal, it has heard
everything up to that number, and nothing was written for it. That is done every second too, which finds out
whether the connection is alive and the log is still the same. Those who ask at the same time share the
answer.

*Losing.* Whatever is wrong, the connection is given up, and another one begins by catching up: it subscribes,
reads what has come to the followed channels after the last position that was told, tells it, and goes on with
what it has heard meanwhile. In a cluster, a connection between servers may lose what is told while it breaks.
The server says with each event which was the last before on the same subject, so that is found out with the
next one, and there is a gap.

*Epochs* are `.nats_stream`'s. A stream that has less than was told, or something else at a place that is
remembered, has lost something, and gets another epoch.

*Time* is the server's.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from nats.aio.msg import Msg

from tornado_sse.backends.base import Listener, Page, RetentionOf
from tornado_sse.backends.nats_address import Address
from tornado_sse.backends.nats_hearing import Hearing
from tornado_sse.backends.nats_link import Link
from tornado_sse.backends.nats_log import Log
from tornado_sse.backends.nats_names import Names
from tornado_sse.backends.nats_retention import Sweeper
from tornado_sse.backends.nats_session import PULSE, Session
from tornado_sse.backends.nats_stream import Info, Stream
from tornado_sse.backends.nats_writer import Appended, Writer
from tornado_sse.backends.tailed import CACHE, Tail, TailedBackend
from tornado_sse.backends.url import BackendURL, choice, seconds
from tornado_sse.errors import BackendError
from tornado_sse.log import Retention
from tornado_sse.record import Draft, Record

__all__ = ["NATSBackend", "from_url"]

_logger: Final = logging.getLogger("tornado_sse")

_T = TypeVar("_T")

# How often to look whether a replicated log has what was told, and how long to wait each time, in seconds,
# before it counts as lost.
_ATTEMPTS: Final = 30
_PAUSE: Final = 0.1


class NATSBackend(TailedBackend):
    """Keeps channels in a stream of NATS JetStream, of nats-server 2.11 or newer.

    Any number of processes may share a log; give the same retention in all of them. What is acknowledged
    survives the server's ``kill -9``. A loss of power may take what came within the server's
    ``sync_interval``, two minutes by default, unless there are replicas that keep it or the server is set to
    ``sync_interval: always``. Clients are told when something is lost, if anybody had been told of it.

    A channel is cut back to its limits when it exceeds them by an eighth, within about a second. Age is
    looked at every second; what is too old is never read.

    Message ids are remembered by the server. When it is killed within two minutes, it forgets those of events
    that have been replaced or dropped meanwhile.

    :arg address: where the servers are.
    :arg retention: says how much of a channel is kept. Its answers are remembered.
    :arg str stream: the stream's name. It is made if there is none.
    :arg prefix: what its subjects begin with; None is the stream's name.
    :arg float timeout: for how many seconds to try before what is asked for fails.
    :arg storage: where the stream is kept, "file" or "memory"; None is file, or as it is.
    :arg replicas: by how many servers; None is one, or as it is.
    :arg cache: how much of a followed channel is kept in memory, at most.
    """

    name = "nats"

    def __init__(
        self,
        address: Address,
        retention: RetentionOf,
        *,
        stream: str = "tornado-sse",
        prefix: str | None = None,
        timeout: float = 5.0,
        storage: str | None = None,
        replicas: int | None = None,
        cache: Retention = CACHE,
    ) -> None:
        super().__init__(retention, cache)
        self._address = address
        self._timeout = timeout
        self._names = Names(prefix or stream)
        self._stream = Stream(stream, self._names, storage, replicas)
        self._log = Log(self._stream, self._names, self._retention, self._now)
        self._sweeper = Sweeper(self._stream, self._log, self._names, self._retention, self._now)
        self._writer = Writer(self, self._names, timeout)
        self._hearing = Hearing(self, self._names)
        self._session = Session(self, address, timeout)
        # An event that must be in the log, as long as it is not dropped: its position and its id.
        self._witness: tuple[int, str] | None = None
        self._time_difference = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._chores: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

    def start(self, listener: Listener) -> None:
        """Begin to work for a broker, on the running event loop. The server may come later."""
        super().start(listener)
        loop = asyncio.get_running_loop()
        works = (self._writer.run(), self._session.run(), self._sweep())
        self._tasks = [loop.create_task(work) for work in works]

    def append(self, draft: Draft) -> asyncio.Future[int]:
        """Append an event. Many may be on their way at a time."""
        self._check()
        self._retention(draft.channel)  # it may not fail later
        return self._writer.append(draft)

    async def sync(self) -> int:
        """Tell everything that any process has appended."""
        self._check()
        await self._session.ask(self._session.look)
        return self.position

    def unfollow(self, channel: str) -> None:
        """Stop telling of a channel."""
        if channel in self.followed:
            super().unfollow(channel)
            self._hearing.forget(channel)
            link = self._session.link
            if link is not None:
                chore = asyncio.get_running_loop().create_task(self._unsubscribe(link, channel))
                self._chores.add(chore)
                chore.add_done_callback(self._chores.discard)

    async def read(self, channel: str, after: int, size: int) -> Page:
        """Read events of a channel, as the stream has them."""
        await self._opened()
        upto = self.position
        return await self._read(lambda link: self._log.page(link, channel, after, upto, size))

    async def state(self, channel: str) -> Sequence[Record]:
        """Return the latest event of every key of a channel."""
        await self._opened()
        state = await self._read(lambda link: self._log.state(link, channel))
        await self.sync()
        return state

    async def read_tail(self, channel: str, limit: Retention) -> Tail:
        """Return the last events of a channel, of which everything from now on will be heard."""

        async def read(link: Link) -> Tail:
            self._hearing.expect(channel)
            await link.subscribe(self._names.live_channel(channel))
            tail = await self._log.tail(link, channel, self.position, limit)
            self._hearing.trust(channel, tail.position)
            return tail

        return await self._read(read)

    async def close(self) -> None:
        """Append what is to be appended, and let go of the server."""
        self._closed = True
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    # For the session

    def hear(self, message: Msg) -> None:
        """Take a message that the server has told of."""
        self._hearing.hear(message)

    def on_answer(self, number: int, data: bytes | None) -> None:
        """Take the answer to what was published by a number."""
        self._writer.on_answer(number, data)

    def on_linked(self, link: Link) -> None:
        """Publish what there is to be published."""
        self._writer.attach(link)

    def on_unlinked(self, problem: BackendError | None) -> None:
        """Publish nothing until there is a connection again."""
        self._hearing.lose()
        self._writer.detach(problem)

    async def begin(self, link: Link) -> None:
        """Find out about the log, and what has been missed."""
        info = await self._stream.open(link)
        self._take_in(info)
        if self.epoch == info.epoch and await self._is_another(link, info):
            info = await self._stream.renew(link, info)
        epoch = self._log.epoch = info.epoch
        self._hearing.begin(epoch)
        channels = [*self.followed]
        for channel in channels:
            await link.subscribe(self._names.live_channel(channel))
        # Subscribed to by the time that this is answered.
        await self._stream.fence(link)
        info = await self._stream.look(link)
        if info.epoch != epoch:
            raise BackendError(self.name, "it has begun anew meanwhile")
        if epoch == self.epoch:
            async for floors, records, position in self._log.missed(
                link, self.followed, self.position, info.last
            ):
                self.on_lost(floors)
                self.on_news(records, position)
        else:
            self._witness = None
            self.on_begun(epoch, info.last)
        self._hearing.catch_up(channels, info.last)

    async def look(self, link: Link) -> None:
        """Tell all that had been acknowledged when this was called."""
        position = self.position
        try:
            info = await self._stream.look(link)
            if info.epoch != self.epoch or info.last < position:
                raise BackendError(self.name, "it has begun anew")
        except BackendError as error:
            link.end(error)  # the next one finds out about it
            raise
        await self._stream.fence(link)
        self._take_in(info)
        self._hearing.reach(info.last)
        self.on_time(self._now())

    # For the writer

    def on_appended(self, appended: Appended, position: int, again: bool) -> None:
        """Take notice that an event is in the log; answer it when everything up to it is told."""
        draft = appended.draft
        if not again:
            self._sweeper.note(draft.channel, len(draft.frame), keyed=draft.key is not None)
            if draft.key is None:
                self._witness = position, appended.headers["Nats-Msg-Id"]
        self._hearing.answer(appended.future, position, told=again)

    # How it is done

    async def _is_another(self, link: Link, info: Info) -> bool:
        """Return whether a log that calls itself the same is not the one that was told."""
        for _ in range(_ATTEMPTS if self._log.replicated else 0):
            if info.last >= self.position:
                break
            # Its leader may have just become that.
            await asyncio.sleep(_PAUSE)
            info = await self._stream.look(link)
        if info.last < self.position:
            return True
        if self._witness is None:
            return False
        position, own_id = self._witness
        message = await self._stream.at(link, position)
        return message is not None and message.headers.get("Nats-Msg-Id") != own_id

    async def _unsubscribe(self, link: Link, channel: str) -> None:
        if channel not in self.followed:
            await link.unsubscribe(self._names.live_channel(channel))

    async def _read(self, question: Callable[[Link], Awaitable[_T]]) -> _T:
        """Return the answer to a question about the log as it was told."""
        epoch = self.epoch
        answer = await self._session.ask(question)
        self._check()
        if self.epoch != epoch:
            raise BackendError(self.name, "it has begun anew meanwhile; ask again")
        return answer

    def _take_in(self, info: Info) -> None:
        self._log.replicated = info.config.get("num_replicas", 1) > 1
        self._log.floor = info.floor
        self._time_difference = info.time - asyncio.get_running_loop().time()

    def _now(self) -> float:
        """Return the server's time, in seconds since 1970."""
        return asyncio.get_running_loop().time() + self._time_difference

    async def _sweep(self) -> None:
        discovered = False
        while True:
            try:
                link = await self._session.linked()
                if not discovered:
                    await self._sweeper.discover(link)
                    discovered = True
                await self._sweeper.sweep(link)
            except BackendError:
                pass  # whoever needs the log is told; it is tried again
            except Exception:
                _logger.exception("dropping what is beyond the nats log's limits failed")
            await asyncio.sleep(PULSE)

    async def _close(self) -> None:
        if self._tasks:
            writer, *others = self._tasks
            self._writer.end()
            await asyncio.wait([writer])
            # What was answered last is told in this turn.
            await asyncio.sleep(0)
            self._hearing.tell()
            for task in others:
                task.cancel()
            await asyncio.wait(others)
            await self._session.close()
            await asyncio.wait([writer, *self._chores])
        self._listener = None
        self.followed.clear()


def from_url(url: str, retention: RetentionOf) -> NATSBackend:
    """Return the backend of ``nats://user:password@host:port,host:port?stream=name&timeout=5``.

    A user without a password is a token. ``tls://`` is the same with TLS; the certificate is checked, against
    those of the file ``ca`` if it is given.

    :raises SettingError: if the URL makes no sense.
    """
    parsed = BackendURL(url)
    known: dict[str, Callable[[str], Any]] = {
        "stream": _name,
        "prefix": _name,
        "timeout": seconds,
        "storage": choice("file", "memory"),
        "replicas": _replicas,
        "creds": str,
    }
    if parsed.scheme == "tls":
        known["ca"] = str
    found = parsed.parameters(known)
    files = {name: found.pop(name) for name in ("ca", "creds") if name in found}
    return NATSBackend(Address.of(parsed, **files), retention, **found)


def _name(text: str) -> str:
    if not re.fullmatch("[A-Za-z0-9_-]{1,100}", text, re.ASCII):
        raise ValueError("1 to 100 of letters, digits and _ -")
    return text


def _replicas(text: str) -> int:
    if text not in ("1", "3", "5"):
        raise ValueError("1, 3 or 5")
    return int(text)
