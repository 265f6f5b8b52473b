from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import tornado.httpserver
import tornado.web
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

from tests.support import Connect, Connection, Logs, until
from tests.test_model import FakeStream, Wire
from tornado_sse import (
    BackendNotFoundError,
    Broker,
    BrokerClosedError,
    EncodeError,
    Event,
    EventParser,
    InvalidChannelError,
    InvalidEventError,
    Observer,
    Reason,
    Retention,
    SerializerNotFoundError,
    SSEHandler,
    Stream,
    SubscribeError,
)

pytestmark = pytest.mark.gen_test

Serve = Callable[..., None]


class Follow(SSEHandler):
    """Follows the channels of its path, as a query parameter says."""

    async def open(self, channels: str) -> None:
        await self.subscribe(*channels.split("+"), start=self.get_query_argument("start", "new"))


@pytest.fixture
def broker(serve: Serve) -> Broker:
    broker = Broker()
    serve(Follow, sse_broker=broker)
    return broker


async def follow(
    connect: Connect, path: str, last_event_id: str | None = None, status: int = 200
) -> Connection:
    headers = [] if last_event_id is None else [("Last-Event-ID", last_event_id)]
    it = await (await connect()).request(f"/follow/{path}", headers=headers)
    assert it.status == status
    return it


def stream(wire: Wire, last_event_id: str | None = None) -> Any:
    """Return a stream over a wire of the test's."""
    return FakeStream(wire, last_event_id)


def failed(logs: Logs, message: str) -> None:
    """Claim the records of a request that an exception has ended."""
    (record,) = logs.claim("Uncaught exception")
    assert record.exc_info is not None
    assert re.search(message, str(record.exc_info[1]))
    logs.claim("500 GET")


def payloads(events: list[Event]) -> list[Any]:
    return [json.loads(event.data) for event in events]


# Publishing


async def test_an_event_reaches_all_who_follow_its_channel_and_nobody_else(
    broker: Broker, connect: Connect
) -> None:
    one, two, other = [await follow(connect, path) for path in ("news", "news", "weather")]
    event_id = await broker.publish("news", {"n": 1}, event="headline")
    last_id = await broker.publish("weather", "rain", serializer="text")
    expected = Event('{"n":1}', "headline", event_id, codec="json")
    assert await one.event() == await two.event() == expected
    assert await other.event() == Event("rain", "message", last_id)


async def test_ids_count_the_events_of_all_channels_within_one_epoch(broker: Broker) -> None:
    ids = [await broker.publish(channel, 0) for channel in "aba"]
    epoch = ids[0].partition("-")[0]
    assert ids == [f"{epoch}-1", f"{epoch}-2", f"{epoch}-3"]
    other = Broker()
    assert not (await other.publish("a", 0)).startswith(epoch)
    await other.close()


async def test_the_events_of_one_turn_arrive_as_one_chunk_in_the_order_of_the_calls(
    broker: Broker, connect: Connect
) -> None:
    it = await follow(connect, "a+b")
    await it.read_some()  # the primer
    for n in range(50):
        broker.publish("ab"[n % 2], n)  # not awaited
    piece = await it.read_some()
    assert [int(line[6:]) for line in piece.splitlines() if line.startswith(b"data: ")] == [*range(50)]


async def test_a_large_turn_arrives_in_several_chunks_of_whole_events(
    broker: Broker, connect: Connect
) -> None:
    it = await follow(connect, "a")
    await it.read_some()
    for n in range(40):
        broker.publish("a", f"{n} {'x' * 10_000}", serializer="text")
    pieces = [await it.read_some() for _ in range(7)]
    assert all(piece.startswith(b"id: ") and piece.endswith(b"\n\n") for piece in pieces)
    assert b"".join(pieces).count(b"data: ") == 40


async def test_a_publisher_that_never_waits_for_anything_lets_others_run(broker: Broker) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for n in range(1_000):
        await broker.publish("a", n)
    counting.cancel()
    assert turns >= 10


async def test_what_a_publisher_never_awaits_does_not_pile_up(broker: Broker, connect: Connect) -> None:
    it = await follow(connect, "a")
    for n in range(50):
        broker.publish("a", f"{n} {'x' * 100_000}", serializer="text")
    # All within this turn, and yet most of it is under way: a megabyte at most is gathered.
    fanout = broker._fanout
    assert fanout is not None
    assert sum(len(record.frame) for record in fanout._turn) <= 1024 * 1024
    assert [event.data.split()[0] for event in await it.events(50)] == [str(n) for n in range(50)]


@pytest.mark.parametrize(
    ("error", "arguments", "options"),
    [
        (InvalidChannelError, ("a b", 1), {}),
        (InvalidChannelError, ("", 1), {}),
        (InvalidChannelError, (None, 1), {}),
        (EncodeError, ("a", float("nan")), {}),
        (SerializerNotFoundError, ("a", 1), {"serializer": "morse"}),
        (InvalidEventError, ("a", 1), {"event": "two\nlines"}),
        (InvalidEventError, ("a", 1), {"key": "two\nlines"}),
        (InvalidEventError, ("a", 1), {"key": 7}),
        (InvalidEventError, ("a", 1), {"key": ""}),
        (InvalidEventError, ("a", 1), {"message_id": "two\nlines"}),
        (InvalidEventError, ("a", 1), {"message_id": ""}),
        (InvalidEventError, ("a", 1), {"message_id": 7}),
        (InvalidEventError, ("a", 1), {"message_id": "x" * 201}),
        (EncodeError, ("a", "\ud800"), {"serializer": "text"}),
    ],
)
async def test_what_can_not_be_published_leaves_no_trace(
    broker: Broker, connect: Connect, error: type[Exception], arguments: Any, options: Any
) -> None:
    it = await follow(connect, "a")
    with pytest.raises(error):
        broker.publish(*arguments, **options)
    assert (await broker.publish("a", "good")).endswith("-1")
    assert (await it.event()).data == '"good"'


async def test_what_is_published_again_is_published_once(broker: Broker, connect: Connect) -> None:
    it = await follow(connect, "a")
    first = await broker.publish("a", 1, message_id="m")
    assert await broker.publish("a", 1, message_id="m") == first
    second = await broker.publish("a", 2, message_id="n" * 200)
    assert [event.id for event in await it.events(2)] == [first, second]


async def test_the_broker_s_serializer_is_the_default(connect: Connect, serve: Serve) -> None:
    broker = Broker(serializer="text")
    serve(Follow, sse_broker=broker)
    it = await follow(connect, "a")
    await broker.publish("a", "as it is")
    assert await it.event() == Event("as it is", "message", f"{broker._backend.epoch}-1")


async def test_a_closed_broker_says_so(broker: Broker, connect: Connect, logs: Logs) -> None:
    it = await follow(connect, "a")
    await broker.publish("a", 1)
    await broker.close()
    await broker.close()
    await it.rest()
    assert it.complete
    assert b"data: 1\n" in it.body
    with pytest.raises(BrokerClosedError, match="closed"):
        broker.publish("a", 1)
    with pytest.raises(BrokerClosedError, match="closed"):
        await broker.start()
    refused = await follow(connect, "a", status=503)
    assert int(refused.headers["Retry-After"]) > 0
    logs.claim("503 GET /follow/a", count=2)


async def test_a_broker_can_be_a_context() -> None:
    async with Broker() as broker:
        await broker.publish("a", 1)
    with pytest.raises(BrokerClosedError):
        broker.publish("a", 1)


def test_a_url_that_no_backend_serves() -> None:
    with pytest.raises(BackendNotFoundError, match="sqlite"):
        Broker("gopher://example")


async def test_retention_may_depend_on_the_channel(connect: Connect, serve: Serve) -> None:
    broker = Broker(retention=lambda channel: Retention(events=len(channel)))
    serve(Follow, sse_broker=broker)
    for n in range(5):
        await broker.publish("a", n)
        await broker.publish("bbb", n)
    it = await follow(connect, "a+bbb?start=earliest")
    assert payloads(await it.events(4)) == [2, 3, 4, 4]


# Subscribing


async def test_a_stream_begins_with_the_current_id_and_a_reconnection_time(
    broker: Broker, connect: Connect
) -> None:
    event_id = await broker.publish("other", 1)
    it = await follow(connect, "a")
    first, second, rest = (await it.read_some()).split(b"\n", 2)
    assert first == f"id: {event_id}".encode()
    assert 1_000 <= int(second.removeprefix(b"retry: ")) <= 3_000
    assert rest == b"\n"


async def test_the_reconnection_time_is_sse_retry_more_or_less_and_differs(
    broker: Broker, connect: Connect, serve: Serve
) -> None:
    serve(sse_retry=10.0)
    times = set()
    for _ in range(20):
        it = await follow(connect, "a")
        times.add(int((await it.read_some()).split()[3]))
    assert len(times) > 10
    assert all(5_000 <= time <= 15_000 for time in times)


async def test_without_a_primer_nothing_comes_before_the_first_event(
    broker: Broker, connect: Connect, serve: Serve
) -> None:
    serve(sse_primer=False)
    await broker.publish("k", 1, key="x")
    for path in ("a", "k", "k?start=state"):
        it = await follow(connect, path)
        await until(lambda: broker.stats.subscribers)
        await broker.publish(path[0], "now")
        await it.event()
        if "state" in path:
            await it.event()
        assert it.body.startswith(b"id: ")
        assert b"retry" not in it.body
        assert it.body.count(b"\n\n") == it.body.count(b"data: ")
        it.close()
        await until(lambda: not broker.stats.subscribers)


async def test_without_a_primer_sse_retry_joins_the_first_event(
    broker: Broker, connect: Connect, serve: Serve
) -> None:
    serve(sse_primer=False, sse_retry=4)
    it = await follow(connect, "a")
    assert (await it.read_some()).startswith(b"retry: ")
    await broker.publish("a", 1)
    await it.event()
    assert it.body.count(b"\n\n") == 1
    assert 2_000 <= int(it.body.split()[1]) <= 6_000


@pytest.mark.parametrize("by", ["header", "query", "both"])
async def test_a_client_resumes_from_its_id(broker: Broker, connect: Connect, by: str) -> None:
    ids = [await broker.publish("a", n) for n in range(10)]
    await broker.publish("b", "elsewhere")
    path = "a" if by == "header" else f"a?last_event_id={ids[6] if by == 'query' else ids[2]}"
    it = await follow(connect, path, None if by == "query" else ids[6])
    assert payloads(await it.events(3)) == [7, 8, 9]
    await broker.publish("a", "live")
    assert (await it.event()).data == '"live"'
    assert (await it.read_some() if it.body.count(b"data") > 4 else b"") == b""


async def test_one_id_serves_any_set_of_channels(broker: Broker, connect: Connect) -> None:
    ids = [await broker.publish("abc"[n % 3], n) for n in range(12)]
    it = await follow(connect, "a+c", ids[4])  # an id of channel b
    assert payloads(await it.events(5)) == [5, 6, 8, 9, 11]
    it = await follow(connect, "b", ids[2])
    assert payloads(await it.events(3)) == [4, 7, 10]


async def test_a_client_that_saw_nothing_but_the_primer_misses_nothing(
    broker: Broker, connect: Connect
) -> None:
    it = await follow(connect, "a")
    primer = (await it.read_some()).split()[1].decode()
    it.reset()
    await broker.publish("a", "while it was away")
    it = await follow(connect, "a", primer)
    assert (await it.event()).data == '"while it was away"'


async def test_the_earliest_start_is_all_that_is_retained(broker: Broker, connect: Connect) -> None:
    for n in range(5):
        await broker.publish("ab"[n % 2], n)
    it = await follow(connect, "a+b?start=earliest")
    assert payloads(await it.events(5)) == [0, 1, 2, 3, 4]


async def test_the_earliest_start_of_a_channel_that_has_lost_its_first_events_is_no_gap(
    connect: Connect, serve: Serve
) -> None:
    broker = Broker(retention=Retention(events=3))
    serve(Follow, sse_broker=broker)
    for n in range(10):
        await broker.publish("a", n)
    it = await follow(connect, "a?start=earliest")
    assert payloads(await it.events(3)) == [7, 8, 9]
    primer = it.body.split()[1].decode()
    # And whoever is cut after the primer gets the same.
    it = await follow(connect, "a", primer)
    assert payloads(await it.events(3)) == [7, 8, 9]


async def test_an_id_as_the_start_is_for_clients_that_have_none(broker: Broker, connect: Connect) -> None:
    ids = [await broker.publish("a", n) for n in range(5)]
    it = await follow(connect, f"a?start={ids[2]}")
    assert payloads(await it.events(2)) == [3, 4]
    it = await follow(connect, f"a?start={ids[0]}", ids[3])
    assert payloads([await it.event()]) == [4]


async def test_state_begins_with_the_latest_event_of_every_key(broker: Broker, connect: Connect) -> None:
    await broker.publish("a", "without a key")
    for price in range(3):
        for symbol in ("AAPL", "MSFT"):
            await broker.publish("a", price, key=symbol)
    last = await broker.publish("a", "no key either")
    it = await follow(connect, "a?start=state")
    events = await it.events(2)
    assert payloads(events) == [2, 2]
    await broker.publish("a", "live")
    event = await it.event()
    assert event.data == '"live"'
    # After the state, before the first event: the client is where the log is.
    assert f"id: {last}\n\n".encode() in it.body


async def test_state_without_any_key_begins_with_the_present(broker: Broker, connect: Connect) -> None:
    last = await broker.publish("a", "past")
    it = await follow(connect, "a?start=state")
    assert (await it.read_some()).startswith(f"id: {last}\nretry: ".encode())
    await broker.publish("a", "live")
    assert (await it.event()).data == '"live"'


async def test_a_client_that_resumes_skips_what_has_been_replaced(broker: Broker, connect: Connect) -> None:
    first = await broker.publish("a", "first")
    for price in range(100):
        await broker.publish("a", price, key="AAPL")
        if price == 50:
            await broker.publish("a", "news")
    it = await follow(connect, "a", first)
    assert payloads(await it.events(2)) == ["news", 99]


@pytest.mark.parametrize(
    "name",
    ["..", "%2e%2e%2fetc", "a%00", "a%20b", "*", "%3e", "a" * 201, "%C3%A9", ".hidden", "-", "a+", "$x"],
)
async def test_a_name_that_no_channel_can_have_is_a_bad_request(
    broker: Broker, connect: Connect, name: str, logs: Logs
) -> None:
    class Named(SSEHandler):
        async def open(self) -> None:
            await self.subscribe(*self.get_query_argument("c", strip=False).split("+"))

    it = await connect()
    (await it.request(f"/follow/{name.replace('+', '%2B')}")) if "/" not in name else None
    assert it.status == 400, it.status
    assert broker.stats.channels == 0
    logs.claim("400 GET ", count=2)


@pytest.mark.parametrize("query", ["", "&".join(f"c=n{n}" for n in range(101)), "c=a&start=earlist"])
async def test_what_a_request_may_ask_for_wrongly_is_a_bad_request(
    broker: Broker, connect: Connect, serve: Serve, logs: Logs, query: str
) -> None:
    class Asked(SSEHandler):
        async def open(self) -> None:
            await self.subscribe(*self.get_arguments("c"), start=self.get_argument("start", "new"))

    serve(Asked)
    it = await (await connect()).request(f"/asked?{query}")
    assert it.status == 400
    logs.claim("400 GET /asked", count=2)


async def test_a_stream_subscribes_once(broker: Broker, connect: Connect, serve: Serve) -> None:
    errors: list[str] = []

    class Twice(SSEHandler):
        async def open(self) -> None:
            await self.subscribe("a")
            with pytest.raises(SubscribeError) as caught:
                await self.subscribe("b")
            errors.append(str(caught.value))

    serve(Twice)
    it = await (await connect()).request("/twice")
    await it.read_some()
    assert errors == ["a stream subscribes once; name all channels in one call"]
    await broker.publish("a", 1)
    assert (await it.event()).data == "1"


async def test_whoever_resumes_in_the_turn_of_its_event_does_not_get_it_again(broker: Broker) -> None:
    other = Wire(10**9)
    await broker.subscribe(stream(other), "a")  # somebody follows, so there is a turn to wait for
    wire = Wire(10**9)
    event_id = await broker.publish("a", 1)
    await broker.subscribe(stream(wire, event_id), "a")
    await asyncio.sleep(0)
    assert b"data: 1" in other.socket.taken
    assert b"data: 1" not in wire.socket.taken
    await broker.publish("a", 2)
    await asyncio.sleep(0)
    assert wire.socket.taken.count(b"data: ") == 1


async def test_a_log_that_begins_anew_while_somebody_subscribes_is_begun_with_again(broker: Broker) -> None:
    backend = broker._backend
    last = [await broker.publish("a", n) for n in range(50)][-1]
    await asyncio.sleep(0)

    async def snapshot(channel: str) -> Event:
        if backend.epoch != "anew":
            backend.epoch, backend.position = "anew", 3
            broker.on_records((), 3)
            broker.on_epoch()
        return Event("state", "snapshot")

    wire = Wire(10**9)
    await broker.subscribe(stream(wire), "a", start="state", snapshot=snapshot)
    assert b"id: anew-3\n" in wire.socket.taken
    assert last.encode() not in wire.socket.taken


async def test_a_large_state_waits_for_its_reader_and_not_in_memory(broker: Broker) -> None:
    for n in range(300):
        await broker.publish("a", f"{n} {'x' * 2_000}", key=str(n), serializer="text")
    wires = [Wire(1_000) for _ in range(20)]
    for wire in wires:
        await broker.subscribe(stream(wire), "a", start="state")
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(wire.waiting) <= 64 * 1024
    for _ in range(50):
        for wire in wires:
            wire.drain(10**9)
        await asyncio.sleep(0)
    for wire in wires:
        events = EventParser().feed(wire.socket.taken)
        assert [int(event.data.split()[0]) for event in events] == [*range(300)]
    assert broker.stats.behind == 0


async def test_revoking_a_stream_whose_first_bytes_wait_sends_them_no_more(
    connect: Connect, serve: Serve, http_server: object, http_port: int
) -> None:
    broker = Broker()

    class Mine(Follow):
        def get_current_user(self) -> str:
            return "eve"

    serve(Mine, sse_broker=broker)
    for n in range(500):
        await broker.publish("a", f"{n} {'x' * 16_000}", key=str(n), serializer="text")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", http_port))
        sock.sendall(b"GET /mine/a?start=state HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: broker.stats.behind)
        assert broker.revoke("eve") == 1
        await until(lambda: not broker.stats.subscribers)
        sock.setblocking(False)
        received = b""
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
                received += piece
    assert b"\ndata: 499 " not in received


async def test_revoking_while_authorize_is_asked_is_a_refusal(
    connect: Connect, serve: Serve, logs: Logs
) -> None:
    broker = Broker()
    asked, go = asyncio.Event(), asyncio.Event()

    class Slowly(Follow):
        def get_current_user(self) -> str:
            return "eve"

        async def authorize(self, channel: str) -> bool:
            asked.set()
            await go.wait()
            return True

    serve(Slowly, sse_broker=broker)
    it = await connect()
    request = asyncio.create_task(it.request("/slowly/a"))
    await asked.wait()
    broker.revoke("eve")
    go.set()
    await request
    assert it.status == 403
    logs.claim("403 GET")


async def test_an_observer_may_publish_in_the_middle_of_a_turn() -> None:
    class Talkative(Observer):
        talked = False

        def on_behind(self, channels: tuple[str, ...]) -> None:
            if not self.talked:
                self.talked = True
                broker.publish("z", "x" * 1_200_000, serializer="text")

    broker = Broker(observer=Talkative())
    slow, good = Wire(10**9), Wire(10**9)
    await broker.subscribe(stream(slow), "a")
    await broker.subscribe(stream(good), "a", "z")
    slow.socket.room = 5
    for n in range(3):
        broker.publish("a", f"{n} {'y' * 40_000}", serializer="text")
    for _ in range(3):
        await asyncio.sleep(0)
    ids = [line for line in good.socket.taken.splitlines() if line.startswith(b"id: ")]
    assert ids == sorted(ids)
    assert len(ids) == 5


async def test_closing_does_not_wait_for_ever_for_a_log_that_hangs(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(10**9)
    its = stream(wire)
    await broker.subscribe(its, "a")
    monkeypatch.setattr("tornado_sse.broker._PATIENCE", 0.05)
    monkeypatch.setattr(broker._backend, "sync", asyncio.Event().wait)
    await broker.close()
    assert its.reasons == [Reason.DRAINED]


async def test_a_channel_named_twice_is_followed_once(broker: Broker, connect: Connect) -> None:
    it = await follow(connect, "a+a")
    await broker.publish("a", 1)
    await broker.publish("a", 2)
    assert payloads(await it.events(2)) == [1, 2]


async def test_subscribing_without_a_broker_says_what_to_do(
    connect: Connect, serve: Serve, logs: Logs
) -> None:
    serve(Follow)
    await follow(connect, "a", status=500)
    failed(logs, r"Application\(..., sse_broker=Broker\(\)\)")


async def test_a_stream_that_follows_channels_takes_events_without_ids(
    broker: Broker, connect: Connect, serve: Serve
) -> None:
    streams: list[Stream] = []

    class Both(SSEHandler):
        async def open(self) -> None:
            await self.subscribe("a")
            streams.append(self.stream)
            with pytest.raises(InvalidEventError, match="follows channels"):
                self.stream.write("x", id=1)
            await self.stream.write("own", event="hello")

    serve(Both)
    it = await (await connect()).request("/both")
    assert (await it.event()).type == "hello"
    for n in range(100):
        streams[0].write(n, event="own")
        broker.publish("a", n, event="published")
    events = await it.events(200)
    assert payloads([event for event in events if event.type == "own"]) == [*range(100)]
    assert payloads([event for event in events if event.type == "published"]) == [*range(100)]


async def test_a_handler_may_be_a_subscriber_and_work_on(
    broker: Broker, connect: Connect, serve: Serve
) -> None:
    class Works(SSEHandler):
        async def open(self) -> None:
            async with self.stream:
                await self.subscribe("a")
                await broker.publish("a", "mine")
                await asyncio.Event().wait()

    serve(Works)
    it = await (await connect()).request("/works")
    assert (await it.event()).data == '"mine"'
    it.reset()
    await until(lambda: not broker.stats.subscribers)


async def test_over_tls_and_over_http_1_0(
    io_loop: IOLoop, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    broker = Broker()
    application = tornado.web.Application([("/([^/]+)", Follow)], sse_broker=broker)
    server = tornado.httpserver.HTTPServer(application, ssl_options=tls[0])
    (listener,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(listener)
    address = listener.getsockname()
    for version in ("1.1", "1.0"):
        first = await broker.publish("a", "first")
        its = [await Connection.open(*address, ssl=tls[1], server_hostname="localhost") for _ in range(3)]
        for it in its:
            await it.request("/a", version=version, headers=[("Last-Event-ID", first)])
        await until(lambda: broker.stats.subscribers == 3)
        for n in range(100):
            broker.publish("a", f"{n} {'x' * 5000}", serializer="text")
            if n % 10 == 0:
                await asyncio.sleep(0)
        for it in its:
            assert [int(event.data.split()[0]) for event in await it.events(100)] == [*range(100)]
            it.close()
        await until(lambda: not broker.stats.subscribers)
    await broker.close()
    server.stop()


async def test_http_1_0_beside_1_1(broker: Broker, connect: Connect) -> None:
    old = await (await connect()).request("/follow/a", version="1.0")
    new = await follow(connect, "a")
    await until(lambda: broker.stats.subscribers == 2)
    await broker.publish("a", 1)
    assert await old.event() == await new.event()
    await broker.close()
    await old.rest()
    assert old.complete


# Snapshots


class Shown(SSEHandler):
    async def open(self, channels: str) -> None:
        await self.subscribe(*channels.split("+"), start=self.get_query_argument("start", "new"))

    async def snapshot(self, channel: str) -> Any:
        return {"sum": 10}


async def test_a_snapshot_comes_after_a_gap_and_carries_the_position(connect: Connect, serve: Serve) -> None:
    broker = Broker(retention=Retention(events=2))
    serve(Shown, sse_broker=broker)
    ids = [await broker.publish("a", n) for n in range(10)]
    it = await (await connect()).request("/shown/a", headers=[("Last-Event-ID", ids[3])])
    gap, snapshot = await it.events(2)
    assert (gap.type, json.loads(gap.data)["reason"]) == ("gap", "expired")
    # A client that is cut between the two must be told again, so only the second moves it on.
    assert gap.id == ids[3]
    assert snapshot == Event('{"sum":10}', "snapshot", ids[9], codec="json")
    await broker.publish("a", "live")
    assert (await it.event()).data == '"live"'


async def test_a_snapshot_is_the_state_to_begin_with(connect: Connect, serve: Serve) -> None:
    broker = Broker()
    serve(Shown, sse_broker=broker)
    last = await broker.publish("a", 1, key="x")
    it = await (await connect()).request("/shown/a?start=state")
    assert (await it.event()).id == last
    await broker.publish("a", "live")
    assert (await it.event()).data == '"live"'
    it = await (await connect()).request("/shown/a")
    await until(lambda: broker.stats.subscribers == 2)
    await broker.publish("a", "and without")
    assert (await it.event()).data == '"and without"'


async def test_what_happens_while_a_snapshot_is_made_follows_it(connect: Connect, serve: Serve) -> None:
    broker = Broker()
    asked, go = asyncio.Event(), asyncio.Event()

    class Slow(Shown):
        async def snapshot(self, channel: str) -> Any:
            asked.set()
            await go.wait()
            return "state"

    serve(Slow, sse_broker=broker)
    it = await connect()
    request = asyncio.create_task(it.request("/slow/a?start=state"))
    await asked.wait()
    await broker.publish("a", "meanwhile")
    go.set()
    await request
    assert payloads(await it.events(2)) == ["state", "meanwhile"]


async def test_a_snapshot_may_be_an_event_or_nothing(connect: Connect, serve: Serve) -> None:
    broker = Broker()

    class Chosen(Shown):
        def snapshot(self, channel: str) -> Any:
            return Event("plain", "state") if channel == "a" else None

    serve(Chosen, sse_broker=broker)
    await broker.publish("b", "of b", key="k")
    it = await (await connect()).request("/chosen/a+b?start=state")
    events = await it.events(2)
    assert [(event.type, event.data) for event in events] == [("state", "plain"), ("message", '"of b"')]


async def test_a_snapshot_that_fails_is_an_ordinary_error_before_the_stream(
    connect: Connect, serve: Serve, logs: Logs
) -> None:
    class Fails(Shown):
        def snapshot(self, channel: str) -> Any:
            raise RuntimeError("no state")

    class HasId(Shown):
        def snapshot(self, channel: str) -> Any:
            return Event("x", id="7")

    broker = Broker()
    serve(Fails, HasId, sse_broker=broker)
    for path, message in (("fails", "no state"), ("has-id", "is the broker's to give")):
        it = await (await connect()).request(f"/{path}/a?start=state")
        assert it.status == 500
        failed(logs, message)
    assert broker.stats.channels == 0


async def test_stats(broker: Broker, connect: Connect) -> None:
    assert tuple(broker.stats) == (0, 0, 0, 0, 0)
    await follow(connect, "a+b")
    await follow(connect, "a")
    await until(lambda: broker.stats.subscribers == 2)
    await broker.publish("z", 1)
    assert broker.stats._asdict() == {
        "subscribers": 2, "behind": 0, "lag": 0, "channels": 2, "position": 1,
    }  # fmt: skip


async def test_settings_name_the_broker(serve: Serve, connect: Connect, logs: Logs) -> None:
    class Own(Follow):
        sse_broker = "not a broker"

    serve(Own)
    it = await (await connect()).request("/own/a")
    assert it.status == 500
    failed(logs, "sse_broker must be a Broker")
