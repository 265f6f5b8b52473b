from __future__ import annotations

import pytest

from tests.serving import Client, body_of, serving
from tests.support import Logs, until
from tornado_sse.server import Grant, ServerOptions

pytestmark = pytest.mark.gen_test

ANYBODY = Grant(None, publish=("*",))


async def test_what_is_published_is_streamed(io_loop: object) -> None:
    async with serving(ServerOptions(grants=(ANYBODY,))) as client:
        it = await client.follow("/channels/a?channel=b&channel=c")
        for channel in "abcd":
            await client.post(f"/channels/{channel}?event=e", channel)
        events = await it.events(3)
    assert [(each.type, each.data) for each in events] == [("e", "a"), ("e", "b"), ("e", "c")]


@pytest.mark.parametrize("by", ["header", "query", "start"])
async def test_a_client_resumes(io_loop: object, by: str) -> None:
    async with serving(ServerOptions(grants=(ANYBODY,))) as client:
        ids = [(await client.post("/channels/a", str(i)))[1]["id"] for i in range(3)]
        if by == "header":
            it = await client.get("/channels/a", Last_Event_ID=ids[0])
        else:
            it = await client.get(f"/channels/a?{'last_event_id' if by == 'query' else 'start'}={ids[0]}")
        assert [each.data for each in await it.events(2)] == ["1", "2"]


async def test_a_client_begins_where_it_says(io_loop: object) -> None:
    async with serving(ServerOptions(grants=(ANYBODY,))) as client:
        for i in range(3):
            await client.post("/channels/a?key=k", str(i))
        assert (await (await client.get("/channels/a?start=state")).event()).data == "2"
        await client.post("/channels/b", "first")
        assert (await (await client.get("/channels/b?start=earliest")).event()).data == "first"


async def test_a_name_that_no_channel_has_is_a_400(io_loop: object) -> None:
    async with serving(ServerOptions()) as client:
        for name in (
            "",
            "..",
            "%2e%2e",
            "a%2Fb",
            "a%00",
            "%20",
            "%2A",
            "%3E",
            "%E2%82%AC",
            "a" * 201,
            "a?channel=*",
        ):
            it = await client.get(f"/channels/{name}")
            assert (it.status, (await body_of(it))["error"][:29]) == (400, "a channel's name has 1 to 200"), (
                name
            )
        assert (await client.get("/channels/%ff")).status == 400
        assert (await client.get("/channels/a/b")).status == 404
        assert (await client.get("/channels/a?start=nowhere")).status == 400
        many = "&".join(f"channel=c{i}" for i in range(100))
        assert (await client.get(f"/channels/a?{many}")).status == 400


SECRET = ServerOptions(
    grants=(Grant("s", subscribe=("*",)), Grant("p", publish=("*",)), Grant(None, subscribe=("open",)))
)


async def test_a_token_is_asked_for(io_loop: object) -> None:
    async with serving(SECRET) as client:
        for path in ("/channels/a", "/channels/open?channel=a"):
            it = await client.get(path)
            assert it.status == 401
            assert it.headers["Www-Authenticate"].startswith("Bearer")
            assert "a token is needed to follow a" in (await body_of(it))["error"]
            assert (await client.get(path, method="HEAD")).status == 401
        assert (await client.get("/channels/a", Authorization="Bearer nobodys")).status == 401
        assert (await client.get("/channels/a", Authorization="Bearer p")).status == 403
        assert (await client.get("/channels/a", Authorization="Basic s")).status == 401
        assert (await client.get("/channels/a?access_token=p")).status == 403
        assert (await client.get("/channels/a?access_token=nobodys")).status == 401
        await client.follow("/channels/a", Authorization="bearer s")
        await client.follow("/channels/a?access_token=s")
        await client.follow("/channels/open")


async def test_a_token_in_the_query_is_not_logged(io_loop: object, logs: Logs) -> None:
    async with serving(SECRET) as client:
        it = await client.follow("/channels/a?access_token=s")
        for path in (
            "/channels/a?access_token=nobodys",
            "/nothing?access_token=s",
            "/channels/a?access_token=s&start=x",
        ):
            assert (await client.get(path)).status >= 400
        it.close()
        await until(lambda: any("disconnected" in each for each in logs.messages()))
    lines = [record.getMessage() for record in logs.records]
    assert len(lines) == 5
    assert all("access_token" in line and "=s" not in line and "nobodys" not in line for line in lines)


async def test_get_changes_nothing(io_loop: object) -> None:
    async with serving(ServerOptions(grants=(ANYBODY,))) as client:
        it = await client.follow("/channels/a")
        assert (await client.get("/channels/a?event=e&data=x", method="HEAD")).status == 200
        await client.follow("/channels/a?event=e&data=x")
        assert (await client.get("/publish?channel=a&data=x")).status == 405
        await client.post("/channels/a", "posted")
        assert (await it.event()).data == "posted"


async def test_other_methods_are_told_what_there_is(io_loop: object) -> None:
    async with serving(ServerOptions()) as client:
        for method in ("PUT", "DELETE", "PATCH"):
            it = await client.get("/channels/a", method=method)
            assert (it.status, it.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")


async def preflight(client: Client, origin: str) -> tuple[int, str | None, str | None]:
    it = await client.get(
        "/channels/a",
        method="OPTIONS",
        Origin=origin,
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="authorization,idempotency-key",
    )
    headers = it.headers
    return it.status, headers.get("Access-Control-Allow-Origin"), headers.get("Access-Control-Allow-Headers")


async def test_pages_of_listed_origins_may_ask_and_others_may_not(io_loop: object) -> None:
    async with serving(
        ServerOptions(streams={"allowed_origins": frozenset({"https://a.example"})})
    ) as client:
        asked = "authorization,idempotency-key"
        assert await preflight(client, "https://a.example") == (204, "https://a.example", asked)
        assert (await preflight(client, "https://b.example"))[:2] == (403, None)
        it = await client.follow("/channels/a", Origin="https://a.example")
        assert it.headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert (await client.get("/channels/a", Origin="https://b.example")).status == 403
    async with serving(ServerOptions()) as client:
        assert (await preflight(client, "https://a.example"))[1] is None


async def test_an_address_has_its_share(io_loop: object) -> None:
    async with serving(ServerOptions(streams={"max_streams_per_address": 1, "max_streams": 2})) as client:
        await client.follow("/channels/a")
        it = await client.get("/channels/a")
        assert it.status == 429
        assert it.headers["Retry-After"]
