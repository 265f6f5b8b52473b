"""Brokers against a model: whatever the order of publishing, blocking, cutting and resuming."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tornado_sse import Broker, Event, EventParser, Retention, Settings, group, piece, subscriber
from tornado_sse.follower import Follower
from tornado_sse.reason import Reason

CHANNELS = ("a", "b", "c")
SIZE = piece.SIZE


def set_size(size: int) -> None:
    """Say how many bytes a piece may have."""
    for module in (piece, group, subscriber):
        module.SIZE = size  # type: ignore[attr-defined]


KEYS = (None, None, "x", "y")


class Socket:
    """Takes as many bytes as the test gives it room for."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken = b""

    def send(self, data: bytes | memoryview) -> int:
        if not self.room:
            raise BlockingIOError
        count = min(self.room, len(data))
        self.taken += bytes(data[:count])
        self.room -= count
        return count


class Wire:
    """As much of a transport as a subscriber and its group look at."""

    chunked = False
    reason = Reason.DISCONNECTED

    def __init__(self, room: int) -> None:
        self.socket = Socket(room)
        self.waiting = b""
        self.bytes_sent = 0
        self.follower: Follower | None = None
        self.ended = self.closed = False

    @property
    def clear(self) -> bool:
        return not self.waiting and not self.closed

    def send(self, data: bytes) -> None:
        self.transmit(data)

    def transmit(self, data: bytes) -> None:
        assert not self.closed
        if self.waiting:
            self.waiting += data
            return
        sent = self.socket.send(data) if self.socket.room else 0
        if sent < len(data):
            self.queue(memoryview(data)[sent:])

    def queue(self, rest: memoryview) -> None:
        assert not self.waiting, "what waits is not overtaken"
        self.waiting = bytes(rest)
        if self.follower is not None:
            self.follower.on_blocked()

    def drain(self, room: int) -> None:
        self.socket.room += room
        if self.waiting and self.socket.room:
            waiting, self.waiting = self.waiting, b""
            sent = self.socket.send(waiting)
            self.waiting = waiting[sent:]
            if not self.waiting and self.follower is not None:
                self.follower.on_drained()

    def cut(self) -> None:
        self.ended = self.closed = True
        if self.follower is not None:
            self.follower.on_end()


class FakeStream:
    """As much of a stream as a broker looks at."""

    description = "GET /model"
    settings = Settings()
    follows = False
    events = 0

    def __init__(self, wire: Wire, last_event_id: str | None) -> None:
        self.wire = wire
        self.last_event_id = last_event_id
        self.reasons: list[Reason] = []

    @property
    def ended(self) -> bool:
        return self.wire.ended

    def expire(self, reason: Reason) -> None:
        self.reasons.append(reason)

    def take_retry(self) -> None:
        return None

    def begin(self, first: bytes) -> Wire:
        self.wire.transmit(first)
        return self.wire

    def abort(self) -> None:
        raise AssertionError("nothing fails here")


class Client:
    """What one client has seen, over all its connections."""

    def __init__(self, channels: tuple[str, ...], start: str) -> None:
        self.channels = channels
        self.start = start
        self.wire: Wire | None = None
        self.parsed = 0
        self.parser = EventParser()
        self.last_id = ""
        self.first: int | None = None
        self.events: list[Event] = []

    def look(self) -> None:
        """Read what the wire has brought."""
        assert self.wire is not None
        for line in self.wire.socket.taken[self.parsed :].splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            self.parsed += len(line)
            self.events += self.parser.feed(line)
            if self.parser.last_event_id and self.first is None:
                self.first = place(self.parser.last_event_id)
        self.last_id = self.parser.last_event_id


def place(event_id: str | None) -> int:
    return int((event_id or "-0").rpartition("-")[2])


class Channels(RuleBasedStateMachine):
    """Publishing and following, step by step."""

    retention = Retention(events=None, bytes=None, age=None)

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.published: list[tuple[int, str, str | None, str]] = []
        self.clients: list[Client] = []
        self.run(self.make)

    async def make(self) -> None:
        self.broker = Broker(retention=self.retention)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.loop.run_until_complete(function(*arguments))

    def turn(self) -> None:
        self.run(asyncio.sleep, 0)

    @initialize(size=st.sampled_from([1, 150, 400, SIZE]))
    def cut_small(self, size: int) -> None:
        # Pieces of a few events, so that a turn has many of them.
        set_size(size)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            try:
                self.finish()
            finally:
                set_size(SIZE)
                self.loop.close()

    def finish(self) -> None:
        # Everybody reads to the end; then the books are balanced.
        self.turn()
        for client in self.clients:
            if client.wire is None:
                self.connect(client, 10**9)
        for _ in range(1_000):
            for client in self.clients:
                assert client.wire is not None
                client.wire.drain(10**9)
            self.turn()
            if not self.broker.stats.behind:
                break
        for client in self.clients:
            client.look()
            self.check(client)
        assert self.broker.stats.behind == 0
        for client in self.clients:
            assert client.wire is not None
            client.wire.cut()
        assert self.broker.stats.subscribers == self.broker.stats.channels == 0
        self.run(self.broker.close)
        self.turn()

    def connect(self, client: Client, room: int) -> None:
        wire = client.wire = Wire(room)
        client.parser, client.parsed = EventParser(client.last_id), 0
        stream: Any = FakeStream(wire, client.last_id or None)

        async def subscribe() -> None:
            await self.broker.subscribe(stream, *client.channels, start=client.start)

        self.run(subscribe)

    @rule(channel=st.sampled_from(CHANNELS), key=st.sampled_from(KEYS), size=st.sampled_from([0, 5, 300]))
    def publish(self, channel: str, key: str | None, size: int) -> None:
        text = f"{len(self.published)} {'x' * size}"

        async def publish() -> str:
            return await self.broker.publish(channel, text, key=key, serializer="text")

        self.published.append((place(self.run(publish)), channel, key, text))

    @rule(channels=st.lists(st.sampled_from(CHANNELS), min_size=2, max_size=12))
    def publish_in_one_turn(self, channels: list[str]) -> None:
        async def publish() -> list[str]:
            waiting = []
            for number, channel in enumerate(channels):
                text = f"{len(self.published) + number} burst"
                waiting.append(self.broker.publish(channel, text, serializer="text"))
            return [await each for each in waiting]

        for channel, event_id in zip(channels, self.run(publish), strict=True):
            self.published.append((place(event_id), channel, None, f"{len(self.published)} burst"))

    @rule()
    def end_of_turn(self) -> None:
        self.turn()

    @rule(
        channels=st.sets(st.sampled_from(CHANNELS), min_size=1),
        start=st.sampled_from(["new", "new", "earliest", "state"]),
        room=st.sampled_from([0, 40, 100, 200, 400, 10**9]),
    )
    def come(self, channels: set[str], start: str, room: int) -> None:
        if len(self.clients) < 4:
            client = Client(tuple(sorted(channels)), start)
            self.clients.append(client)
            self.connect(client, room)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), room=st.sampled_from([1, 20, 100, 400, 10**9]))
    def take(self, data: st.DataObject, room: int) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if client.wire is not None:
            client.wire.drain(room)
            client.look()

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def write_something_else(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if client.wire is not None:
            client.wire.transmit(b"event: own\ndata: y\n\n")

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), room=st.sampled_from([0, 40, 100, 200, 400, 10**9]))
    def cut_or_come_back(self, data: st.DataObject, room: int) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if client.wire is None:
            self.connect(client, room)
        else:
            client.look()
            client.wire.cut()
            client.wire = None

    @invariant()
    def the_books_are_in_order(self) -> None:
        if hasattr(self, "broker"):
            assert self.broker.stats.subscribers == sum(client.wire is not None for client in self.clients)

    def check(self, client: Client) -> None:
        events = [event for event in client.events if event.type == "message"]
        places = [place(event.id) for event in events]
        assert places == sorted({*places}), "once, and in order"
        by_place = {where: (channel, key, text) for where, channel, key, text in self.published}
        for event in events:
            channel, key, text = by_place[place(event.id)]
            assert channel in client.channels
            assert event.data == text
        gaps = [json.loads(event.data) for event in client.events if event.type == "gap"]
        assert all(gap["reason"] == "expired" for gap in gaps)
        if client.start == "new" and client.first is not None:
            self.check_complete(client, {*places}, client.first, gaps)
        # Whoever follows a channel ends with the latest event of each key that it was there for.
        latest: dict[tuple[str, str], tuple[int, str]] = {}
        for where, channel, key, text in self.published:
            if key is not None:
                latest[channel, key] = (where, text)
        for (channel, _), (where, _) in latest.items():
            if channel in client.channels and (client.start != "new" or where > (client.first or 0)):
                assert where in places, "the latest of a key"

    def check_complete(
        self, client: Client, places: set[int], first: int, gaps: list[dict[str, Any]]
    ) -> None:
        for where, channel, key, _ in self.published:
            if channel in client.channels and where > first and key is None and where not in places:
                assert any(
                    gap["channel"] == channel and place(gap["after"]) < where <= place(gap["until"])
                    for gap in gaps
                ), f"{where} is missing, and no gap tells of it"
                assert self.retention.events is not None, "nothing is ever dropped"


class ForgetfulChannels(Channels):
    """The same with a log that keeps little: what is missing must have been told."""

    retention = Retention(events=4, bytes=None, age=None)


_settings = settings(
    max_examples=400, stateful_step_count=60, deadline=None, suppress_health_check=[*HealthCheck]
)
TestChannels = Channels.TestCase
TestChannels.settings = _settings
TestForgetfulChannels = ForgetfulChannels.TestCase
TestForgetfulChannels.settings = _settings
