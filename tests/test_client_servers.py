"""The client with servers that are not ours, each a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import SECOND, until, within
from tornado_sse import Ending, EventSource, EventSourceError, ResponseError

pytestmark = pytest.mark.gen_test

#: What a Tornado handler without this library does.
TORNADO = """
import asyncio, sys
import tornado.web

class Numbers(tornado.web.RequestHandler):
    async def get(self):
        start = int(self.request.headers.get("Last-Event-ID", 0))
        if start == 6:
            self.set_status(204)
            return
        self.set_header("Content-Type", "text/event-stream")
        for number in range(start + 1, start + 4):
            self.write(f"id: {number}\\nretry: 10\\nevent: number\\ndata: {number}\\n\\n")
            await self.flush()

class Refused(tornado.web.RequestHandler):
    def get(self):
        raise tornado.web.HTTPError(403)

async def main():
    application = tornado.web.Application(
        [("/numbers", Numbers), ("/refused", Refused)], compress_response=True
    )
    server = application.listen(0, "127.0.0.1")
    print(next(iter(server._sockets.values())).getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

SSE_STARLETTE = """
import socket
import uvicorn
from sse_starlette import EventSourceResponse, JSONServerSentEvent, ServerSentEvent
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

async def numbers(request):
    start = int(request.headers.get("Last-Event-ID", 0))
    if start == 6:
        return Response(status_code=204)
    async def events():
        for number in range(start + 1, start + 4):
            yield ServerSentEvent(str(number), id=str(number), event="number", retry=10)
    return EventSourceResponse(events(), sep="\\r")

async def refused(request):
    raise HTTPException(403)

app = Starlette(routes=[Route("/numbers", numbers), Route("/refused", refused)])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off")).run(sockets=[listener])
"""


@pytest.fixture(params=[TORNADO, SSE_STARLETTE], ids=["tornado", "sse-starlette"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Start a server; its output is its port."""
    out = tmp_path / "out"
    with out.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", request.param], stdout=file, env={**os.environ, "PYTHONPATH": ""}
        )
    with contextlib.ExitStack() as stack:
        stack.callback(process.wait)
        stack.callback(process.kill)
        yield out


async def port_of(program: Path) -> int:
    await until(lambda: program.read_text().endswith("\n"), 30 * SECOND)
    return _read_port(program)


def _read_port(program: Path) -> int:
    return int(program.read_text())


class Source(EventSource):
    errors: list[EventSourceError]

    def on_error(self, error: EventSourceError, delay: float) -> None:
        self.errors.append(error)


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "gzip"])
async def test_it_reads_resumes_and_ends(io_loop: object, program: Path, compression: bool) -> None:
    port = await port_of(program)
    async with Source(f"http://127.0.0.1:{port}/numbers", compression=compression) as source:
        source.errors = []
        received = [await within(anext(source)) for _ in range(6)]
        assert [(each.type, each.payload, each.id) for each in received] == [
            ("number", str(number), str(number)) for number in range(1, 7)
        ]
        with pytest.raises(StopAsyncIteration):
            await within(anext(source))
        assert source.ending is Ending.FINISHED
        assert [getattr(error, "complete", None) for error in source.errors] == [True, True]


async def test_it_says_what_came_instead(io_loop: object, program: Path) -> None:
    port = await port_of(program)
    with pytest.raises(ResponseError) as caught:
        await within(anext(EventSource(f"http://127.0.0.1:{port}/refused")))
    assert caught.value.status == 403
    assert "Forbidden" in caught.value.body
