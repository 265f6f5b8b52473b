"""What happens, as metrics for Prometheus. Needs ``pip install 'tornado-sse[metrics]'``.

What an event costs is what its counters cost, some 0.3 µs each: a publish adds to two of them, a fan-out to
three, however many the subscribers are. No metric is labelled by what clients or publishers can make up, such
as channels and addresses, so there are as many time series as there are reasons and statuses. What a broker
knows by itself is asked when somebody scrapes.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Final

from tornado.web import RequestHandler

from tornado_sse.observer import Observed, Observer
from tornado_sse.reason import Reason

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "tornado_sse.metrics needs prometheus-client: pip install 'tornado-sse[metrics]'", name=error.name
    ) from error

__all__ = ["Metrics", "MetricsHandler"]

# A fan-out holds the event loop as long as it takes. From few subscribers to a hundred thousand, and what
# would be felt as a hitch.
_FAN_OUT: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

# Proxies that cut a stream show at 30 s and 60 s, an `sse_max_age` at its own; a page is open for hours.
_DURATION: Final = (1, 5, 15, 30, 60, 120, 300, 900, 3600, 14400, 43200)

_GAPS: Final = ("expired", "epoch", "future", "malformed")
_REFUSALS: Final = (429, 503)


class Metrics(Observer):
    """An observer that keeps metrics::

        metrics = Metrics()
        broker = Broker(observer=metrics)
        app = Application([("/metrics", MetricsHandler, {"metrics": metrics}), ...], sse_broker=broker)

    An application without a broker names it as its ``sse_observer``; with both, nothing is counted twice. One
    will do for all brokers and applications of a process: their figures are added up, but for the lag, of
    which the longest is told.

    :arg registry: where the metrics are registered; None for prometheus_client's own ``REGISTRY``.
    :arg str prefix: what their names begin with.

    :raises ValueError: if the registry has metrics of that prefix already.
    """

    def __init__(self, registry: CollectorRegistry | None = None, prefix: str = "tornado_sse") -> None:
        #: Where the metrics are registered.
        self.registry = REGISTRY if registry is None else registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{prefix}_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"{prefix}_{name}", text, buckets=buckets, registry=self.registry)

        self._open = Gauge(f"{prefix}_streams_open", "Streams that are open.", registry=self.registry)
        self._opened = counter("streams_opened", "Streams that have been opened.")
        self._ended = counter("streams_ended", "Streams that have ended, by reason.", "reason")
        self._refused = counter(
            "streams_refused", "Streams refused for lack of room or before a stop, by HTTP status.", "status"
        )
        self._duration = histogram("stream_duration_seconds", "How long streams were open.", _DURATION)
        self._published = counter("events_published", "Events given to the log.")
        self._published_bytes = counter("events_published_bytes", "Bytes of the events given to the log.")
        self._deliveries = counter("deliveries", "Sends to live subscribers; one may hold several events.")
        self._delivered_bytes = counter("deliveries_bytes", "Bytes sent to live subscribers.")
        self._fan_out = histogram(
            "fan_out_seconds", "How long sending one turn's events to all live subscribers took.", _FAN_OUT
        )
        self._gaps = counter("gaps", "Clients told that they may have missed events, by reason.", "reason")
        self._behind = counter("subscribers_fell_behind", "Live subscribers that could not take a send.")
        # A child is made at its first use, which costs ten times as much; and a series that is there from the
        # beginning has no first increase that goes unseen.
        self._ended_for = {str(reason): self._ended.labels(str(reason)) for reason in Reason}
        self._refused_with = {status: self._refused.labels(str(status)) for status in _REFUSALS}
        self._gaps_for = {reason: self._gaps.labels(reason) for reason in _GAPS}
        self._brokers = _Brokers(prefix)
        self.registry.register(self._brokers)

    def watch(self, broker: Observed) -> None:
        """Tell of a broker's `Observed.stats` at each scrape, as long as somebody else holds the broker.

        Needed only for a broker that reports to another observer.
        """
        self._brokers.watched.add(broker)

    def on_broker(self, broker: Observed) -> None:
        """Watch it."""
        self.watch(broker)

    def on_open(self, description: str) -> None:
        """Count a stream."""
        self._open.inc()
        self._opened.inc()

    def on_close(self, description: str, reason: str, seconds: float, events: int, size: int) -> None:
        """Count its end."""
        self._open.dec()
        (self._ended_for.get(reason) or self._ended.labels(reason)).inc()
        self._duration.observe(seconds)

    def on_refuse(self, status: int) -> None:
        """Count a refusal."""
        (self._refused_with.get(status) or self._refused.labels(str(status))).inc()

    def on_publish(self, channel: str, size: int) -> None:
        """Count an event."""
        self._published.inc()
        self._published_bytes.inc(size)

    def on_fan_out(self, deliveries: int, size: int, seconds: float) -> None:
        """Count what has been sent."""
        if deliveries:
            self._deliveries.inc(deliveries)
            self._delivered_bytes.inc(size)
            self._fan_out.observe(seconds)

    def on_gap(self, channel: str, reason: str) -> None:
        """Count a gap."""
        (self._gaps_for.get(reason) or self._gaps.labels(reason)).inc()

    def on_behind(self, channels: tuple[str, ...]) -> None:
        """Count a subscriber that could not take what was sent."""
        self._behind.inc()


class _Brokers(Collector):
    """What brokers tell of themselves when they are asked."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.watched: weakref.WeakSet[Observed] = weakref.WeakSet()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield the names, by which a registry knows what it has; without this it would ask the brokers."""
        yield from self._families(0, 0, 0, 0, 0)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the figures."""
        stats = [broker.stats for broker in self.watched]
        yield from self._families(
            sum(each.subscribers for each in stats),
            sum(each.behind for each in stats),
            max((each.lag for each in stats), default=0),
            sum(each.channels for each in stats),
            sum(each.position for each in stats),
        )

    def _families(
        self, subscribers: int, behind: int, lag: int, channels: int, position: int
    ) -> Iterator[GaugeMetricFamily]:
        for name, text, value in (
            ("subscribers", "Streams that follow channels.", subscribers),
            ("subscribers_behind", "Subscribers that have not been sent everything.", behind),
            ("subscribers_lag", "Positions of the log that the last subscriber is behind.", lag),
            ("channels_followed", "Channels that are followed.", channels),
            ("log_position", "How far the log has been told.", position),
        ):
            yield GaugeMetricFamily(f"{self._prefix}_{name}", text, value)


class MetricsHandler(RequestHandler):
    """Answers a scrape, in OpenMetrics or the classic text format as the ``Accept`` header asks for.

    It answers anybody who can reach it: override ``prepare()`` to ask who it is, or listen for scrapes on a
    port of their own. The figures of brokers belong to the event loop, so prometheus_client's own server,
    which scrapes from a thread, is not for them.

    :arg metrics: a `Metrics`; all of its registry is told.
    """

    def initialize(self, metrics: Metrics) -> None:
        """Take what the route says."""
        self.metrics = metrics

    def get(self) -> None:
        """Answer with the metrics."""
        encode, content_type = choose_encoder(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", content_type)
        self.finish(encode(self.metrics.registry))
