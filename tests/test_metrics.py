from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

from tests.support import Connect, Logs, until
from tornado_sse import Broker, Reason, SSEHandler
from tornado_sse.metrics import Metrics, MetricsHandler

Serve = Callable[..., None]


class Follow(SSEHandler):
    async def open(self, channel: str) -> None:
        await self.subscribe(channel)


class Idle(SSEHandler):
    """Sends its head and nothing else."""


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"tornado_sse_{name}", labels)


# Counting


@pytest.mark.gen_test
async def test_streams_are_counted(serve: Serve, connect: Connect, metrics: Metrics, logs: Logs) -> None:
    serve(Idle, sse_observer=metrics, sse_max_streams=2)
    first, second = [await (await connect()).request("/idle") for _ in range(2)]
    assert (value(metrics, "streams_open"), value(metrics, "streams_opened_total")) == (2, 2)
    await (await connect()).request("/idle")
    assert value(metrics, "streams_refused_total", status="503") == 1
    first.close()
    second.close()
    await until(lambda: value(metrics, "streams_open") == 0)
    assert value(metrics, "streams_ended_total", reason="disconnected") == 2
    assert value(metrics, "stream_duration_seconds_count") == 2
    assert value(metrics, "streams_opened_total") == 2
    logs.claim("503")


@pytest.mark.gen_test
async def test_what_is_published_and_sent_is_counted(
    serve: Serve, connect: Connect, metrics: Metrics
) -> None:
    broker = Broker(observer=metrics)
    serve(Follow, sse_broker=broker)
    clients = [await (await connect()).request("/follow/news") for _ in range(3)]
    await broker.publish("news", {"n": 1})
    await broker.publish("nobody-listens", {"n": 1})
    for it in clients:
        await it.event()
    frame = len(b'codec: json\ndata: {"n":1}\n\n')
    assert value(metrics, "events_published_total") == 2
    assert value(metrics, "events_published_bytes_total") == 2 * frame
    assert value(metrics, "deliveries_total") == 3
    sent = value(metrics, "deliveries_bytes_total")
    assert sent is not None
    assert sent > 3 * frame
    assert value(metrics, "fan_out_seconds_count") == 1


@pytest.mark.gen_test
async def test_a_broker_is_asked_at_the_scrape(serve: Serve, connect: Connect, metrics: Metrics) -> None:
    broker = Broker(observer=metrics)
    serve(Follow, sse_broker=broker)
    figures = ("subscribers", "subscribers_behind", "subscribers_lag", "channels_followed", "log_position")
    assert [value(metrics, name) for name in figures] == [0, 0, 0, 0, 0]
    it = await (await connect()).request("/follow/news")
    other = await (await connect()).request("/follow/weather")
    await broker.publish("news", 1)
    await it.event()
    assert [value(metrics, name) for name in figures] == [2, 0, 0, 2, 1]
    it.writer.transport.pause_reading()  # type: ignore[attr-defined]
    while not value(metrics, "subscribers_fell_behind_total"):
        await broker.publish("news", "x" * 100_000)
    await broker.publish("news", 2)
    assert value(metrics, "subscribers_behind") == 1
    assert (value(metrics, "subscribers_lag") or 0) >= 1
    it.reset()
    other.reset()
    await until(lambda: value(metrics, "subscribers") == 0)
    assert value(metrics, "channels_followed") == 0


@pytest.mark.gen_test
async def test_gaps_are_counted_by_reason(serve: Serve, connect: Connect, metrics: Metrics) -> None:
    serve(Follow, sse_broker=Broker(observer=metrics))
    it = await (await connect()).request("/follow/news", headers=[("Last-Event-ID", "who knows")])
    assert (await it.event()).type == "gap"
    assert value(metrics, "gaps_total", reason="malformed") == 1
    assert value(metrics, "gaps_total", reason="expired") == 0


@pytest.mark.gen_test
async def test_one_that_observes_both_broker_and_application_counts_once(
    serve: Serve, connect: Connect, metrics: Metrics
) -> None:
    broker = Broker(observer=metrics)
    metrics.watch(broker)

    class Thrice(Follow):
        sse_observer = metrics

    serve(Follow, Thrice, sse_broker=broker, sse_observer=metrics)
    for path in ("/follow/news", "/thrice/news"):
        it = await (await connect()).request(path)
        await broker.publish("news", 1)
        await it.event()
    assert (value(metrics, "streams_opened_total"), value(metrics, "subscribers")) == (2, 2)
    assert (value(metrics, "events_published_total"), value(metrics, "log_position")) == (2, 2)
    assert value(metrics, "deliveries_total") == 3


def test_several_brokers_are_added_up_and_those_that_are_gone_are_not_kept(metrics: Metrics) -> None:
    brokers = [Broker(observer=metrics), Broker()]
    metrics.watch(brokers[1])
    assert value(metrics, "subscribers") == 0
    assert len(metrics._brokers.watched) == 2
    brokers.clear()
    gc.collect()
    assert len(metrics._brokers.watched) == 0
    assert value(metrics, "log_position") == 0


# The series


def test_every_series_is_there_from_the_beginning(metrics: Metrics) -> None:
    for reason in Reason:
        assert value(metrics, "streams_ended_total", reason=reason.value) == 0
    for status in ("429", "503"):
        assert value(metrics, "streams_refused_total", status=status) == 0
    for reason in ("expired", "epoch", "future", "malformed"):
        assert value(metrics, "gaps_total", reason=reason) == 0


@pytest.mark.gen_test
async def test_no_channel_address_or_path_becomes_a_label(
    serve: Serve, connect: Connect, metrics: Metrics
) -> None:
    def series() -> int:
        return sum(len(family.samples) for family in metrics.registry.collect())

    broker = Broker(observer=metrics)
    serve(Follow, sse_broker=broker)
    before = series()
    for i in range(20):
        it = await (await connect()).request(f"/follow/c{i}", headers=[("Last-Event-ID", f"x{i}")])
        await broker.publish(f"c{i}", i)
        await it.events(2)
    assert series() == before


def test_what_is_not_foreseen_is_counted_all_the_same(metrics: Metrics) -> None:
    metrics.on_refuse(418)
    metrics.on_gap("news", "sunspots")
    metrics.on_open("GET /")
    metrics.on_close("GET /", "bored", 1.0, 2, 3)
    assert value(metrics, "streams_refused_total", status="418") == 1
    assert value(metrics, "gaps_total", reason="sunspots") == 1
    assert value(metrics, "streams_ended_total", reason="bored") == 1


def test_a_registry_takes_each_prefix_once() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    Metrics(registry, prefix="other")
    with pytest.raises(ValueError, match="tornado_sse_streams_open"):
        Metrics(registry)
    assert registry.get_sample_value("other_subscribers") == 0


def test_the_default_registry_is_that_of_prometheus() -> None:
    script = (
        "import prometheus_client, tornado_sse.metrics as m; "
        "assert m.Metrics().registry is prometheus_client.REGISTRY"
    )
    # In a process of its own, since what is registered there stays.
    subprocess.run([sys.executable, "-c", script], check=True)


# The scrape


@pytest.mark.gen_test
async def test_a_scrape_is_answered_in_the_format_that_is_asked_for(
    app: object, serve: Serve, connect: Connect, metrics: Metrics
) -> None:
    broker = Broker(observer=metrics)
    serve(Follow, sse_broker=broker)
    app.add_handlers(".*", [("/metrics", MetricsHandler, {"metrics": metrics})])  # type: ignore[attr-defined]
    it = await (await connect()).request("/follow/news")
    await broker.publish("news", 1)
    await it.event()
    for accept, expected, parse in (
        (None, "text/plain; version=0.0.4; charset=utf-8", parse_classic),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", parse_classic),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            parse_openmetrics,
        ),
    ):
        headers = [] if accept is None else [("Accept", accept)]
        scrape = await (await connect()).request("/metrics", headers=headers)
        assert scrape.status == 200
        assert scrape.headers["Content-Type"].startswith(expected)
        body = (await scrape.reader.readexactly(int(scrape.headers["Content-Length"]))).decode()
        samples = {
            sample.name: sample.value
            for family in parse(body)
            for sample in family.samples
            if not sample.labels
        }
        names = ("streams_open", "events_published_total", "deliveries_total", "subscribers", "log_position")
        assert [samples[f"tornado_sse_{name}"] for name in names] == [1, 1, 1, 1, 1]


def test_without_prometheus_client_the_extra_is_named() -> None:
    script = """
import sys
sys.modules["prometheus_client"] = None
import tornado_sse
try:
    import tornado_sse.metrics
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert "pip install 'tornado-sse[metrics]'" in done.stdout


def test_the_package_does_without_it() -> None:
    script = "import sys, tornado_sse; assert 'prometheus_client' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
