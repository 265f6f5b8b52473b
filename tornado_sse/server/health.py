"""Whether a server is up, and whether it is of use: for those who watch it and send others to it."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from tornado.web import HTTPError

from tornado_sse.backends import Backend
from tornado_sse.capacity import Capacity
from tornado_sse.errors import BackendError
from tornado_sse.server.answer import Answer

__all__ = ["Health", "Ready"]

# How long the log may take to answer, in seconds. Those who ask give up after one to ten.
_PATIENCE: Final = 3.0


class Health(Answer):
    """GET /health: the process is up. Nothing else is looked at, for a restart mends nothing else."""

    def get(self) -> None:
        """Answer 200."""
        self.finish_json({"status": "up"})

    head = get


class Ready(Answer):
    """GET /ready: whether to send clients here. 503 while the log can't be reached, and before a stop."""

    async def get(self) -> None:
        """Answer 200 or 503."""
        if Capacity.of(self.application).draining:
            raise HTTPError(503, "this server is about to stop")
        try:
            async with asyncio.timeout(_PATIENCE):
                await cast(Backend, self.settings["backend"]).sync()
        except (BackendError, TimeoutError):
            raise HTTPError(503, "the log does not answer") from None
        self.finish_json({"status": "ready"})

    head = get
