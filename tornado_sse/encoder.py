"""Events and comments to bytes. The only place that knows how a stream is written.

The order within an event is ``event``, ``id``, ``retry``, ``codec``, ``data``, blank line; every line
ends with LF alone and has one space after its colon. Readers accept any order and any line ending
(HTML, section 9.2.6), except Datastar, which needs ``event``, ``id``, ``retry``, ``data`` in this order.
"""

from __future__ import annotations

from tornado_sse.event import Event, check_line

__all__ = ["encode_comment", "encode_event"]


def encode_event(event: Event) -> bytes:
    """Return the bytes of an event, its closing blank line included.

    ``data`` becomes one line for each line in it, where a line ends at CR LF, CR or LF and at nothing
    else: `str.splitlines` would also split at U+2028, U+0085, VT and FF, which a reader does not put
    back. A trailing newline is kept (``"a\\n"`` is two lines), and empty data is one empty line.
    """
    head = "" if event.type is None else f"event: {event.type}\n"
    if event.id is not None:
        head = f"{head}id: {event.id}\n"
    if event.retry is not None:
        head = f"{head}retry: {event.retry}\n"
    if event.codec is not None:
        head = f"{head}codec: {event.codec}\n"
    data = event.data
    if "\r" in data:
        data = data.replace("\r\n", "\n").replace("\r", "\n")
    if "\n" in data:
        data = data.replace("\n", "\ndata: ")
    return f"{head}data: {data}\n\n".encode()


def encode_comment(text: str = "") -> bytes:
    """Return the bytes of a comment line, which every reader skips.

    No blank line follows: openai-python and httpx-sse take a blank line after a comment for the
    end of an event once they have seen any id.

    :raises InvalidEventError: if the text holds CR, LF, NUL or a lone surrogate.
    """
    check_line("comment", text)
    return f": {text}\n".encode() if text else b":\n"
