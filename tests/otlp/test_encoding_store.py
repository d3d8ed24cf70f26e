"""What is pushed from the store says what `collect` says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.metrics import Observation
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource

from otelbridge.metrics.current import Current
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.otlp.encoding import Encoder

VIEWS = (
    View(instrument_name="counter.seen.*", aggregation=LastValueAggregation()),
    View(instrument_name="histogram.none", aggregation=DropAggregation()),
    View(instrument_name="histogram.plain", aggregation=ExplicitBucketHistogramAggregation((1, 10), False)),
    View(instrument_name="histogram.exponential", aggregation=ExponentialBucketHistogramAggregation()),
    View(instrument_name="histogram.sum", aggregation=SumAggregation(), name="renamed", description="Of the view."),
)


class Played:
    """One store with a reader that collects and one that reads."""

    def __init__(self, processes: Processes | None = None) -> None:
        self.collecting, self.reading = InMemoryMetricReader(), InMemoryMetricReader()
        deltas = InMemoryMetricReader({Histogram: AggregationTemporality.DELTA})
        self.deltas = deltas
        self.provider = MeterProvider(
            [self.collecting, self.reading, deltas],
            resource=Resource({"service.name": "shop"}, "https://schema.test/1"),
            exemplar_filter=AlwaysOnExemplarFilter(),
            views=VIEWS,
            shutdown_on_exit=False,
            cardinality_limit=4,
            processes=processes,
        )
        self.meters = [self.provider.get_meter("a"), self.provider.get_meter("b", "1.0", "https://s.test", {"k": 1})]
        self.instruments: dict[tuple[int, str], Any] = {}
        self.observed: list[tuple[Any, dict[str, Any]]] = []
        self._current = Current()
        for number, meter in enumerate(self.meters):
            kinds = {
                "counter": meter.create_counter,
                "counter.seen.last": meter.create_counter,
                "up_down": meter.create_up_down_counter,
                "gauge": meter.create_gauge,
            }
            for name, create in kinds.items():
                self.instruments[number, name] = create(name, "s", "One.")
            for name in ("histogram", *(f"histogram.{view}" for view in ("none", "plain", "exponential", "sum"))):
                self.instruments[number, name] = meter.create_histogram(name)
            for kind in ("counter", "up_down_counter", "gauge"):
                create = getattr(meter, f"create_observable_{kind}")
                create(f"observed.{kind}", [lambda _: [Observation(*one) for one in self.observed]])

    def record(self, meter: int, name: str, amount: float, attributes: dict[str, Any]) -> None:
        instrument = self.instruments[meter, name]
        for method in ("add", "record", "set"):
            if hasattr(instrument, method):
                getattr(instrument, method)(amount, attributes)

    def both(self) -> tuple[bytes, bytes]:
        """What is read, and what is collected, but for when and for exemplars, of which each reader has its own."""
        resource, streams = self.provider.visit(self.reading, self._current.read)
        read = Encoder(1 << 30).encode(resource, streams)
        data = self.collecting.get_metrics_data()
        collected = [] if data is None else Encoder(1 << 30).encode_data(data)
        return b"".join(_timeless(one.body) for one in read), b"".join(_timeless(one.body) for one in collected)


def _timeless(body: bytes) -> bytes:
    message = ExportMetricsServiceRequest.FromString(body)
    for scope in message.resource_metrics[0].scope_metrics:
        for metric in scope.metrics:
            for point in getattr(metric, metric.WhichOneof("data")).data_points:
                point.ClearField("time_unix_nano")
                point.ClearField("exemplars")
                # Each of the SDK's observed streams begins when its reader first reads it.
                if metric.name.startswith("observed."):
                    point.ClearField("start_time_unix_nano")
    return message.SerializeToString(deterministic=True)


names = st.sampled_from(
    [
        "counter",
        "counter.seen.last",
        "up_down",
        "gauge",
        "histogram",
        "histogram.none",
        "histogram.plain",
        "histogram.exponential",
        "histogram.sum",
    ]
)
amounts = st.one_of(st.integers(0, 50), st.integers(0, 400).map(lambda n: n / 8))
sets = st.sampled_from([{}, {"a": "x"}, {"a": 1, "b": [1.5]}, {"a": True}, {"c": "1"}, {"c": "2"}, {"c": "3"}])
steps = st.one_of(
    st.tuples(st.just("record"), st.integers(0, 1), names, amounts, sets),
    st.tuples(st.just("observe"), amounts, sets),
    st.tuples(st.just("bind"), st.integers(0, 1), names, sets),
    st.tuples(st.just("remove"), st.integers(0, 1), names, sets),
    st.tuples(st.just("delta")),
    st.tuples(st.just("compare")),
)


def _play(played: Played, script) -> None:
    played.record(0, "counter", 1, {})
    for what, *rest in script:
        if what == "record":
            played.record(*rest)
        elif what == "observe":
            played.observed = [*played.observed[-2:], tuple(rest)]
        elif what in ("bind", "remove"):
            meter, name, attributes = rest
            getattr(played.instruments[meter, name], what)(attributes)
        elif what == "delta":
            played.deltas.collect()
        else:
            read, collected = played.both()
            assert read == collected
    read, collected = played.both()
    assert read == collected


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=25))
def test_it_is_what_collect_says(script) -> None:
    played = Played()
    try:
        _play(played, script)
    finally:
        played.provider.shutdown()


@settings(max_examples=40, deadline=None)
@given(script=st.lists(steps, max_size=25))
def test_it_is_what_collect_says_of_a_group(script, tmp_path_factory) -> None:
    played = Played(Processes("shop", tmp_path_factory.mktemp("group")))
    try:
        _play(played, script)
    finally:
        played.provider.shutdown()


def test_exemplars_are_pushed() -> None:
    played = Played()
    context = trace.SpanContext(0xABC, 0xD, False, trace.TraceFlags(trace.TraceFlags.SAMPLED))
    with trace.use_span(trace.NonRecordingSpan(context)):
        played.record(0, "counter", 3, {"a": "x"})
        played.record(0, "histogram", 7, {"a": "x"})
    resource, streams = played.provider.visit(played.reading, Current().read)
    (request,) = Encoder().encode(resource, streams)
    message = ExportMetricsServiceRequest.FromString(request.body)
    found = {metric.name: metric for metric in message.resource_metrics[0].scope_metrics[0].metrics}
    for point in (found["counter"].sum.data_points[0], found["histogram"].histogram.data_points[0]):
        (exemplar,) = point.exemplars
        assert exemplar.trace_id == (0xABC).to_bytes(16, "big")
        assert exemplar.span_id == (0xD).to_bytes(8, "big")
    played.provider.shutdown()


@pytest.mark.parametrize("name", ["gauge", "counter.seen.last"])
def test_a_series_that_is_only_bound_has_no_last_value(name) -> None:
    played = Played()
    played.record(0, "counter", 1, {})
    handle = played.instruments[0, name].bind({"a": "x"})
    _, streams = played.provider.visit(played.reading, Current().read)
    assert [stream.name for stream in streams] == ["counter"]
    assert handle is not None
    played.provider.shutdown()
