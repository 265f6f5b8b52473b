from __future__ import annotations

import asyncio
import json

import pytest

from tests.serving import Client, body_of, lines, serving
from tests.support import Connection, Logs, within
from tornado_sse import BackendError, Broker
from tornado_sse.server import Grant, ServerOptions
from tornado_sse.server.submission import LINES

pytestmark = pytest.mark.gen_test

OPEN = ServerOptions(grants=(Grant(None, publish=("*",)),), max_body=1000)
CLOSED = ServerOptions(grants=(Grant("t", publish=("*",)), Grant("some", publish=("prices.*",))))


async def test_what_curl_sends_is_published_as_it_is(io_loop: object) -> None:
    async with serving(OPEN) as client:
        it = await client.follow("/channels/a")
        form = "application/x-www-form-urlencoded"
        status, answer = await client.post("/channels/a", "a=1&b=%zz\r\nü", form)
        event = await it.event()
        assert (status, answer) == (200, {"id": event.id})
        assert (event.type, event.data, event.codec) == ("message", "a=1&b=%zz\nü", None)


async def test_json_is_checked_and_said_to_be_json(io_loop: object) -> None:
    async with serving(OPEN) as client:
        it = await client.follow("/channels/a")
        assert (await client.post("/channels/a", "{", "application/json"))[0] == 400
        await client.post("/channels/a", '{ "a": [1] }', "application/json")
        event = await it.event()
        assert (event.data, event.codec) == ('{"a":[1]}', "json")


async def test_event_key_serializer_and_id_come_by_query_or_by_header(io_loop: object) -> None:
    async with serving(OPEN) as client:
        it = await client.follow("/channels/a")
        first = await client.post("/channels/a?event=e%20%C3%BC&key=k&id=1&serializer=json", "x")
        again = await client.post(
            "/channels/a", "x", SSE_Event="e", SSE_Key="k", Idempotency_Key="1", SSE_Serializer="json"
        )
        assert first == again
        await client.post("/channels/a", "y", SSE_Event="grüß")
        events = await it.events(2)
        assert [(each.type, each.data, each.codec) for each in events] == [
            ("e ü", '"x"', "json"),
            ("grüß", "y", None),
        ]
        assert (await (await client.get("/channels/a?start=state")).event()).data == '"x"'


@pytest.mark.parametrize(
    ("path", "headers", "reason"),
    [
        ("/channels/a?evnt=x", {}, "there is no parameter 'evnt'; there are event, key, serializer, id"),
        ("/channels/a?access_token=t", {}, "there is no parameter 'access_token'"),
        ("/channels/a?event=", {}, "event must not be empty"),
        ("/channels/a?event=a&event=b", {}, "event is there more than once"),
        ("/channels/a?event=a%0Adata:%20b", {}, "must not contain CR, LF or NUL"),
        ("/channels/a?key=a%00", {}, "must not contain CR, LF or NUL"),
        ("/channels/a?event=a", {"SSE_Event": "a"}, "in the query and in a header"),
        ("/channels/a", {"SSE_Event": "\xff"}, "Invalid unicode in SSE-Event"),
        ("/channels/a?event=%ff", {}, "Invalid unicode"),
        (f"/channels/a?id={'x' * 201}", {}, "200 characters"),
        ("/channels/a?serializer=nope", {}, "no serializer is called 'nope'"),
        ("/channels/a%0Ab", {}, "a channel's name has"),
        ("/channels/..%2Fa", {}, "a channel's name has"),
        (f"/channels/{'a' * 10_000}", {}, "a channel's name has"),
        ("/channels/", {}, "a channel's name has"),
    ],
)
async def test_what_makes_no_sense_is_a_400_that_says_why(
    io_loop: object, path: str, headers: dict[str, str], reason: str
) -> None:
    async with serving(OPEN) as client:
        headers = {name: value.encode("latin-1") for name, value in headers.items()}  # type: ignore[misc]
        status, answer = await client.post(path, "x", **headers)
    assert status == 400
    assert reason in answer["error"]


async def test_lines_are_published_all_together(io_loop: object) -> None:
    async with serving(OPEN) as client:
        it = await client.follow("/channels/a?channel=b")
        body = lines([{"data": 1}, {"data": "x", "event": "e", "serializer": "text"}])
        _, answer = await client.post("/channels/a", body, LINES)
        events = await it.events(2)
        assert answer == {"ids": [each.id for each in events]}
        assert [(each.type, each.data) for each in events] == [("message", "1"), ("e", "x")]
        body = lines([{"channel": "b", "data": None}, {"channel": "a", "data": [], "id": "1"}])
        first = await client.post("/publish", body, LINES)
        assert [each.data for each in await it.events(2)] == ["null", "[]"]
        assert (await client.post("/publish", body, LINES))[1]["ids"][1] == first[1]["ids"][1]
        assert await client.post("/publish", "", LINES) == (200, {"ids": []})


async def test_one_bad_line_and_nothing_is_published(io_loop: object) -> None:
    async with serving(OPEN) as client:
        it = await client.follow("/channels/a")
        body = lines([{"channel": "a", "data": n} for n in range(5)])
        for bad in (
            '{"channel": "a"}',
            '{"channel": "", "data": 1}',
            "}",
            '{"channel": "a", "data": 1, "event": "\\n"}',
        ):
            status, answer = await client.post("/publish", body + bad, LINES)
            assert status == 400
            assert answer["error"].startswith("line 6: ")
        await client.post("/channels/a", "next")
        assert (await it.event()).data == "next"


async def test_one_channel_that_is_not_allowed_and_nothing_is_published(io_loop: object) -> None:
    async with serving(CLOSED) as client:
        it = await client.follow("/channels/prices.a?channel=news")
        body = lines([{"channel": "prices.a", "data": 1}, {"channel": "news", "data": 1}])
        status, answer = await client.post("/publish", body, LINES, Authorization="Bearer some")
        assert (status, answer) == (403, {"error": "publishing to news is not allowed"})
        assert (await client.post("/publish", body, LINES, Authorization="Bearer t"))[0] == 200
        assert [each.data for each in await it.events(2)] == ["1", "1"]


async def test_a_token_is_needed_and_in_the_header(io_loop: object) -> None:
    async with serving(CLOSED) as client:
        for headers in (
            {},
            {"Authorization": "Bearer x"},
            {"Authorization": "Basic dDp0"},
            {"Authorization": "Bearer"},
        ):
            assert (await client.post("/channels/a", "x", **headers))[0] == 401
        assert (await client.post("/channels/a?access_token=t", "x"))[0] == 401
        assert (await client.post("/channels/a", "x", Authorization="Bearer some"))[0] == 403
        assert (await client.post("/channels/a", "x", Authorization="Bearer t"))[0] == 200
    async with serving(ServerOptions(grants=(Grant("s", subscribe=("*",)),))) as client:
        assert (await client.post("/channels/a", "x", Authorization="Bearer s"))[0] == 403


async def test_a_refused_sender_is_answered_and_may_go_on(io_loop: object) -> None:
    async with serving(CLOSED) as client:
        it = await Connection.open("127.0.0.1", client.port)
        for token, status in (("x", 401), ("t", 200)):
            fields = [("Authorization", f"Bearer {token}")]
            await it.request("/channels/a", method="POST", headers=fields, body=b"x" * 500_000)
            assert it.status == status
            await body_of(it)
        it.close()


# Pages


async def from_page(client: Client, **headers: str) -> int:
    """Send what a form sends without being asked: text, and whatever the browser adds."""
    return (await client.post("/channels/a", "x=y", "text/plain", **headers))[0]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        # A page that its visitor's browser has been told is of this server (DNS rebinding).
        {"Origin": "http://test", "Sec_Fetch_Site": "same-origin"},
    ],
)
async def test_a_form_of_a_page_publishes_nothing(io_loop: object, headers: dict[str, str]) -> None:
    for options in (OPEN, CLOSED):
        async with serving(options) as client:
            assert await from_page(client, **headers) == 403


async def test_a_page_publishes_if_its_origin_is_listed(io_loop: object) -> None:
    origin = "https://a.example"
    options = ServerOptions(grants=OPEN.grants, streams={"allowed_origins": frozenset({origin})})
    async with serving(options) as client:
        assert await from_page(client, Origin=origin, Sec_Fetch_Site="cross-site") == 200
        assert await from_page(client, Origin="https://b.example") == 403
        it = await Connection.open("127.0.0.1", client.port)
        await it.request("/channels/..", method="POST", headers=[("Origin", origin)], body=b"x")
        assert (it.status, it.headers["Access-Control-Allow-Origin"]) == (400, origin)
        it.close()
    async with serving(ServerOptions(grants=OPEN.grants, streams={"allowed_origins": "*"})) as client:
        assert await from_page(client, Origin="https://b.example") == 200


async def test_a_page_of_this_site_publishes_with_a_token(io_loop: object) -> None:
    async with serving(CLOSED) as client:
        assert await from_page(client, Origin="https://test", Authorization="Bearer t") == 200
        assert await from_page(client, Origin="https://evil.example", Authorization="Bearer t") == 403


# Bodies


async def test_a_body_has_a_limit(io_loop: object) -> None:
    async with serving(OPEN) as client:
        assert (await client.post("/channels/a", "x" * 1000))[0] == 200
        status, answer = await client.post("/channels/a", "x" * 1001)
        assert (status, answer) == (413, {"error": "a body may have 1000 bytes"})


async def test_a_body_that_does_not_say_its_length_has_it_too(io_loop: object) -> None:
    async with serving(OPEN) as client:
        it = await Connection.open("127.0.0.1", client.port)
        await it.send("POST /channels/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            await it.send(b"190\r\n" + b"x" * 400 + b"\r\n")
        assert (await it.read_head()).status == 413
        assert await within(it.reader.read()) == b'{"error": "a body may have 1000 bytes"}\n'
        it.close()


async def test_a_body_in_chunks_is_put_together(io_loop: object) -> None:
    async with serving(OPEN) as client:
        stream = await client.follow("/channels/a")
        it = await Connection.open("127.0.0.1", client.port)
        await it.send("POST /channels/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await it.send(b"1\r\n\xc3\r\n1\r\n\xbc\r\n0\r\n\r\n")
        assert (await it.read_head()).status == 200
        assert (await stream.event()).data == "ü"
        it.close()


async def test_a_sender_that_goes_in_the_middle_publishes_nothing(io_loop: object) -> None:
    async with serving(OPEN) as client:
        stream = await client.follow("/channels/a")
        it = await Connection.open("127.0.0.1", client.port)
        await it.send("POST /channels/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        it.close()
        await client.post("/channels/a", "whole")
        assert (await stream.event()).data == "whole"


async def test_a_compressed_body_is_refused(io_loop: object) -> None:
    async with serving(OPEN) as client:
        assert (await client.post("/channels/a", "x", Content_Encoding="gzip"))[0] == 415


# The log


class Failing(Broker):
    """A broker whose log fails."""

    def publish(self, channel: str, *args: object, **options: object) -> asyncio.Future[str]:  # type: ignore[override]
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        future.set_exception(BackendError("test", "/var/secret is gone"))
        return future


async def test_a_log_that_fails_is_a_503_without_its_secrets(io_loop: object, logs: Logs) -> None:
    async with serving(OPEN, Failing()) as client:
        it = await Connection.open("127.0.0.1", client.port)
        await it.request("/channels/a", method="POST", body=b"x")
        assert (it.status, await body_of(it)) == (503, {"error": "Service Unavailable"})
        assert it.headers["Retry-After"]
        it.close()
    logs.claim("POST /channels/a from 127.0.0.1: .*/var/secret is gone")
    logs.claim("503 POST")


async def test_a_broker_that_is_closed_is_a_503(io_loop: object, logs: Logs) -> None:
    broker = Broker()
    async with serving(OPEN, broker) as client:
        await broker.close()
        status, answer = await client.post("/channels/a", "x")
        assert (status, answer["error"]) == (503, "this server is about to stop")
    logs.claim("503 POST")


async def test_others_have_their_turn_while_lines_are_read(io_loop: object) -> None:
    async with serving(ServerOptions(grants=OPEN.grants)) as client:
        body = lines({"data": number} for number in range(1000))
        _, answer = await client.post("/channels/a", body, LINES)
        assert len(answer["ids"]) == 1000
        too_many = body + json.dumps({"data": 1})
        assert (await client.post("/channels/a", too_many, LINES))[0] == 413
