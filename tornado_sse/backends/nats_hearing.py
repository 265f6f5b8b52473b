"""What a process hears of a log in NATS, until it is told.

A connection that has not been caught up with yet is behind: what it brings is kept, until what was missed has
been told. After that, what is heard in one turn of the event loop is told in its end, and what was appended
is answered then: everything up to it has been heard before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from nats.aio.msg import Msg

from tornado_sse.backends.nats_names import Message, Names
from tornado_sse.errors import BackendError
from tornado_sse.record import Record

__all__ = ["Hearing", "Teller"]

_NAME: Final = "nats"


class Teller(Protocol):
    """Who tells what has been heard."""

    position: int

    def on_news(self, records: Sequence[Record], position: int) -> None:
        """Tell new events. Everything up to the position is told then."""

    def on_lost(self, floors: Mapping[str, int]) -> None:
        """Tell that something of channels is gone, up to some positions."""


class Hearing:
    """Takes what is heard, in the order in which it comes; see the module's docstring."""

    def __init__(self, teller: Teller, names: Names) -> None:
        self._teller = teller
        self._names = names
        self._epoch = ""
        self._behind = True
        self._heard: list[Record] = []
        self._upto = 0
        self._answers: list[tuple[asyncio.Future[int], int]] = []
        self._telling = False
        # The last event without a key of each channel that has been heard or read, and the channels of which
        # nothing before that may have been missed.
        self._last: dict[str, int] = {}
        self._whole: set[str] = set()

    def lose(self) -> None:
        """Take notice that the connection has ended. What it would have brought will be read."""
        self.tell()
        self._behind = True

    def begin(self, epoch: str) -> None:
        """Take what another connection brings, about the log of an epoch."""
        self._heard.clear()
        self._upto = 0
        if epoch != self._epoch:
            self._epoch = epoch
            self._last.clear()
            self._whole.clear()
            answers, self._answers = self._answers, []
            for future, _ in answers:
                if not future.done():
                    future.set_exception(BackendError(_NAME, "it has begun anew meanwhile"))

    def catch_up(self, channels: Sequence[str], position: int) -> None:
        """Go on with what has been heard after a position, up to which these channels have been told."""
        for channel in channels:
            self.trust(channel, position)
        self._heard = [record for record in self._heard if record.position > position]
        self._upto = max(self._upto, position)
        self._behind = False
        self.tell()

    def expect(self, channel: str) -> None:
        """Take notice that a channel will be heard, though what came before that is not known yet."""
        self._whole.discard(channel)
        self._last[channel] = 0

    def trust(self, channel: str, position: int) -> None:
        """Take notice that a channel has been heard or read up to a position, and will be heard."""
        self._whole.add(channel)
        self._last[channel] = max(self._last.get(channel, 0), position)

    def forget(self, channel: str) -> None:
        """Take notice that a channel is not heard any more."""
        self._whole.discard(channel)
        self._last.pop(channel, None)

    def hear(self, received: Msg) -> None:
        """Take a message that the server has told of.

        :raises ValueError: if it is none of a stream.
        """
        message = Message.of(received)
        record = self._names.record(message, self._epoch)
        if record is None or message.sequence <= self._upto:
            return
        if record.key is None:
            self._check(record.channel, message)
        self._heard.append(record)
        self._upto = message.sequence
        self._tell_soon()

    def answer(self, future: asyncio.Future[int], position: int, *, told: bool) -> None:
        """Give an answer, when everything up to a position has been told.

        :arg told: whether that is so already, or cannot be known.
        """
        self._answers.append((future, position))
        if not told:
            self._upto = max(self._upto, position)
        self._tell_soon()

    def reach(self, position: int) -> None:
        """Tell what has been heard, which is everything up to a position.

        :raises BackendError: if the connection has ended meanwhile.
        """
        if self._behind:
            raise BackendError(_NAME, "the connection has ended")
        self._upto = max(self._upto, position)
        self.tell()

    def tell(self) -> None:
        """Tell what has been heard, and give the answers."""
        self._telling = False
        if self._behind:
            return  # the connection has ended meanwhile
        heard, self._heard = self._heard, []
        answers, self._answers = self._answers, []
        try:
            if heard or self._upto > self._teller.position:
                self._teller.on_news(heard, max(self._upto, self._teller.position))
        finally:
            for future, position in answers:
                if not future.done():
                    future.set_result(position)

    # How it is done

    def _check(self, channel: str, message: Message) -> None:
        """Look whether the one before it has been heard."""
        last = self._last.get(channel)
        if last is None:
            return
        before = int(message.headers["Nats-Last-Sequence"])
        if before > last and channel in self._whole and not self._behind:
            self.tell()
            self._teller.on_lost({channel: before})
        self._last[channel] = message.sequence

    def _tell_soon(self) -> None:
        if not self._telling and not self._behind:
            self._telling = True
            asyncio.get_running_loop().call_soon(self.tell)
