from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest

from tornado_sse.group import Group, merged, page
from tornado_sse.log import ChannelLog, Retention
from tornado_sse.piece import Piece
from tornado_sse.record import Record

EVERYTHING = Retention(events=None, bytes=None, age=None)


class FakeTransport:
    """As much of a transport as a group looks at."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.clear = True
        self.transmitted: list[bytes] = []
        self.lost: list[BaseException] = []

    def transmit(self, data: bytes) -> None:
        self.transmitted.append(data)

    def lose(self, error: BaseException) -> None:
        self.lost.append(error)


class FakeMember:
    def __init__(self) -> None:
        self.slot = -1
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.sock = ours
        self.transport = FakeTransport(ours)
        self.refused: list[tuple[Piece, int]] = []

    def on_refused(self, piece: Piece, sent: int) -> None:
        self.refused.append((piece, sent))

    def close(self) -> None:
        self.sock.close()
        self.peer.close()


@pytest.fixture
def members() -> Iterator[list[FakeMember]]:
    members = [FakeMember() for _ in range(5)]
    yield members
    for member in members:
        member.close()


def record(position: int, channel: str = "a", size: int = 10) -> Record:
    return Record(position, channel, b"id: e-%d\ndata: %b\n\n" % (position, b"x" * size), None, 0.0)


def make(*, direct: bool = True) -> Group:
    return Group(("a",), (ChannelLog(EVERYTHING),), chunked=False, direct=direct)


def test_a_piece_goes_to_every_live_member(members: list[FakeMember]) -> None:
    group = make()
    for member in members:
        group.add(member)  # type: ignore[arg-type]
    group.send(Piece(b"hello", 2, 0, 1))
    assert [member.peer.recv(100) for member in members] == [b"hello"] * 5
    assert (group.bytes, group.events, len(group)) == (5, 2, 5)


def test_whoever_leaves_gets_nothing_and_the_others_do() -> None:
    rng = random.Random(1)
    group = make()
    here: list[FakeMember] = []
    everybody = [FakeMember() for _ in range(30)]
    for turn in range(300):
        member = rng.choice(everybody)
        if member in here:
            here.remove(member)
            group.discard(member)  # type: ignore[arg-type]
        else:
            here.append(member)
            group.add(member)  # type: ignore[arg-type]
        assert len(group) == len(here)
        group.send(Piece(b"%03d" % turn, 1, turn, turn + 1))
        for each in everybody:
            if each in here:
                assert each.peer.recv(100) == b"%03d" % turn
            else:
                with pytest.raises(BlockingIOError):
                    each.peer.recv(100)
    for member in everybody:
        member.close()


def test_what_a_socket_refuses_is_told_after_the_others_have_been_sent(members: list[FakeMember]) -> None:
    group = make()
    for member in members:
        group.add(member)  # type: ignore[arg-type]
    try:
        while members[1].sock.send(b"x" * 100_000):
            pass
    except BlockingIOError:
        pass
    members[3].peer.close()
    members[3].sock.shutdown(socket.SHUT_WR)
    piece = Piece(b"y" * 50_000, 1, 0, 1)
    group.send(piece)
    assert members[1].refused == [(piece, 0)]
    (error,) = members[3].transport.lost
    assert isinstance(error, BrokenPipeError)
    for index in (0, 2, 4):
        assert not members[index].refused
        assert len(members[index].peer.recv(100_000)) == 50_000


def test_a_part_that_was_taken_is_told(members: list[FakeMember]) -> None:
    group = make()
    group.add(members[0])  # type: ignore[arg-type]
    piece = Piece(b"z" * 50_000_000, 1, 0, 1)
    group.send(piece)
    ((told, sent),) = members[0].refused
    assert told is piece
    assert 0 < sent < 50_000_000


def test_with_tls_the_transports_send(members: list[FakeMember]) -> None:
    group = make(direct=False)
    for member in members[:2]:
        group.add(member)  # type: ignore[arg-type]
    members[1].transport.clear = False
    piece = Piece(b"hello", 1, 0, 1)
    group.send(piece)
    assert members[0].transport.transmitted == members[1].transport.transmitted == [b"hello"]
    assert not members[0].refused
    assert members[1].refused == [(piece, 5)]
    group.discard(members[0])  # type: ignore[arg-type]
    assert len(group) == 1


def test_a_page_is_what_comes_after_a_position_and_no_later_than_another() -> None:
    log = ChannelLog(EVERYTHING)
    for position in (2, 4, 6):
        log.append(record(position))
    for after in range(7):
        for upto in range(after, 8):
            found = page("a", [log], after, upto, chunked=False)
            assert found is not None
            expected = b"".join(record(p).frame for p in (2, 4, 6) if after < p <= upto)
            assert (found.data, found.after, found.upto) == (expected, after, upto)


def test_a_page_has_a_limit_and_ends_at_an_event() -> None:
    log = ChannelLog(EVERYTHING)
    for position in range(1, 101):
        log.append(record(position, size=5_000))
    after = events = 0
    while after < 100:
        found = page("a", [log], after, 100, chunked=False)
        assert found is not None
        assert 0 < len(found.data) <= 64 * 1024
        after, events = found.upto, events + found.events
    assert events == 100


def test_a_page_of_several_channels_is_in_the_order_of_positions() -> None:
    rng = random.Random(2)
    logs = tuple(ChannelLog(EVERYTHING) for _ in range(3))
    records = [
        record(position, "abc"[rng.randrange(3)], rng.choice([10, 3_000])) for position in range(1, 400)
    ]
    for each in records:
        logs["abc".index(each.channel)].append(each)
    after, got = 0, b""
    while after < 399:
        found = page("abc", logs, after, 399, chunked=False)
        assert found is not None
        after, got = found.upto, got + found.data
    assert got == b"".join(each.frame for each in records)


def test_a_log_that_does_not_reach_back_so_far_has_no_page_unless_that_is_known() -> None:
    log = ChannelLog(Retention(events=2))
    for position in range(1, 6):
        log.append(record(position))
    assert page("a", [log], 2, 5, chunked=False) is None
    assert page("a", [log], 3, 5, chunked=False) is not None
    told = page("a", [log], 0, 5, chunked=False, told={"a": 3})
    assert told is not None
    assert told.events == 2
    assert page("a", [log], 0, 5, chunked=False, told={"a": 2}) is None
    skipped = page("a", [log], 0, 5, chunked=False, skipped={"a": 4})
    assert skipped is not None
    assert skipped.data == record(5).frame


def test_merging() -> None:
    assert merged([]) == ()
    assert merged([[], [record(1)], []]) == [record(1)]
    runs = [[record(1), record(5)], [record(2, "b")], [record(3, "c"), record(4, "c")]]
    assert [each.position for each in merged(runs)] == [1, 2, 3, 4, 5]
