"""`probe`: a look at any server of event streams.

Theory of operation
-------------------
Two streams are opened at once, as a plain client and as a browser would, which asks for gzip. They tell of
the head, of the lines, and of when bytes come; where they differ, something between them and the events is at
work. Meanwhile other requests are made one after the other, so that a server never has more than three of our
streams. Then, while the plain stream stays open, a client comes back with an id of it.

Nothing is sent but GET and HEAD. Each check is a function from what came to what is wrong with it, and
knows no sockets; this module decides what to ask for, and for how long.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from tornado_sse.errors import SettingError
from tornado_sse.probe.finding import Report, Thresholds
from tornado_sse.probe.grammar import check_grammar, quoted
from tornado_sse.probe.head import check_head, check_status
from tornado_sse.probe.manners import (
    ORIGIN,
    check_any_type,
    check_head_method,
    check_old_version,
    check_origin,
)
from tornado_sse.probe.resuming import Outcome, check_repetition, check_resumption, resumption
from tornado_sse.probe.timing import check_compressed, check_timing, keepalive
from tornado_sse.probe.visit import Visit
from tornado_sse.request import REDIRECTS, Request

__all__ = ["probe"]

_REDIRECTS: Final = 5

# How often a resumption is tried during which other events come.
_ATTEMPTS: Final = 3

# A stream is known that has been heard for so many seconds, and has said as much.
_LEAST: Final = 5.0
_BUSY: Final = 10.0
_MOMENTS: Final = 5


async def probe(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    patience: float = 35.0,
    thresholds: Thresholds | None = None,
    ssl_options: ssl.SSLContext | dict[str, Any] | None = None,
) -> Report:
    """Return what is known of a server after a look at it.

    :arg str url: http or https, of an event stream.
    :arg headers: more headers, as ``Authorization``.
    :arg float patience: for how many seconds the stream is listened to, at the most; less if it has said what
        there is to know. With resuming it takes up to 15 seconds more.
    :arg thresholds: what is too long.
    :arg ssl_options: as of `tornado_sse.EventSource`.

    :raises SettingError: if the URL or a header makes no sense.
    :raises RedirectError: if it leads where no client goes.
    :raises ConnectionFailedError: if there is no connection.
    """
    if not patience > 0:
        raise SettingError("patience", f"must be more than nothing, not {patience!r}")
    request = Request.to(url, "GET", headers or {}, None)
    return await _Prober(request, patience, thresholds or Thresholds(), ssl_options).run()


class _Prober:
    def __init__(
        self,
        request: Request,
        patience: float,
        thresholds: Thresholds,
        ssl_options: ssl.SSLContext | dict[str, Any] | None,
    ) -> None:
        self._request = request
        self._patience = patience
        self._thresholds = thresholds
        self._ssl_options = ssl_options
        self._report = Report(request.url)

    async def run(self) -> Report:
        report = self._report
        async with self._following_redirects() as plain:
            report.facts["answer"] = _answer(plain)
            report.findings += check_status(plain)
            if not plain.is_stream:
                return report
            async with self._running(headers={"Accept-Encoding": "gzip"}) as compressed:
                await self._look_at_manners()
                while not self._is_known(plain):
                    await plain.changed(self._thresholds.grace)
                # What has come to one is about to come to the other.
                await compressed.changed(self._thresholds.grace)
            report.findings += check_head(plain)
            report.findings += check_grammar(plain.transcript, over=self._is_over(plain))
            report.findings += check_timing(plain, self._thresholds)
            report.findings += check_compressed(plain, compressed, self._thresholds)
            self._state(plain, compressed)
            if plain.ended is None:
                await self._resume(plain)
            else:
                await self._return(plain)
        return report

    # What is asked for

    @contextlib.asynccontextmanager
    async def _following_redirects(self) -> AsyncIterator[Visit]:
        """Open a stream, and wait for the head of the answer."""
        for left in reversed(range(_REDIRECTS + 1)):
            async with self._running() as visit:
                while not (visit.status or visit.failure) and visit.now < self._patience:
                    await visit.changed(self._thresholds.grace)
                if visit.error is not None:
                    raise visit.error
                location = visit.headers.get("Location")
                if visit.status not in REDIRECTS or location is None or not left:
                    if not visit.is_stream:
                        await visit.changed(self._thresholds.grace)  # for a body where there should be none
                    yield visit
                    return
            self._request = self._request.redirected(visit.status, location)
            self._report.facts["redirected to"] = self._request.url.partition("?")[0]

    def _visit(self, method: str = "GET", url: str | None = None, **options: Any) -> Visit:
        request = Request(method, url or self._request.url, self._request.headers, None)
        return Visit(request, ssl_options=self._ssl_options, **options)

    @contextlib.asynccontextmanager
    async def _running(self, **options: Any) -> AsyncIterator[Visit]:
        """Have a visit go on meanwhile."""
        visit = self._visit(**options)
        task = asyncio.create_task(visit.run(self._patience + 60))
        try:
            yield visit
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _briefly(
        self, enough: Callable[[Visit], bool] = lambda visit: True, seconds: float = 0.0, **options: Any
    ) -> Visit:
        visit = self._visit(**options)
        await visit.run(seconds or self._thresholds.brief, enough)
        return visit

    async def _look_at_manners(self) -> None:
        findings, facts = self._report.findings, self._report.facts
        # Whatever comes after the head of an answer to HEAD comes soon.
        visit = await self._briefly(
            lambda visit: visit.transcript.size > 0, self._thresholds.grace, method="HEAD"
        )
        if not visit.status:
            visit = await self._briefly(lambda visit: visit.transcript.size > 0, method="HEAD")
        findings += check_head_method(visit)
        facts["HEAD"] = _answer(visit)
        visit = await self._briefly(headers={"Accept": "*/*"})
        findings += check_any_type(visit)
        visit = await self._briefly(headers={"Accept": "application/json"})
        facts["Accept: application/json"] = _answer(visit)
        visit = await self._briefly(version="1.0")
        findings += check_old_version(visit)
        facts["HTTP/1.0"] = _answer(visit)
        visit = await self._briefly(headers={"Origin": ORIGIN})
        findings += check_origin(visit)
        allowed = visit.headers.get("Access-Control-Allow-Origin", "")
        facts["other origins"] = f"may read it ({quoted(allowed.encode())})" if allowed else "may not read it"

    async def _resume(self, plain: Visit) -> None:
        where = resumption(plain.transcript)
        if where is None:
            self._report.facts["resume"] = "not tried: two ids are needed to see what it does"
            return
        outcome, left = Outcome.OPEN, _ATTEMPTS
        while outcome is Outcome.OPEN and left:
            left -= 1
            known = len(plain.transcript.events)
            until = plain.now + self._thresholds.grace
            # Right after an event, so that there is time until the next one.
            while len(plain.transcript.events) == known and plain.now < until and plain.ended is None:
                await plain.changed(self._thresholds.grace)
            where = resumption(plain.transcript) or where
            visit = await self._resuming_from(where.last_event_id)
            outcome = where.outcome(plain, visit)
        self._report.facts["resume"] = outcome.value
        self._report.findings += check_resumption(where, outcome, visit)
        if outcome is not Outcome.WORKS:
            return
        where = resumption(plain.transcript) or where
        query = urlencode({"last_event_id": where.last_event_id})
        parts = urlsplit(self._request.url)
        url = urlunsplit(parts._replace(query=f"{parts.query}&{query}".lstrip("&")))
        visit = await self._briefly(_has_id, self._thresholds.replay, url=url)
        self._report.facts["resume by ?last_event_id"] = where.outcome(plain, visit).value

    async def _return(self, plain: Visit) -> None:
        """Come back after a response has ended, as clients do."""
        last_event_id = next((block.id for block in reversed(plain.transcript.blocks) if block.id), "")
        visit = await self._resuming_from(last_event_id)
        self._report.findings += check_repetition(plain, visit)
        self._report.facts["after the end"] = _answer(visit)

    async def _resuming_from(self, last_event_id: str) -> Visit:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        return await self._briefly(_has_id, self._thresholds.replay, headers=headers)

    # What is known

    def _is_known(self, plain: Visit) -> bool:
        now = plain.now
        if now >= self._patience or plain.ended is not None or plain.damage:
            return True
        busy = len({block.ended for block, _ in plain.transcript.events}) >= _MOMENTS
        return (now >= _LEAST and keepalive(plain) is not None) or (now >= _BUSY and busy)

    def _is_over(self, plain: Visit) -> bool:
        """Return whether what has begun will not be ended any more."""
        transcript = plain.transcript
        waiting = (
            transcript.has_unfinished and plain.now - transcript.unfinished.begun > self._thresholds.late
        )
        return plain.ended is not None or (waiting and not transcript.events)

    def _state(self, plain: Visit, compressed: Visit) -> None:
        """State what was seen of the stream."""
        facts, transcript = self._report.facts, plain.transcript
        types = Counter(event.type for _, event in transcript.events)
        named = ", ".join(f"{quoted((name or '').encode())} {count}" for name, count in types.most_common(5))
        facts["events"] = f"{len(transcript.events)} in {plain.now:.0f} s" + (f": {named}" if named else "")
        period = keepalive(plain)
        facts["keep-alive"] = (
            f"none seen in {plain.now:.0f} s"
            if period is None
            else f"a comment after {period:.1f} s of silence"
        )
        facts["compression"] = compressed.headers.get("Content-Encoding", "none")[:20]
        facts["retry"] = "not set" if transcript.retry is None else f"{transcript.retry} ms"
        if plain.ended is not None:
            facts["end"] = f"after {plain.ended:.1f} s"


def _has_id(visit: Visit) -> bool:
    return any(block.id for block, _ in visit.transcript.events)


def _answer(visit: Visit) -> str:
    if visit.failure or not visit.status:
        return visit.failure or "none"
    kind = quoted(visit.headers.get("Content-Type", "").encode())[1:-1]
    return ", ".join(filter(None, [f"{visit.status} after {visit.answered * 1000:.0f} ms", kind]))
