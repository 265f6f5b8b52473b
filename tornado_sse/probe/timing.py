"""Checks of when a stream's bytes came."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tornado_sse.probe.finding import Finding, Thresholds, error, warning
from tornado_sse.probe.visit import Visit

__all__ = ["check_compressed", "check_timing", "keepalive"]

_UNBUFFERED = (
    "Flush each event; in nginx, proxy_buffering off (or X-Accel-Buffering: no from the application), in "
    "HAProxy option http-no-delay; and let nothing compress the stream that does not flush."
)


def check_timing(visit: Visit, thresholds: Thresholds) -> Iterator[Finding]:
    """Yield what is late, and what may be missing because nothing is said for long."""
    transcript = visit.transcript
    events = transcript.events
    first = events[0][0].ended if events else None
    over = visit.ended if visit.complete else None
    if (
        over is not None
        and first is not None
        and len(events) > 1
        and over - first < 0.1
        and over > thresholds.late
    ):
        yield error(
            "all-at-end",
            f"All {len(events)} events came at once, {over:.1f} s after the request, with the end of the "
            "response: something has collected them.",
            _UNBUFFERED,
        )
    elif visit.answered > thresholds.slow:
        together = first is not None and first - visit.answered < 0.1
        yield warning(
            "slow-head",
            f"The head came after {visit.answered:.1f} s"
            + (
                ", with the first event: until then a client does not know that it is connected."
                if together
                else "; until then a client does not know that it is connected."
            ),
            "Send the head before there is an event: in Tornado, await self.flush() once the headers are "
            "set. An SSEHandler does so.",
        )
    for block, _ in events:
        if block.ended - block.begun > thresholds.late:
            yield error(
                "cut-event",
                f"The rest of an event came {block.ended - block.begun:.1f} s after its beginning: "
                "something collects bytes until it has enough of them.",
                _UNBUFFERED,
            )
            break
    silence = _longest_silence(visit)
    if silence > thresholds.silence:
        yield warning(
            "silence",
            f"Nothing came for {silence:.1f} s. Proxies cut such a stream after 30 to 60 s, and neither "
            "side notices that the other is gone.",
            "Send a comment, ':\\n', after 15 s of silence; an SSEHandler does so (sse_keepalive). In "
            "nginx, proxy_read_timeout says when it cuts.",
        )


def check_compressed(plain: Visit, compressed: Visit, thresholds: Thresholds) -> Iterator[Finding]:
    """Yield what differs between two streams at one time, of which one asked for gzip."""
    if compressed.damage and not plain.damage:
        yield error(
            "compression",
            f"The compressed stream is damaged: {compressed.damage}.",
            "Compress with one gzip stream, and flush it after each event.",
        )
        return
    encoding = compressed.headers.get("Content-Encoding", "").lower() or "identity"
    if compressed.is_stream and encoding not in ("identity", "gzip", "x-gzip"):
        yield error(
            "compression",
            f"The stream is encoded as {encoding!r}, though gzip or none was asked for.",
            "Look at Accept-Encoding before compressing.",
        )
        return
    lag = _lag(plain, compressed)
    # Whoever opened first may be told of nothing that the other missed: only what is on both counts, unless
    # one has nothing at all.
    soon = [
        block for block, _ in plain.transcript.events if block.ended < compressed.listened - thresholds.late
    ]
    held = compressed.is_stream and len(soon) > 1 and not compressed.transcript.events
    if encoding != "identity" and (held or lag > thresholds.late):
        yield error(
            "compression",
            "Compressed, the events came " + ("not at all." if held else f"up to {lag:.1f} s later."),
            "Flush the compressor after each event, or do not compress: gzip off in nginx for this "
            "location, and Cache-Control: no-transform for the others.",
        )
    elif abs(lag) > thresholds.late:
        yield error(
            "buffered",
            f"The same event reached two connections {abs(lag):.1f} s apart: something collects bytes "
            "before it sends them.",
            _UNBUFFERED,
        )


def keepalive(visit: Visit) -> float | None:
    """Return after how many seconds of silence a comment comes, or None if none was seen."""
    transcript = visit.transcript
    comments = {*transcript.comments}
    gaps = [
        after - before
        for before, after in pairwise([visit.answered, *transcript.moments])
        if after in comments and after - before > 0.2
    ]
    return min(gaps, default=None)


def _longest_silence(visit: Visit) -> float:
    end = visit.now if visit.ended is None else visit.ended
    moments = [visit.answered, *visit.transcript.moments, end]
    return max(after - before for before, after in pairwise(moments))


def _lag(one: Visit, other: Visit) -> float:
    """Return how much later, at the most, an event came to the other; less than 0 if it came sooner.

    Events are the same if their ids and data are. What had come to one before the other was there does not
    count as late.
    """
    offset = other.after(one)
    came = {(block.id, event.data): block.ended for block, event in one.transcript.events if block.id}
    lags = []
    for block, event in other.transcript.events:
        first = came.get((block.id or "", event.data))
        if first is not None:
            second = offset + block.ended
            there = offset + other.answered if second > first else one.answered
            lags.append(second - max(first, there) if second > first else max(second, there) - first)
    return max(lags, key=abs, default=0.0)
