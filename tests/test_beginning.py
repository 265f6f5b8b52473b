"""Ids of every kind: where their clients begin, and what they are told."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable

import pytest

from tests.support import Connect, Connection
from tornado_sse import Broker, Event, Retention, SSEHandler
from tornado_sse.beginning import STARTS, primer

pytestmark = pytest.mark.gen_test

Serve = Callable[..., None]


class Follow(SSEHandler):
    async def open(self, channels: str) -> None:
        await self.subscribe(*channels.split("+"), start=self.get_query_argument("start", "new"))


async def make(serve: Serve) -> Broker:
    """Return a broker with the positions 1 to 10 in channel a, of which 1 to 6 are gone, and 11 in b."""
    broker = Broker(retention=Retention(events=4))
    serve(Follow, sse_broker=broker)
    for n in range(1, 11):
        await broker.publish("a", n)
    await broker.publish("b", 11)
    return broker


async def resume(connect: Connect, path: str, last_event_id: str | bytes) -> Connection:
    it = await (await connect()).request(f"/follow/{path}", headers=[("Last-Event-ID", last_event_id)])
    assert it.status == 200
    return it


FOREIGN = [
    "42", "-1", "0", "$", ">", "+", "-", "*", "0-0-0", "18446744073709551616", "x" * 8000, '{"id":1}',
    "1; DROP TABLE events", "' OR 1=1 --", "../../etc/passwd", "urn:uuid:0", "🦀", b"\xff\xfe",
    "{epoch}", "{epoch}-", "{epoch}--1", "{epoch}-01", "{epoch}-+1", "{epoch}- 1", "{epoch}-1_0",
    "{epoch}-1.0", "{epoch}-0x1", "{epoch}-٣", "{epoch}-99999999999999999999999999", "{EPOCH}-3",
    "{epoch}-3,{epoch}-4", "{epoch}-3~",
]  # fmt: skip


@pytest.mark.parametrize("text", FOREIGN, ids=[repr(text)[:30] for text in FOREIGN])
async def test_an_id_that_no_log_has_written_is_one_gap_then_the_present(
    serve: Serve, connect: Connect, text: str | bytes
) -> None:
    broker = await make(serve)
    epoch = (await broker.publish("b", 12)).partition("-")[0]
    if isinstance(text, str):
        text = text.replace("{epoch}", epoch).replace("{EPOCH}", epoch.upper())
    it = await resume(connect, "a", text)
    assert await told(it) == gap("a", "malformed", epoch, None, 12, at=12)
    await broker.publish("a", "live")
    assert (await it.event()).data == '"live"'


async def told(it: Connection) -> Event:
    """Return the next event, a gap, without the reconnection time that has joined it."""
    return dataclasses.replace(await it.event(), retry=None)


def gap(channel: str, reason: str, epoch: str, after: int | None, until: int, at: int | None) -> Event:
    lost = {
        "channel": channel,
        "reason": reason,
        "after": None if after is None else f"{epoch}-{after}",
        "until": f"{epoch}-{until}",
    }
    data = json.dumps(lost, separators=(",", ":"))
    return Event(data, "gap", None if at is None else f"{epoch}-{at}", codec="json")


async def epoch_of(broker: Broker) -> str:
    await broker.start()
    return broker._backend.epoch


async def test_an_id_of_the_future_is_a_gap(serve: Serve, connect: Connect) -> None:
    broker = await make(serve)
    epoch = await epoch_of(broker)
    for position in (12, 13, 2**63 - 1, 9_999_999_999_999_999_999):
        it = await resume(connect, "a", f"{epoch}-{position}")
        assert await told(it) == gap("a", "future", epoch, None, 11, at=11)
    await broker.publish("a", "live")
    assert (await it.event()).data == '"live"'


async def test_an_id_of_another_epoch_is_a_gap(serve: Serve, connect: Connect) -> None:
    broker = await make(serve)
    epoch = await epoch_of(broker)
    for other in ("0123456789", "a", f"{epoch}0"):
        it = await resume(connect, "a", f"{other}-3")
        assert await told(it) == gap("a", "epoch", epoch, None, 11, at=11)


async def test_an_id_whose_successors_are_gone_is_a_gap_and_the_rest_follows(
    serve: Serve, connect: Connect
) -> None:
    broker = await make(serve)
    epoch = await epoch_of(broker)
    for position in (0, 1, 5):
        it = await resume(connect, "a", f"{epoch}-{position}")
        assert await told(it) == gap("a", "expired", epoch, position, 6, at=6)
        assert [event.data for event in await it.events(4)] == ["7", "8", "9", "10"]


async def test_an_id_whose_successors_are_all_there_is_none(serve: Serve, connect: Connect) -> None:
    broker = await make(serve)
    epoch = await epoch_of(broker)
    for position in range(6, 11):
        it = await resume(connect, "a", f"{epoch}-{position}")
        await broker.publish("a", "live")
        events = [await it.event()]
        while events[-1].data != '"live"':
            events.append(await it.event())
        assert all(event.type == "message" for event in events)
        break
    it = await resume(connect, "b", f"{epoch}-1")
    assert (await it.event()).data == "11"


async def test_each_channel_concerned_has_a_gap_of_its_own_and_no_other(
    serve: Serve, connect: Connect
) -> None:
    broker = await make(serve)
    epoch = await epoch_of(broker)
    it = await resume(connect, "a+b", f"{epoch}-2")
    # b has lost nothing: one gap, and then everything that is there.
    assert await told(it) == gap("a", "expired", epoch, 2, 6, at=6)
    assert [event.data for event in await it.events(5)] == ["7", "8", "9", "10", "11"]
    it = await resume(connect, "a+b", "nonsense")
    first, second = await told(it), await told(it)
    # The first of them must not move the client on, or the second would be lost with the connection.
    assert first == Event(gap("a", "malformed", epoch, None, 11, at=None).data, "gap", "", codec="json")
    assert second == gap("b", "malformed", epoch, None, 11, at=11)


async def test_a_gap_repeats_nothing_when_its_client_comes_back(serve: Serve, connect: Connect) -> None:
    broker = await make(serve)
    epoch = await epoch_of(broker)
    it = await resume(connect, "a", f"{epoch}-2")
    at = (await it.event()).id
    assert at is not None
    it = await resume(connect, "a", at)
    assert (await it.event()).data == "7"


async def test_after_a_gap_the_start_is_what_the_handler_says(serve: Serve, connect: Connect) -> None:
    broker = await make(serve)
    epoch = await epoch_of(broker)
    it = await resume(connect, "a+b?start=earliest", "nonsense")
    events = await it.events(7)
    assert [event.type for event in events] == ["gap"] * 2 + ["message"] * 5
    # Of a the events up to 6 are gone, of b there never was one that is.
    assert json.loads(events[0].data)["until"] == f"{epoch}-6"
    assert events[1] == gap("b", "malformed", epoch, None, 0, at=6)
    assert [event.data for event in events[2:]] == ["7", "8", "9", "10", "11"]
    await broker.publish("k", 1, key="x")
    await broker.publish("k", 2, key="y")
    it = await resume(connect, "k?start=state", "nonsense")
    events = await it.events(3)
    assert [event.data for event in events[1:]] == ["1", "2"]
    # Cut after the gap, its client must still get the state.
    assert events[0].id == f"{epoch}-11"


async def test_never_more_history_than_is_retained(serve: Serve, connect: Connect) -> None:
    broker = await make(serve)
    epoch = await epoch_of(broker)
    bodies = []
    for text in (f"{epoch}-0", "0", "", "$"):
        it = await resume(connect, "a?start=earliest", text)
        end = await broker.publish("a", "end")
        while (await it.event()).id != end:
            pass
        bodies.append(it.body)
    # What is retained, and at most a gap and the one that came later.
    assert [body.count(b"\ndata: ") for body in bodies] == [6, 6, 5, 6]


async def test_two_ids_that_contradict_each_other_are_malformed(serve: Serve, connect: Connect) -> None:
    broker = await make(serve)
    epoch = await epoch_of(broker)
    it = await connect()
    headers = [("Last-Event-ID", f"{epoch}-7"), ("Last-Event-ID", f"{epoch}-8")]
    await it.request("/follow/a", headers=headers)
    assert json.loads((await it.event()).data)["reason"] == "malformed"


async def test_an_empty_id_is_a_fresh_start(serve: Serve, connect: Connect) -> None:
    broker = await make(serve)
    it = await resume(connect, "a?last_event_id=", "")
    await broker.publish("a", "live")
    assert (await it.event()).data == '"live"'


async def test_a_keyed_event_older_than_the_gap_is_not_lost(serve: Serve, connect: Connect) -> None:
    broker = Broker(retention=Retention(events=2))
    serve(Follow, sse_broker=broker)
    first = await broker.publish("a", "first")
    await broker.publish("a", "kept", key="k")
    for n in range(10):
        await broker.publish("a", n)
    it = await resume(connect, "a", first)
    lost = await it.event()
    assert lost.type == "gap"
    assert [event.data for event in await it.events(3)] == ['"kept"', "8", "9"]
    # Also for a client that is cut right after the gap.
    assert lost.id is not None
    it = await resume(connect, "a", lost.id)
    rest = await it.events(4)
    assert [event.data for event in rest if event.type != "gap"] == ['"kept"', "8", "9"]


async def test_a_restart_of_a_log_in_memory_is_a_gap_not_a_wrong_replay(
    serve: Serve, connect: Connect
) -> None:
    broker = await make(serve)
    old = [await broker.publish("a", n) for n in range(3)]
    await broker.close()
    await asyncio.sleep(0)
    again = Broker()
    serve(sse_broker=again)
    for n in range(20):
        await again.publish("a", f"new {n}")
    it = await resume(connect, "a", old[0])
    assert json.loads((await it.event()).data)["reason"] == "epoch"
    await again.publish("a", "live")
    assert (await it.event()).data == '"live"'


def test_a_primer_is_no_event_but_moves_the_client() -> None:
    assert primer(7, "e", 1500, alone=True) == b"id: e-7\nretry: 1500\n\n"
    assert primer(7, "e", 1500, alone=False) == b"retry: 1500\n"
    assert STARTS == ("new", "earliest", "state")
