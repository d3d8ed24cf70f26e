"""A registry of prometheus_client in what is pushed, and in what readers of the SDK are given."""

from __future__ import annotations

import re
from typing import Any

import prometheus_client as client
import pytest
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from prometheus_client.core import GaugeHistogramMetricFamily, SummaryMetricFamily

import otelbridge
from otelbridge.metrics.provider import MeterProvider
from otelbridge.neighbour.source import Neighbour
from otelbridge.neighbour.units import ucum
from tests.receiver import Receiver

DELTA = dict.fromkeys((Counter, ObservableCounter, Histogram), AggregationTemporality.DELTA)
CUMULATIVE = 2


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


class Quantiles:
    def collect(self):
        family = SummaryMetricFamily("wait", "Waiting.", count_value=3, sum_value=1.5)
        family.add_sample("wait", {"quantile": "0.5"}, 0.25)
        return [family, GaugeHistogramMetricFamily("queued", "", buckets=[("1", 1), ("+Inf", 2)], gsum_value=3)]

    def describe(self):
        return []


def populate(registry: client.CollectorRegistry) -> dict[str, Any]:
    requests = client.Counter("http_requests", "Requests.", ["method"], registry=registry)
    requests.labels("GET").inc(3, exemplar={"trace_id": "0" * 31 + "1", "span_id": "0" * 15 + "2", "user": "x"})
    client.Gauge("temperature", "Now.", unit="celsius", registry=registry).set(-2.5)
    latency = client.Histogram("latency", "Time.", unit="seconds", registry=registry, buckets=(0.1, 1))
    latency.observe(0.3)
    latency.observe(7)
    client.Info("build", "Build.", registry=registry).info({"version": "1.2"})
    client.Enum("phase", "State.", states=["up", "down"], registry=registry).state("down")
    registry.register(Quantiles())
    return {"requests": requests, "latency": latency}


def received(receiver: Receiver) -> tuple[Any, Any, dict[str, Any]]:
    """The resource, the scope and the metrics of prometheus_client in the last request."""
    request = receiver.requests[-1][2]
    (of_resource,) = request.resource_metrics
    (of_scope,) = [each for each in of_resource.scope_metrics if each.scope.name == "prometheus_client"]
    return of_resource.resource, of_scope.scope, {metric.name: metric for metric in of_scope.metrics}


def attributes(point: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in point.attributes}


def test_every_kind_is_pushed_with_our_resource(receiver) -> None:
    registry = client.CollectorRegistry()
    populate(registry)
    otelbridge.init(service_name="shop", otlp=receiver.url, prometheus=False, instrument=[], prometheus_client=registry)
    try:
        assert otelbridge.force_flush()
    finally:
        otelbridge.shutdown()
    resource, scope, metrics = received(receiver)
    assert {each.key: each.value.string_value for each in resource.attributes}["service.name"] == "shop"
    assert re.fullmatch(r"\d+\.\d+.*", scope.version)

    requests = metrics["http_requests"]
    assert (requests.description, requests.sum.is_monotonic) == ("Requests.", True)
    assert requests.sum.aggregation_temporality == CUMULATIVE
    (point,) = requests.sum.data_points
    assert (point.as_double, attributes(point)) == (3.0, {"method": "GET"})
    assert 1_000_000_000 * 10**9 < point.start_time_unix_nano <= point.time_unix_nano
    (exemplar,) = point.exemplars
    assert (exemplar.trace_id[-1], exemplar.span_id[-1], exemplar.as_double) == (1, 2, 3.0)
    assert [each.key for each in exemplar.filtered_attributes] == ["user"]

    gauge = metrics["temperature_celsius"]
    assert (gauge.unit, gauge.gauge.data_points[0].as_double) == ("Cel", -2.5)

    latency = metrics["latency_seconds"]
    (point,) = latency.histogram.data_points
    assert (latency.unit, list(point.explicit_bounds)) == ("s", [0.1, 1.0])
    assert (list(point.bucket_counts), point.count, point.sum) == ([0, 1, 1], 2, 7.3)
    assert not point.HasField("min")

    (point,) = metrics["wait"].summary.data_points
    assert (point.count, point.sum) == (3, 1.5)
    assert [(each.quantile, each.value) for each in point.quantile_values] == [(0.5, 0.25)]

    for name, states in (("build_info", {"1.2"}), ("phase", {"up", "down"})):
        data = metrics[name].sum
        assert (data.is_monotonic, data.aggregation_temporality) == (False, CUMULATIVE)
        assert {text for point in data.data_points for text in attributes(point).values()} == states
    assert metrics["queued_gcount"].gauge.data_points[0].as_double == 2.0


def test_every_destination_has_it(receiver) -> None:
    registry = client.CollectorRegistry()
    populate(registry)
    other = Receiver()
    destinations = [otelbridge.OtlpOptions(endpoint=url) for url in (receiver.url, other.url)]
    otelbridge.init(otlp=destinations, prometheus=False, instrument=[], prometheus_client=registry)
    try:
        assert otelbridge.force_flush()
    finally:
        otelbridge.shutdown()
        other.close()
    assert received(receiver)[2].keys() == received(other)[2].keys()


def collected(reader: InMemoryMetricReader) -> dict[str, Any]:
    data = reader.get_metrics_data()
    return {
        metric.name: metric.data
        for of_resource in (data.resource_metrics if data else ())
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
    }


def test_readers_of_the_sdk_are_given_what_its_data_model_has() -> None:
    registry = client.CollectorRegistry()
    populate(registry)
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.add_source(Neighbour(registry))
    found = collected(reader)
    assert {name: type(data).__name__ for name, data in found.items()} == {
        "http_requests": "Sum",
        "temperature_celsius": "Gauge",
        "latency_seconds": "Histogram",
        "build_info": "Sum",
        "phase": "Sum",
        "wait": "Histogram",  # the SDK knows no summaries: count and sum, without quantiles
        "queued_bucket": "Gauge",
        "queued_gcount": "Gauge",
        "queued_gsum": "Gauge",
    }
    (wait,) = found["wait"].data_points
    assert (wait.count, wait.sum, tuple(wait.explicit_bounds), tuple(wait.bucket_counts)) == (3, 1.5, (), (3,))
    (latency,) = found["latency_seconds"].data_points
    assert (latency.count, latency.sum, tuple(latency.bucket_counts)) == (2, 7.3, (0, 1, 1))
    assert found["latency_seconds"].aggregation_temporality is AggregationTemporality.CUMULATIVE
    (exemplar,) = found["http_requests"].data_points[0].exemplars
    assert exemplar.trace_id == 1
    provider.shutdown()


def test_readers_of_deltas_are_given_deltas() -> None:
    registry = client.CollectorRegistry()
    instruments = populate(registry)
    reader = InMemoryMetricReader(preferred_temporality=DELTA)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.add_source(Neighbour(registry))
    first = collected(reader)
    assert first["http_requests"].data_points[0].value == 3.0
    instruments["requests"].labels("GET").inc(2)
    instruments["latency"].observe(0.05)
    second = collected(reader)
    (requests,) = second["http_requests"].data_points
    (latency,) = second["latency_seconds"].data_points
    assert requests.value == 2.0
    assert (latency.count, latency.sum, tuple(latency.bucket_counts)) == (1, pytest.approx(0.05), (1, 0, 0))
    assert second["latency_seconds"].aggregation_temporality is AggregationTemporality.DELTA
    assert requests.start_time_unix_nano >= first["http_requests"].data_points[0].time_unix_nano
    instruments["requests"].labels("GET").inc(1)
    instruments["requests"].remove("GET")
    third = collected(reader)
    assert "latency_seconds" not in third or not third["latency_seconds"].data_points
    provider.shutdown()


def test_a_counter_that_is_reset_has_no_negative_delta() -> None:
    registry = client.CollectorRegistry()
    counter = client.Counter("things", "Things.", registry=registry)
    reader = InMemoryMetricReader(preferred_temporality=DELTA)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.add_source(Neighbour(registry))
    found: list[float] = []
    for height in (10, 15, 4, 9):
        counter.reset()
        counter.inc(height)
        found += [point.value for point in collected(reader)["things"].data_points]
    assert found == [10, 5, 4, 5]
    provider.shutdown()


def test_readers_come_and_go() -> None:
    registry = client.CollectorRegistry()
    populate(registry)
    first, second = InMemoryMetricReader(), InMemoryMetricReader(preferred_temporality=DELTA)
    provider = MeterProvider([first], shutdown_on_exit=False)
    provider.add_source(Neighbour(registry))
    assert "http_requests" in collected(first)
    provider.add_metric_reader(second)
    assert collected(second)["http_requests"].data_points[0].value == 3.0
    assert collected(first)["http_requests"].data_points[0].value == 3.0
    streams = [stream for stream in provider._consumer._streams.all() if stream.name == "http_requests"]
    assert [len(stream.matches) for stream in streams] == [2]
    provider.remove_metric_reader(second)
    assert [len(stream.matches) for stream in streams] == [1]
    assert collected(first)["http_requests"].data_points[0].value == 3.0
    provider.shutdown()


@pytest.mark.parametrize(("words", "code"), [("seconds", "s"), ("bytes", "By"), ("ratio", "1"), ("", ""), ("f", "f")])
def test_units_are_ucum(words, code) -> None:
    assert ucum(words) == code
