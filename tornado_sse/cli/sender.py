"""Where events are sent to be published: `Sender` is one that tries again until it is sure.

Each event has an id of its own by which its repetition is known, so a request whose answer was lost can be
sent again without harm. Servers remember such ids for two minutes, which is why trying again ends before.
"""

from __future__ import annotations

import asyncio
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, cast
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse

from tornado_sse.broker import Broker
from tornado_sse.errors import BackendError, SSEError
from tornado_sse.serializers import encode, get_serializer
from tornado_sse.server.submission import LINES, Submission

__all__ = ["LONGEST_PATIENCE", "BrokerSender", "HTTPSender", "RefusedError", "Sender", "UnreachableError"]

#: For how long to try at most, in seconds.
LONGEST_PATIENCE: Final = 100.0

# How long to wait before trying again: at first, and at most; in seconds.
_FIRST: Final = 0.2
_MOST: Final = 5.0

# How long one request may take, in seconds.
_REQUEST: Final = 10.0

# What a server may answer whose next answer may be another one (RFC 9110, section 15; RFC 6585, section 4).
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class RefusedError(SSEError):
    """The server will not publish this, however often it is asked."""


class UnreachableError(SSEError):
    """It could not be found out in time whether this was published."""


class _TooLargeError(RefusedError):
    """These are more than the server takes at once."""


class _PassingError(Exception):
    """Something that may be over the next time."""


class Sender(ABC):
    """Sends events, again and again if need be.

    :arg float patience: for how long to try, in seconds; up to `LONGEST_PATIENCE`.
    """

    def __init__(self, patience: float) -> None:
        self._patience = min(patience, LONGEST_PATIENCE)

    async def send(self, submissions: Sequence[Submission]) -> list[str]:
        """Have events published, which all have ids; return the ids they were given.

        :raises RefusedError: if they can't be.
        :raises UnreachableError: if there was no answer in time; some may have been published.
        """
        loop = asyncio.get_running_loop()
        over = loop.time() + self._patience
        wait = _FIRST
        while True:
            try:
                return await self._try(submissions)
            except _TooLargeError:
                half = len(submissions) // 2
                if not half:
                    raise
                return await self.send(submissions[:half]) + await self.send(submissions[half:])
            except _PassingError as error:
                pause = wait * random.uniform(0.5, 1.5)
                if loop.time() + pause > over:
                    raise UnreachableError(str(error)) from error
                await asyncio.sleep(pause)
                wait = min(2 * wait, _MOST)

    @abstractmethod
    async def _try(self, submissions: Sequence[Submission]) -> list[str]: ...

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything."""


class HTTPSender(Sender):
    """Sends to a server's URL, as lines of JSON."""

    def __init__(self, url: str, token: str | None, patience: float) -> None:
        super().__init__(patience)
        self._url = url
        self._client = AsyncHTTPClient(force_instance=True)
        self._headers = {"Content-Type": LINES}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    async def _try(self, submissions: Sequence[Submission]) -> list[str]:
        named = urlsplit(self._url).path.endswith("/publish")
        request = HTTPRequest(
            self._url,
            "POST",
            self._headers,
            b"".join(_line(each, named) for each in submissions),
            follow_redirects=False,
            connect_timeout=_REQUEST,
            request_timeout=_REQUEST,
        )
        try:
            response = await self._client.fetch(request, raise_error=False)
        except (OSError, HTTPClientError) as error:
            raise _PassingError(f"{self._where} can't be reached: {error}") from error
        if response.code in _PASSING or response.code == 599:
            raise _PassingError(self._said(response))
        if response.code == 413:
            raise _TooLargeError(self._said(response))
        if response.code != 200:
            raise RefusedError(self._said(response))
        try:
            ids = json.loads(response.body)["ids"]
        except (ValueError, LookupError, TypeError):
            ids = None
        if not isinstance(ids, list) or len(ids) != len(submissions):
            raise RefusedError(f"{self._where} does not answer as tornado-sse does")
        return [str(each) for each in ids]

    @property
    def _where(self) -> str:
        # Without a user and a query, which may hold secrets.
        return urlsplit(self._url).netloc.rpartition("@")[2]

    def _said(self, response: HTTPResponse) -> str:
        try:
            reason = str(json.loads(response.body)["error"])
        except (ValueError, LookupError, TypeError):
            reason = response.reason
        return f"{self._where} answers {response.code}: {reason}"

    async def close(self) -> None:
        """Close the connections."""
        self._client.close()


class BrokerSender(Sender):
    """Appends to a log that others share."""

    def __init__(self, broker: Broker, patience: float) -> None:
        super().__init__(patience)
        self._broker = broker

    async def _try(self, submissions: Sequence[Submission]) -> list[str]:
        try:
            await self._broker.start()
            published = [
                self._broker.publish(
                    channel, payload, event=event, key=key, serializer=serializer, message_id=id
                )
                for channel, payload, event, key, serializer, id in submissions
            ]
            # All of them are awaited: a failure that nobody asks for is logged.
            results = await asyncio.gather(*published, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            return cast(list[str], results)
        except BackendError as error:
            raise _PassingError(str(error)) from error

    async def close(self) -> None:
        """Close the broker."""
        await self._broker.close()


def _line(submission: Submission, named: bool) -> bytes:
    parts = submission._asdict()
    parts["data"] = parts.pop("payload")
    if not named:
        del parts["channel"]
    line = {name: part for name, part in parts.items() if part is not None or name == "data"}
    return encode(get_serializer("json"), line).encode() + b"\n"
