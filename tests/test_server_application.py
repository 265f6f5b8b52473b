from __future__ import annotations

import pytest
from tornado.web import RequestHandler

from tests.serving import body_of, serving
from tests.support import Connection
from tornado_sse import Broker
from tornado_sse.server import ServerOptions, make_application

pytestmark = pytest.mark.gen_test


async def test_the_routes_lead_where_they_say(io_loop: object) -> None:
    async with serving(ServerOptions()) as client:
        for path, method, status in [
            ("/channels/a", "HEAD", 200),
            ("/channels/a", "OPTIONS", 204),
            ("/publish", "GET", 405),
            ("/health", "GET", 200),
            ("/health", "HEAD", 200),
            ("/ready", "HEAD", 200),
            ("/health", "POST", 405),
            ("/ready", "GET", 200),
            ("/metrics", "GET", 404),
            ("/", "GET", 404),
            ("/channels", "GET", 404),
            ("/channels/a/b", "POST", 404),
        ]:
            it = await client.get(path, method=method)
            assert it.status == status, (method, path)


async def test_a_405_says_what_there_is(io_loop: object) -> None:
    async with serving(ServerOptions()) as client:
        assert (await client.get("/publish")).headers["Allow"] == "POST"
        assert (await client.get("/health", method="DELETE")).headers["Allow"] == "GET, HEAD"


async def test_a_404_says_what_there_is(io_loop: object) -> None:
    async with serving(ServerOptions()) as client:
        assert "/channels/<name>" in (await body_of(await client.get("/nothing?access_token=x")))["error"]


async def test_more_routes_may_be_given(io_loop: object) -> None:
    class More(RequestHandler):
        def get(self) -> None:
            self.finish("more")

    options = ServerOptions()
    backend = options.open_backend()
    server = make_application(options, Broker(backend), backend, ("/more", More)).listen(0, "127.0.0.1")
    (listener,) = server._sockets.values()
    it = await Connection.open(*listener.getsockname())
    assert (await it.request("/more")).status == 200
    it.close()
    server.stop()
