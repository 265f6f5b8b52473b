"""`ChannelStream`: GET /channels/<name>, the channel as an event stream."""

from __future__ import annotations

from tornado.web import HTTPError

from tornado_sse.errors import InvalidChannelError
from tornado_sse.handler import SSEHandler
from tornado_sse.negotiation import allow
from tornado_sse.record import check_channel
from tornado_sse.server.answer import Answer, bearer_token

__all__ = ["ChannelStream"]


class ChannelStream(Answer, SSEHandler):
    """Streams the channel of its path, and those of the query parameter ``channel``, to who may follow them.

    The token is in the ``Authorization`` header, or in the query parameter ``access_token`` (RFC 6750,
    section 2.3), for an EventSource can't set a header. ``start`` is as for
    `tornado_sse.SSEHandler.subscribe`.
    """

    # POST publishes; it has a handler of its own, and a place in what OPTIONS and a 405 tell.
    sse_methods = ("GET", "POST")

    def allowed_methods(self) -> str:
        """Return what OPTIONS tells too."""
        return allow({*self.sse_methods, "OPTIONS"})

    def prepare(self) -> None:
        """Refuse who may not follow all the channels: 400, 401 or 403."""
        if self.request.method not in ("GET", "HEAD"):
            return
        self._channels = [self.path_args[0], *self.get_query_arguments("channel", strip=False)]
        token = bearer_token(self.request) or self.get_query_argument("access_token", None)
        bearer = self.ask(token)
        for channel in self._channels:
            try:
                check_channel(channel)
            except InvalidChannelError as error:
                raise HTTPError(400, "%s", error) from None
            if not bearer.may_subscribe(channel):
                if token is None:
                    raise HTTPError(401, "a token is needed to follow %s", channel)
                raise HTTPError(403, "this token does not allow to follow %s", channel)

    async def open(self, channel: str) -> None:
        """Follow the channels."""
        await self.subscribe(*self._channels, start=self.get_query_argument("start", "new"))
