"""Who watches: calls at what happens, for metrics and the like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from tornado.log import app_log

__all__ = ["Observed", "Observer", "Stats", "guarded"]


class Stats(NamedTuple):
    """What goes on in a broker, in this process."""

    #: Streams that follow channels.
    subscribers: int
    #: How many of them have not been sent everything.
    behind: int
    #: How many positions of the log the last of them is behind.
    lag: int
    #: Channels that are followed.
    channels: int
    #: How far the log has been told.
    position: int


class Observed(Protocol):
    """A `tornado_sse.Broker`, as an observer knows it."""

    @property
    def stats(self) -> Stats:
        """What goes on in it now. All subscribers are looked at: it is for a scrape, not for each event."""


class Observer:
    """Override what you want to know of. Called on the event loop, so be quick; what is raised is logged.

    An application's streams report to ``sse_observer``, by default to the one of its broker.
    """

    def on_broker(self, broker: Observed) -> None:
        """A broker has been made that reports here."""

    def on_open(self, description: str) -> None:
        """A stream has been opened."""

    def on_close(self, description: str, reason: str, seconds: float, events: int, size: int) -> None:
        """A stream has ended, for a `tornado_sse.Reason`, after so many seconds, events and bytes."""

    def on_refuse(self, status: int) -> None:
        """A stream has been refused for lack of room (503, 429), or because the process is about to end."""

    def on_publish(self, channel: str, size: int) -> None:
        """An event of so many bytes is about to be appended to the log."""

    def on_fan_out(self, deliveries: int, size: int, seconds: float) -> None:
        """One turn's events have been sent to live subscribers: so many sends, bytes in all, seconds."""

    def on_subscribe(self, channels: tuple[str, ...]) -> None:
        """A stream follows channels."""

    def on_unsubscribe(self, channels: tuple[str, ...]) -> None:
        """A stream that followed channels has ended."""

    def on_gap(self, channel: str, reason: str) -> None:
        """A client has been told that it may have missed events; see `tornado_sse.gap` for the reasons."""

    def on_behind(self, channels: tuple[str, ...]) -> None:
        """A live subscriber could not take what was sent, and is fed from the log now."""


def guarded(observer: Observer | None) -> Observer:
    """Return an observer whose errors are logged, and are no trouble to what it observes."""
    if observer is None:
        return _NOBODY
    return observer if observer is _NOBODY or isinstance(observer, _Guarded) else _Guarded(observer)


class _Guarded(Observer):
    # Each stream may have one of its own, so it holds nothing but whom it guards.

    def __init__(self, observer: Observer) -> None:
        self._observer = observer


def _guard(name: str) -> Callable[..., None]:
    def call(self: _Guarded, *arguments: Any) -> None:
        try:
            getattr(self._observer, name)(*arguments)
        except Exception:
            app_log.exception("Uncaught exception in %s() of %r", name, self._observer)

    return call


for _name in [name for name in vars(Observer) if name.startswith("on_")]:
    setattr(_Guarded, _name, _guard(_name))

_NOBODY = Observer()
