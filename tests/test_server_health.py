from __future__ import annotations

import pytest

from tests.serving import body_of, serving
from tests.support import Logs
from tornado_sse import BackendError
from tornado_sse.backends import Backend, MemoryBackend
from tornado_sse.capacity import Capacity
from tornado_sse.server import ServerOptions, make_application

pytestmark = pytest.mark.gen_test


async def test_a_server_is_up_and_ready(io_loop: object) -> None:
    async with serving(ServerOptions()) as client:
        it = await client.get("/health")
        assert (it.status, await body_of(it)) == (200, {"status": "up"})
        it = await client.get("/ready")
        assert (it.status, await body_of(it)) == (200, {"status": "ready"})


async def test_it_is_not_ready_while_the_log_is_away(
    io_loop: object, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    async with serving(ServerOptions()) as client:

        async def away(self: Backend) -> int:
            raise BackendError("test", "/var/secret is gone")

        with monkeypatch.context() as patch:
            patch.setattr(MemoryBackend, "sync", away)
            it = await client.get("/ready")
            assert (it.status, await body_of(it)) == (503, {"error": "the log does not answer"})
            assert (await client.get("/health")).status == 200
        assert (await client.get("/ready")).status == 200
    logs.claim("503 GET /ready")


async def test_it_is_not_ready_before_a_stop(
    io_loop: object, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    made = []

    def make(*arguments: object) -> object:
        made.append(make_application(*arguments))  # type: ignore[arg-type]
        return made[0]

    monkeypatch.setattr("tests.serving.make_application", make)
    async with serving(ServerOptions()) as client:
        Capacity.of(made[0]).draining = True
        it = await client.get("/ready")
        assert (it.status, await body_of(it)) == (503, {"error": "this server is about to stop"})
        assert (await client.get("/health")).status == 200
    logs.claim("503 GET /ready")
