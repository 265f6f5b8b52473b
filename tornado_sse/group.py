"""Subscribers that get the same bytes: they follow the same channels, over connections framed alike.

This is where the time goes when an event is published, so the loop in `Group.send` does one thing: it sends.
It makes nothing, counts nothing and looks at no subscriber; what each has been sent is known from what the
group has been sent since it came. A socket that takes less than all drops out of the loop, and its
subscriber goes on by itself from the log.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from heapq import merge
from operator import attrgetter
from typing import Final, Protocol

from tornado_sse.log import ChannelLog
from tornado_sse.piece import SIZE, Piece, pieces
from tornado_sse.record import Record
from tornado_sse.transport import Transport

__all__ = ["Group", "Member", "merged", "page"]

_by_position: Final = attrgetter("position")

_NONE: Final[Mapping[str, int]] = {}


class Member(Protocol):
    """A live subscriber, as its group knows it."""

    #: Its connection.
    transport: Transport
    #: Where the group keeps it.
    slot: int

    def on_gap(self) -> None:
        """Go on by yourself: some of what comes next is gone."""

    def on_refused(self, piece: Piece, sent: int) -> None:
        """Go on by yourself after this piece, of which so many bytes are in others' hands."""


def merged(runs: Sequence[Sequence[Record]]) -> Sequence[Record]:
    """Return the records of several channels in the order of their positions."""
    runs = [run for run in runs if run]
    if len(runs) <= 1:
        return runs[0] if runs else ()
    return list(merge(*runs, key=_by_position))


def page(
    names: Sequence[str],
    logs: Sequence[ChannelLog],
    after: int,
    upto: int,
    *,
    chunked: bool,
    skipped: Mapping[str, int] = _NONE,
    told: Mapping[str, int] = _NONE,
) -> Piece | None:
    """Return the events of some channels after one position and not after another, or as many as fit a piece.

    :arg skipped: by channel, up to where its events are left out.
    :arg told: by channel, up to where the client knows that events may be missing.

    Returns None if the logs in memory lack some.
    """
    end = upto
    runs = []
    share = max(SIZE // len(names), 2048)
    for name, log in zip(names, logs, strict=True):
        begin = max(after, skipped.get(name, 0))
        if log.start > begin and log.start > told.get(name, 0):
            return None
        records, more = log.read(begin, upto, share)
        if more:
            end = min(end, records[-1].position)
        runs.append(records)
    records = [record for record in merged(runs) if record.position <= end]
    found = pieces(records, after, end, chunked=chunked)
    return found[0] if found else Piece(b"", 0, after, end)


class Group:
    """Subscribers that get the same bytes.

    :arg names: the channels' names.
    :arg logs: their logs in memory.
    :arg chunked: whether a piece is framed as a chunk.
    :arg direct: whether the members' sockets can be written to. Those with TLS can't.
    """

    __slots__ = (
        "_members", "_sockets", "bytes", "chunked", "direct", "events", "logs",
        "names", "size",
    )  # fmt: skip

    def __init__(
        self, names: tuple[str, ...], logs: tuple[ChannelLog, ...], *, chunked: bool, direct: bool
    ) -> None:
        self.names = names
        self.logs = logs
        self.chunked = chunked
        self.direct = direct
        #: How many belong to it, live or not. For whoever keeps the groups.
        self.size = 0
        #: What each live member has been sent by the group since it began. With TLS transports count bytes.
        self.bytes = 0
        self.events = 0
        self._members: list[Member] = []
        self._sockets: list[socket.socket] = []

    def __len__(self) -> int:
        return len(self._members)

    def add(self, member: Member) -> None:
        """Take in a subscriber that has been sent everything."""
        member.slot = len(self._members)
        self._members.append(member)
        if self.direct:
            assert member.transport.socket is not None
            self._sockets.append(member.transport.socket)

    def discard(self, member: Member) -> None:
        """Let go of a subscriber."""
        last = self._members.pop()
        if self.direct:
            last_socket = self._sockets.pop()
        if last is not member:
            # The last one takes its place: the order among subscribers means nothing.
            slot = last.slot = member.slot
            self._members[slot] = last
            if self.direct:
                self._sockets[slot] = last_socket

    def interrupt(self) -> None:
        """Have all live members go on by themselves."""
        for member in tuple(self._members):
            member.on_gap()

    def send(self, piece: Piece) -> None:
        """Send a piece to all live members. None of them may come or go meanwhile, so those that can't take
        it are told at the end.
        """
        data = piece.data
        size = len(data)
        self.events += piece.events
        if not self.direct:
            for member in tuple(self._members):
                member.transport.transmit(data)
                if not member.transport.clear:
                    member.on_refused(piece, size)
            return
        self.bytes += size
        refused: list[tuple[Member, int]] = []
        lost: list[tuple[Member, OSError]] = []
        for slot, sock in enumerate(self._sockets):
            try:
                if (sent := sock.send(data)) != size:
                    refused.append((self._members[slot], sent))
            except (BlockingIOError, InterruptedError):
                refused.append((self._members[slot], 0))
            except OSError as error:
                lost.append((self._members[slot], error))
        for member, sent in refused:
            member.on_refused(piece, sent)
        for member, failure in lost:
            member.transport.lose(failure)
