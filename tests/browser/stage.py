"""A server that answers as a test says, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import tornado.web
from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError

from tornado_sse.browser import ModuleHandler

STREAM = {"Content-Type": "text/event-stream"}


@dataclass
class Answer:
    """One answer: a status, headers, and a body in pieces, each sent by itself."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: dict(STREAM))
    pieces: list[bytes] = field(default_factory=list)
    #: Whether the body goes on for ever after that.
    hold: bool = False


def stream(*pieces: bytes, hold: bool = False, **headers: str) -> Answer:
    """Return an event stream of some pieces."""
    return Answer(
        headers=STREAM | {name.replace("_", "-"): value for name, value in headers.items()},
        pieces=list(pieces),
        hold=hold,
    )


class Stage:
    """What is to be answered, by path, and what has been asked. The last answer to a path is repeated."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.resumed: dict[str, Answer] = {}
        self.asked: defaultdict[str, list[HTTPHeaders]] = defaultdict(list)
        self.queries: defaultdict[str, list[str]] = defaultdict(list)
        self.bodies: defaultdict[str, list[bytes]] = defaultdict(list)
        self.open: defaultdict[str, int] = defaultdict(int)
        self.actors: list[Actor] = []
        self._number = 0

    def set(self, *answers: Answer, resumed: Answer | None = None) -> str:
        """Answer a new path with these in turn, or with that to a client that resumes; return it."""
        self._number += 1
        name = f"/stage/{self._number}"
        self.answers[name] = list(answers)
        if resumed is not None:
            self.resumed[name] = resumed
        return name

    async def cut(self) -> None:
        """Break off whatever is held."""
        for actor in [*self.actors]:
            actor.request.connection.stream.close()  # type: ignore[union-attr]

    async def end(self) -> None:
        """End whatever is held."""
        for actor in [*self.actors]:
            actor.gone.set()

    def application(self, *handlers: Any) -> tornado.web.Application:
        """Return an application with a blank page, the module, the stage, and more."""
        return tornado.web.Application(
            [("/", Blank), ("/tornado_sse/(.*)", ModuleHandler), (r"/stage/\d+", Actor), *handlers],
            stage=self,
            log_function=lambda handler: None,  # whatever the status: it was asked for
        )


class Blank(tornado.web.RequestHandler):
    """A page with nothing on it, of the origin that serves the module."""

    def get(self) -> None:
        """Answer with an empty page."""
        self.write('<!doctype html><link rel="icon" href="data:,"><title>blank</title>')


class Actor(tornado.web.RequestHandler):
    """Answers as it was told."""

    def initialize(self) -> None:
        """Forget what is sent by default."""
        self.gone = asyncio.Event()

    async def get(self) -> None:
        """Answer."""
        stage: Stage = self.settings["stage"]
        path = self.request.path
        stage.asked[path].append(self.request.headers)
        stage.queries[path].append(self.request.query)
        stage.bodies[path].append(self.request.body)
        answers = stage.answers[path]
        if path in stage.resumed and "Last-Event-ID" in self.request.headers:
            answer = stage.resumed[path]
        else:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.clear_header("Content-Type")
        self.set_status(answer.status)
        for name, value in answer.headers.items():
            self.set_header(name, value)
        if answer.status in (204, 304):
            return
        stage.open[path] += 1
        stage.actors.append(self)
        self.request.connection.stream.set_nodelay(True)  # type: ignore[union-attr]
        try:
            for piece in answer.pieces:
                self.write(piece)
                await self.flush()
            if answer.hold:
                await self.flush()
                await self.gone.wait()
        except StreamClosedError:
            pass
        finally:
            stage.open[path] -= 1
            stage.actors.remove(self)

    post = get  # type: ignore[assignment]

    def on_connection_close(self) -> None:
        """Let it go."""
        self.gone.set()
