from __future__ import annotations

import asyncio
import gc
import resource
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tornado.web
from tornado.iostream import IOStream

from tests.support import Connect, Connection, Logs, until
from tornado_sse import Settings, SSEHandler, Stream
from tornado_sse.capacity import Capacity

Serve = Callable[..., None]


def a_stream(**settings: Any) -> Stream:
    def connect(first: bytes) -> tuple[IOStream, bool]:
        raise AssertionError("nobody starts it")

    return Stream(connect, settings=Settings(**settings))


# The places


def test_there_are_as_many_places_as_the_limit_says() -> None:
    capacity = Capacity()
    first, second, third = (a_stream(max_streams=2) for _ in range(3))
    assert [capacity.acquire(each, "::1", None) for each in (first, second, third)] == [None, None, 503]
    assert capacity.used == 2
    assert capacity.streams == [first, second]
    capacity.release(first)
    assert capacity.acquire(third, "::1", None) is None
    assert Capacity().acquire(a_stream(max_streams=0), "::1", None) == 503


def test_without_a_limit_the_descriptors_are_the_limit() -> None:
    capacity = Capacity()
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors > 100_000:
        pytest.skip("that would be many streams")
    while capacity.acquire(a_stream(), "::1", None) is None:
        pass
    assert 0.8 * descriptors < capacity.used < descriptors


def test_an_address_and_a_user_have_a_share_of_their_own() -> None:
    capacity = Capacity()
    limits = {"max_streams_per_address": 2, "max_streams_per_user": 1}
    taken = [
        (address, user, capacity.acquire(a_stream(**limits), address, user))
        for address, user in [
            ("192.0.2.1", "ann"),
            ("192.0.2.2", "ann"),
            ("192.0.2.1", "bob"),
            ("192.0.2.1", "cid"),
            ("192.0.2.1", None),
            ("192.0.2.2", "cid"),
            ("192.0.2.3", None),
            ("192.0.2.3", None),
        ]
    ]
    assert [status for _, _, status in taken] == [None, 429, None, 429, 429, None, None, None]


def test_a_user_is_no_address_though_it_be_called_so() -> None:
    capacity = Capacity()
    limits = {"max_streams_per_address": 1, "max_streams_per_user": 1}
    assert capacity.acquire(a_stream(**limits), "192.0.2.1", "192.0.2.2") is None
    assert capacity.acquire(a_stream(**limits), "192.0.2.2", "192.0.2.1") is None


def test_who_is_refused_for_one_share_has_taken_nothing_of_another() -> None:
    capacity = Capacity()
    limits = {"max_streams_per_address": 2, "max_streams_per_user": 1}
    assert capacity.acquire(a_stream(**limits), "192.0.2.1", "ann") is None
    assert [capacity.acquire(a_stream(**limits), "192.0.2.1", "ann") for _ in range(5)] == [429] * 5
    assert capacity.acquire(a_stream(**limits), "192.0.2.1", "bob") is None


def test_a_share_may_depend_on_the_request() -> None:
    capacity = Capacity()
    assert capacity.acquire(a_stream(max_streams_per_user=1), "::1", "ann") is None
    assert capacity.acquire(a_stream(max_streams_per_user=1), "::1", "ann") == 429
    # A handler without that limit neither asks nor counts.
    unlimited = a_stream()
    assert capacity.acquire(unlimited, "::1", "ann") is None
    capacity.release(unlimited)
    assert capacity.acquire(a_stream(max_streams_per_user=1), "::1", "ann") == 429


def test_ten_thousand_come_and_go_and_nothing_is_left() -> None:
    capacity = Capacity()
    limits = {"max_streams_per_address": 3, "max_streams_per_user": 3}
    for i in range(10_000):
        streams = [a_stream(**limits) for _ in range(3)]
        for stream in streams:
            assert capacity.acquire(stream, f"192.0.2.{i}", i) is None
        assert capacity.acquire(a_stream(**limits), f"192.0.2.{i}", i) == 429
        for stream in streams:
            capacity.release(stream)
    assert (capacity.used, capacity.streams, dict(capacity._by_holder)) == (0, [], {})


def test_while_it_drains_there_is_no_place() -> None:
    capacity = Capacity()
    capacity.draining = True
    assert capacity.acquire(a_stream(), "::1", None) == 503


def test_an_application_has_one_count_which_does_not_keep_it_alive() -> None:
    application, other = tornado.web.Application([]), tornado.web.Application([])
    assert Capacity.of(application) is Capacity.of(application)
    assert Capacity.of(application) is not Capacity.of(other)
    gone = weakref.ref(application)
    del application
    gc.collect()
    assert gone() is None


# What requests see


class Mine(SSEHandler):
    """Stays open; its user is who the query says."""

    sse_max_streams_per_user = 2

    def get_current_user(self) -> Any:
        return self.get_query_argument("user", None)


@pytest.fixture
def refusals(logs: Logs) -> Iterator[Callable[[], int]]:
    """Expect the access log's lines of 429 and 503; return how many there have been."""
    claimed = 0

    def count() -> int:
        nonlocal claimed
        found = [
            r for r in logs.records if r.name == "tornado.access" and r.getMessage()[:3] in ("429", "503")
        ]
        logs.records = [record for record in logs.records if record not in found]
        claimed += len(found)
        return claimed

    yield count
    count()


def is_refusal(it: Connection, status: int) -> bool:
    return it.status == status and it.headers["Retry-After"].isdecimal() and not it.chunked


@pytest.mark.gen_test
async def test_a_user_with_too_many_streams_is_told_when_to_come_again(
    serve: Serve, connect: Connect, refusals: Callable[[], int], app: tornado.web.Application
) -> None:
    serve(Mine)
    first = await (await connect()).request("/mine?user=ann")
    second = await (await connect()).request("/mine?user=ann")
    assert (first.status, second.status) == (200, 200)
    assert is_refusal(await (await connect()).request("/mine?user=ann"), 429)
    assert (await (await connect()).request("/mine?user=bob")).status == 200
    assert [(await (await connect()).request("/mine")).status for _ in range(4)] == [200] * 4
    first.close()
    await until(lambda: Capacity.of(app).used == 6)
    assert (await (await connect()).request("/mine?user=ann")).status == 200
    assert is_refusal(await (await connect()).request("/mine?user=ann"), 429)
    assert refusals() == 2


@pytest.mark.gen_test
async def test_an_address_with_too_many_streams_is_refused_and_others_are_not(
    serve: Serve, connect: Connect, http_port: int, refusals: Callable[[], int]
) -> None:
    serve(Mine, sse_max_streams_per_address=2)
    assert [(await (await connect()).request("/mine")).status for _ in range(2)] == [200] * 2
    assert is_refusal(await (await connect()).request("/mine"), 429)
    elsewhere = await Connection.open("127.0.0.1", http_port, local_addr=("127.0.0.2", 0))
    assert (await elsewhere.request("/mine")).status == 200
    elsewhere.close()
    assert refusals() == 1


@pytest.mark.gen_test
async def test_an_application_that_is_full_says_so(
    serve: Serve, connect: Connect, refusals: Callable[[], int]
) -> None:
    serve(Mine, sse_max_streams=1)
    assert (await (await connect()).request("/mine")).status == 200
    assert is_refusal(await (await connect()).request("/mine"), 503)
    assert refusals() == 1


@pytest.mark.gen_test
async def test_a_place_comes_back_however_open_ends(
    serve: Serve, connect: Connect, logs: Logs, app: tornado.web.Application
) -> None:
    class Ends(SSEHandler):
        sse_max_streams_per_user = 1
        sse_max_streams_per_address = 1

        def get_current_user(self) -> str:
            return "ann"

        async def open(self, how: str) -> None:
            match how:
                case "refuses":
                    raise tornado.web.HTTPError(403)
                case "fails":
                    raise ZeroDivisionError
                case "fails-late":
                    self.stream.flush()
                    raise ZeroDivisionError
                case "finishes":
                    self.finish("no stream today")
                case "redirects":
                    self.redirect("/elsewhere")
                case "closes":
                    await self.stream.close()
                case "waits":
                    await asyncio.Event().wait()

    serve(Ends)
    statuses = {}
    for how in ("refuses", "fails", "fails-late", "finishes", "redirects", "closes", "waits", "stays"):
        it = await connect()
        if how == "waits":
            await it.send("GET /ends/waits HTTP/1.1\r\nHost: test\r\n\r\n")
            await until(lambda: Capacity.of(app).used == 1)
        else:
            statuses[how] = (await it.request(f"/ends/{how}")).status
        it.reset()
        await until(lambda: Capacity.of(app).used == 0)
        assert dict(Capacity.of(app)._by_holder) == {}, how
    assert list(statuses.values()) == [403, 500, 200, 200, 302, 200, 200]
    logs.claim("403 GET /ends/refuses")
    logs.claim("Uncaught exception GET /ends/fails", count=2)
    logs.claim("500 GET /ends/fails ")


@pytest.mark.gen_test
async def test_users_that_can_not_be_told_apart_are_an_error_and_not_unlimited(
    serve: Serve, connect: Connect, logs: Logs, app: tornado.web.Application
) -> None:
    class Dicts(SSEHandler):
        sse_max_streams_per_user = 1

        def get_current_user(self) -> dict[str, str]:
            return {"name": "ann"}

    serve(Dicts)
    assert (await (await connect()).request("/dicts")).status == 500
    assert Capacity.of(app).used == 0
    (failed,) = logs.claim("Uncaught exception GET /dicts")
    assert failed.exc_info is not None
    assert "users that can be told apart; get_current_user() returns a dict" in str(failed.exc_info[1])
    logs.claim("500 GET /dicts")


@pytest.mark.gen_test
async def test_the_user_is_not_asked_for_where_nobody_counts_users(serve: Serve, connect: Connect) -> None:
    class Costly(SSEHandler):
        def get_current_user(self) -> str:
            raise AssertionError("nobody needs to know")

    serve(Costly)
    assert (await (await connect()).request("/costly")).status == 200
