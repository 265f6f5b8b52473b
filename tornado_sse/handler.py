"""`SSEHandler`: a request handler whose response is an event stream."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Hashable
from inspect import iscoroutinefunction
from typing import Any, Literal, cast

from tornado.iostream import IOStream
from tornado.log import app_log
from tornado.web import Finish, HTTPError

from tornado_sse.capacity import Capacity
from tornado_sse.errors import (
    SettingError,
    StreamClosedError,
    UpgradeError,
)
from tornado_sse.following import FollowingHandler
from tornado_sse.negotiation import (
    allow,
    begin_head,
    describe,
    last_event_id,
    origin_allowed,
    set_cors_headers,
    status_for,
)
from tornado_sse.observer import Observer
from tornado_sse.reason import Reason
from tornado_sse.settings import Settings, lookup
from tornado_sse.stream import Stream, within

__all__ = ["SSEHandler"]

# How a stream ends when the application wants it to.
_BY_THE_APPLICATION = (Reason.CLOSED, Reason.FINISHED, Reason.FAILED)

# How long open() may run on when a task it made has ended the stream, in seconds. It may also be a task that
# open() only happened to start, for all streams, and then open() waits for nothing.
_GRACE = 30.0

# What a client refused for lack of room is told to wait, in seconds (RFC 9110, section 10.2.3).
_RETRY_AFTER = 5


class SSEHandler(FollowingHandler):
    """Subclass this and override `open` to answer requests with an event stream::

        class Clock(SSEHandler):
            async def open(self):
                async with self.stream:
                    while True:
                        await self.stream.write({"now": time.time()}, event="tick")
                        await asyncio.sleep(1)

    ``prepare()``, ``get_current_user()`` and ``initialize()`` work as in any handler, and headers may be set
    until the stream starts. Once it has, ``on_finish()`` and the access log are not called, as for a
    WebSocket: there is `on_close`, and the logger ``tornado_sse``. Settings carry the prefix ``sse_``, here
    or in the application; see `tornado_sse.Settings` for their names without it.
    """

    #: The stream to write to.
    stream: Stream

    #: What happens to a running `open` when the client goes away: ``"cancel"`` cancels it, ``"detach"``
    #: leaves it to run to its end, for work that must be finished whoever is watching.
    on_disconnect: Literal["cancel", "detach"] = "cancel"

    _opening: asyncio.Task[Any] | None = None
    _opened = False
    _cancelled = False
    _gone = False
    _grace: asyncio.TimerHandle | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if isinstance(cls.on_disconnect, str) and cls.on_disconnect not in ("cancel", "detach"):
            raise SettingError("on_disconnect", f'must be "cancel" or "detach", not {cls.on_disconnect!r}')
        if iscoroutinefunction(cls.on_close):
            raise TypeError(f"{cls.__name__}.on_close() can't be a coroutine, for nobody waits for it")

    def open(self, *args: Any, **kwargs: Any) -> Awaitable[None] | None:
        """Override to write to ``self.stream``, with the arguments of the URL pattern.

        May be a coroutine. The stream stays open after ``open()`` has returned, as a WebSocket does:
        whoever holds it may go on writing. ``async with self.stream`` ends it with the block.

        The response head is sent when the stream is first used, or when ``open()`` returns. An exception
        before that, `.HTTPError` for one, is an ordinary error response; after it, the stream ends as
        incomplete and the client resumes. When the stream ends while ``open()`` is running, and it was not
        ``open()`` that ended it, ``open()`` is cancelled (see ``on_disconnect``); at once, or half a minute
        later if it was a task that ``open()`` made.

        ``open()`` may also answer the request by other means (``redirect()``, ``finish()``, ``send_error()``)
        as long as it has not used the stream.
        """

    def on_close(self) -> None:
        """Override to clean up. Called once for each `open`, when the stream and ``open()`` have ended.

        A handler that overrides it is kept with its request for as long as its stream, at some 10 KB.

        With ``on_disconnect = "detach"`` it is called at the end of the stream, while ``open()`` runs on.
        ``self.stream.reason`` says why the stream ended, or is None if it never started.
        """

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Answer with the stream, if it may be had: 405, 403, 406, 204 or 503 otherwise."""
        if not self._negotiate():
            return
        if self._gone and self.on_disconnect != "detach":
            self.detach()  # the client went during prepare(): there is nobody to answer
            self._break_cycles()
            return
        settings = Settings.of(self)
        if settings.max_age is not None and settings.max_age <= 0:
            raise HTTPError(403, "sse_max_age is over")
        stream = Stream(
            self._connect,
            settings=settings,
            last_event_id=last_event_id(self.request),
            description=describe(self.request),
            observer=self._observer(),
        )
        self._capacity = Capacity.of(self.application)
        user = None if settings.max_streams_per_user is None else self._user()
        refusal = self._capacity.acquire(stream, self.request.remote_ip or "", user)
        if refusal is None:
            self.stream = stream
            stream.on_end = self._stream_ended
            await self._run_open(stream, args, kwargs)
        else:
            stream.observer.on_refuse(refusal)
            # send_error() would clear the header.
            self.set_header("Retry-After", str(_RETRY_AFTER))
            self.set_status(refusal)
            self.finish()

    async def post(self, *args: Any, **kwargs: Any) -> None:
        """Answer as `get` does, if ``sse_methods`` has ``"POST"``; the body is in ``self.request``."""
        await self.get(*args, **kwargs)

    async def head(self, *args: str, **kwargs: str) -> None:
        """Answer with the head that `get` would send."""
        if self._negotiate():
            begin_head(self.request, self._headers)
            self._transforms = []
            self.flush()
            self.finish()

    async def options(self, *args: str, **kwargs: str) -> None:
        """Answer a CORS preflight; a page needs one to POST, or to send headers of its own."""
        settings = Settings.of(self, "methods", "allowed_origins")
        if not origin_allowed(self.request, settings.allowed_origins):
            raise HTTPError(403)
        methods = allow({*settings.methods, "OPTIONS"})
        set_cors_headers(self._headers, self.request, settings.allowed_origins)
        if "Access-Control-Allow-Origin" in self._headers:
            self.set_header("Access-Control-Allow-Methods", methods)
            requested = self.request.headers.get("Access-Control-Request-Headers")
            if requested:
                self.set_header("Access-Control-Allow-Headers", requested)
            self.set_header("Access-Control-Max-Age", "600")
        self.set_header("Allow", methods)
        self.set_status(204)
        self.finish()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Add to a 405 the ``Allow`` header it must have (RFC 9110, section 15.5.6), and to a 503 when to ask
        again.
        """
        if status_code == 405:
            self.set_header("Allow", allow({*Settings.of(self, "methods").methods, "OPTIONS"}))
        elif status_code == 503:
            self.set_header("Retry-After", str(_RETRY_AFTER))
        super().write_error(status_code, **kwargs)

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Log an error; as Tornado does, but without the values of the query, in which tokens travel."""
        if isinstance(value, HTTPError):
            super().log_exception(typ, value, tb)
        else:
            app_log.error("Uncaught exception %s", self._request_summary(), exc_info=value)

    def on_connection_close(self) -> None:
        """Called by Tornado when the client goes away before the stream has started."""
        super().on_connection_close()
        self._gone = True
        self._cancel_open()

    # How it is done

    def _request_summary(self) -> str:
        return describe(self.request)

    def _negotiate(self) -> bool:
        """Return whether there is to be a stream; if not, the request has been answered."""
        settings = Settings.of(self, "methods", "allowed_origins")
        status = status_for(self.request, settings.methods, settings.allowed_origins)
        if status >= 400:
            raise HTTPError(status)
        set_cors_headers(self._headers, self.request, settings.allowed_origins)
        if status == 204:
            self.set_status(204)
            self.finish()
        return status == 200

    def _observer(self) -> Observer | None:
        broker = lookup(self, "broker")
        return cast(Observer | None, lookup(self, "observer", getattr(broker, "observer", None)))

    def _user(self) -> Hashable:
        user = self.current_user
        try:
            hash(user)
        except TypeError:
            raise SettingError(
                "sse_max_streams_per_user",
                f"needs users that can be told apart; get_current_user() returns a {type(user).__name__}, "
                "which can't be hashed: return a name or a number",
            ) from None
        return cast(Hashable, user)

    def _connect(self, first: bytes) -> tuple[IOStream, bool]:
        if self._capacity.draining:
            self.stream.observer.on_refuse(503)
            raise HTTPError(503)
        connection = self.request.connection
        if not hasattr(connection, "detach"):
            raise UpgradeError(
                f"{type(connection).__name__} can't be detached, which an event stream needs; "
                "serve the application with tornado.httpserver.HTTPServer"
            )
        if self._finished or self._headers_written or self._write_buffer or self.get_status() != 200:
            raise UpgradeError(
                "the request is being answered by other means: an event stream has the status 200, and what "
                "is written to it goes through self.stream"
            )
        chunked = begin_head(self.request, self._headers)
        # Output transforms are compression, which holds back what it is given and, beside a secret in
        # the same response, gives it away (BREACH).
        self._transforms = []
        if first:
            self.write(first)
        self.flush()
        return self.detach(), chunked

    async def _run_open(self, stream: Stream, args: tuple[str, ...], kwargs: dict[str, str]) -> None:
        task = self._opening = asyncio.current_task()
        assert task is not None
        self._opened = True
        within.set(stream)
        try:
            result = self.open(*args, **kwargs)
            if result is not None:
                await result
            if not (stream.closed or self._finished):
                stream.flush()
        except BaseException as error:
            if self._is_usual_end(error, task):
                pass
            elif isinstance(error, Finish) and stream.started:
                stream.close()
            else:
                if stream.started:
                    stream.abort()
                raise
        finally:
            self._opening = None
            if self._grace is not None:
                self._grace.cancel()
            if not stream.started:
                stream.dismiss()
            if self._cancelled:
                task.uncancel()
                if not stream.started and not self._finished:
                    self.detach()  # the client is gone, so there is nobody for Tornado to answer
            if stream.ended:
                self._end()
                if self._finished:
                    self._break_cycles()  # as Tornado does after a response; it has not seen this one's end
            elif self._rights is None and getattr(self.on_close, "__func__", None) is SSEHandler.on_close:
                # Nobody needs the handler any more, and its request is most of what an idle stream costs.
                stream.on_end = self._capacity.on_end
                # Its one reference to itself would leave it to the garbage collector, whose work grows with
                # the number of streams. Whoever has kept the handler may still render templates.
                self.ui["_tt_modules"].handler = weakref.proxy(self)

    def _is_usual_end(self, error: BaseException, task: asyncio.Task[Any]) -> bool:
        """Return whether an exception out of `open` is but the end of the stream arriving there."""
        over = self._cancelled or self.stream.closed
        if isinstance(error, asyncio.CancelledError):
            return self._cancelled and task.cancelling() == 1  # by us, and by nobody else
        if isinstance(error, BaseExceptionGroup):
            return over and error.split((StreamClosedError, asyncio.CancelledError))[1] is None
        return over and isinstance(error, StreamClosedError)

    def _stream_ended(self, stream: Stream) -> None:
        if self._opening is None or self.on_disconnect == "detach":
            self._end()
        elif stream.ended_by is None or stream.reason not in _BY_THE_APPLICATION:
            self._cancel_open()
        elif stream.ended_by is not self._opening:
            # Most likely a task that open() waits for, and then has more to do.
            self._grace = asyncio.get_running_loop().call_later(_GRACE, self._cancel_open)

    def _cancel_open(self) -> None:
        if self._opening is not None and self.on_disconnect != "detach" and not self._cancelled:
            self._cancelled = True
            self._opening.cancel()

    def _end(self) -> None:
        if self._opened:
            self._opened = False
            self._capacity.release(self.stream)
            if self._rights is not None:
                self._rights.close()
            try:
                self.on_close()
            except Exception:
                app_log.exception("Uncaught exception in on_close() of %s", self.stream.description)
            if self._opening is None and self._finished:
                self._break_cycles()
