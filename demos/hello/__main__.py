"""The shortest useful program: the server's clock, live in a browser (``python -m demos.hello``)."""

import asyncio
import contextlib
import os
import time

import tornado.web

from tornado_sse import SSEHandler

PORT = int(os.environ.get("PORT", "8888"))
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>hello</title>
<h1>The server's clock</h1><p><output>connecting …</output></p>
<script>
  const show = (event) => (document.querySelector("output").textContent = JSON.parse(event.data).now);
  new EventSource("/clock").addEventListener("tick", show);</script>"""


class Page(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(PAGE)


class Clock(SSEHandler):
    async def open(self) -> None:
        async with self.stream:
            while True:
                await self.stream.write({"now": time.ctime()}, event="tick")
                await asyncio.sleep(1)


async def main() -> None:
    tornado.web.Application([("/", Page), ("/clock", Clock)]).listen(PORT, "127.0.0.1")
    print(f"http://127.0.0.1:{PORT}")
    await asyncio.Event().wait()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
