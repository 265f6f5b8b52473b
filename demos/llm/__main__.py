"""An answer, token by token (``python -m demos.llm [--port N] [--pace SECONDS]``).

An answer is a task and a channel. The task writes tokens whoever reads; the channel's log is the answer as
far as it has come. So a connection that is lost, a page that is reloaded and a second reader are nothing
special: each follows the channel, from the last token it has seen or from the beginning. Only a DELETE
stops it. It works without a page::

    curl -N -d prompt='Why streams?' http://127.0.0.1:8888/answers
"""

from __future__ import annotations

import asyncio
import re
import secrets
from pathlib import Path
from typing import Any

from tornado.web import Application, HTTPError

from demos.llm.model import tokens
from demos.page import SameSite, arguments, files, serve
from tornado_sse import Broker, BrokerClosedError, SSEHandler
from tornado_sse.browser import ModuleHandler

HERE = Path(__file__).parent / "static"
LONGEST = 2000  # characters of a prompt
LENGTH = 260  # tokens of an answer, or so
MOST_WRITING, MOST_KEPT = 20, 200  # answers
ID = r"[A-Za-z0-9_-]{16,64}"


class Answer:
    """An answer that is being written, and remains for a while when it has been."""

    def __init__(self, broker: Broker, id: str, prompt: str, pace: float) -> None:
        self.channel = f"answer.{id}"
        self.stopped = False
        self.task = asyncio.create_task(self._run(broker, id, prompt, pace))

    async def _run(self, broker: Broker, id: str, prompt: str, pace: float) -> None:
        try:
            await self._write(broker, id, prompt, pace)
        except BrokerClosedError:
            pass  # the server stops

    async def _write(self, broker: Broker, id: str, prompt: str, pace: float) -> None:
        await broker.publish(self.channel, {"id": id, "prompt": prompt}, event="answer")
        count = 0
        for token in tokens(prompt, id, LENGTH):
            await asyncio.sleep(pace)
            if self.stopped:
                break
            await broker.publish(self.channel, token, event="token", serializer="text")
            count += 1
        reason = "stopped" if self.stopped else "complete"
        await broker.publish(self.channel, {"reason": reason, "tokens": count}, event="done")


class Answers(SameSite, SSEHandler):
    """Answers: POST asks for one and reads it, GET reads one, DELETE stops one. Who has its id may do so."""

    sse_methods = ("GET", "POST")

    def initialize(self, answers: dict[str, Answer], pace: float) -> None:
        """Take what all requests share."""
        self.answers, self.pace = answers, pace

    async def open(self, id: str | None = None) -> None:
        """Send the answer as far as it has come, then each token; end when it has."""
        answer = self._ask() if id is None else self._find(id)
        await self.subscribe(answer.channel, start="earliest")
        # Shielded by wait(): who goes away ends this, and not the answer.
        await asyncio.wait([answer.task])
        # In order, and not for good: a reader so slow that it lacks the end comes back for it.
        self.stream.close()

    def delete(self, id: str | None = None) -> None:
        """Stop an answer, which is then as complete as it will be."""
        self._find(id).stopped = True
        self.set_status(204)

    def _ask(self) -> Answer:
        prompt = self.get_body_argument("prompt")
        # A page that gets no answer asks again, with the id that it has chosen, and is given the same one.
        id = self.get_body_argument("id", secrets.token_urlsafe())
        if not prompt or len(prompt) > LONGEST:
            raise HTTPError(413 if prompt else 400)
        if not re.fullmatch(ID, id):
            raise HTTPError(400, "no id")
        if id not in self.answers:
            if sum(not each.task.done() for each in self.answers.values()) >= MOST_WRITING:
                raise HTTPError(503)
            if len(self.answers) >= MOST_KEPT:
                del self.answers[next(key for key, each in self.answers.items() if each.task.done())]
            self.answers[id] = Answer(self.settings["sse_broker"], id, prompt, self.pace)
        return self.answers[id]

    def _find(self, id: str | None) -> Answer:
        answer = None if id is None else self.answers.get(id)
        if answer is None:
            raise HTTPError(404)
        return answer


async def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = arguments("demos.llm", "Answers, token by token.")
    parser.add_argument("--pace", type=float, default=0.04, help="seconds for a token; default: %(default)s")
    options = parser.parse_args()
    broker = Broker()
    shared: dict[str, Any] = {"answers": {}, "pace": options.pace}
    routes: list[Any] = [
        ("/answers", Answers, shared),
        (rf"/answers/({ID})", Answers, shared),
        (r"/tornado_sse/(.*)", ModuleHandler),
        files(HERE),
    ]
    await serve(Application(routes, sse_broker=broker), options, broker.start)


if __name__ == "__main__":
    asyncio.run(main())
