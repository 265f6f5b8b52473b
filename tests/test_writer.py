from __future__ import annotations

from collections.abc import Awaitable

import pytest

from tests.support import parse
from tornado_sse import EncodeError, Event, Settings
from tornado_sse.flow import READY
from tornado_sse.writer import Writer


class Collected(Writer):
    """A writer whose frames stay here; it refuses some."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings or Settings())
        self.frames: list[tuple[bytes, bool]] = []
        self.refuses = False

    def _send(self, frame: bytes, *, flush: bool) -> Awaitable[None]:
        if self.refuses:
            raise ZeroDivisionError
        self.frames.append((frame, flush))
        return READY


def test_a_frame_is_whole_and_says_whether_it_may_wait() -> None:
    writer = Collected()
    assert writer.write([1], event="t", id=7) is READY
    writer.write("x", serializer="text", flush=False)
    assert writer.frames == [(b"event: t\nid: 7\ncodec: json\ndata: [1]\n\n", True), (b"data: x\n\n", False)]
    assert writer.events == 2


def test_what_is_refused_further_on_is_not_counted_and_takes_its_fields_along() -> None:
    writer = Collected(Settings(retry=2))
    writer.set_id(1)
    writer.refuses = True
    with pytest.raises(ZeroDivisionError):
        writer.write_int(1)
    writer.refuses = False
    writer.write_int(2)
    # The id was for the event that was refused; the reconnection time is for whichever is the first.
    assert parse(frame for frame, _ in writer.frames) == [Event("2", "message", "", 2000)]
    assert writer.events == 1


def test_later_fields_add_to_earlier_ones() -> None:
    writer = Collected()
    writer.set_id(1)
    writer.set_event("a")
    writer.set_id(2)
    writer.set_retry(0)
    with pytest.raises(EncodeError):
        writer.write_text(b"no text")
    writer.set_event("b")
    writer.write_int(3)
    assert writer.frames == [(b"event: b\ndata: 3\n\n", True)]


def test_a_writer_by_itself_has_nowhere_to_write_to() -> None:
    with pytest.raises(NotImplementedError):
        Writer(Settings()).write(1)
