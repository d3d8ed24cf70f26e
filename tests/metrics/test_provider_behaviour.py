"""What a meter provider does in public: the specification's and the SDK documentation's points, one by one.

Tests with `provider_class` hold for the SDK's provider as well, which keeps them honest. The others are
about what ours adds: `bind`, limits, and calls that are safe anywhere.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import prometheus_client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import metrics as api
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import NoOpMeter, Observation
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, AlwaysOnExemplarFilter
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics._sdk import Gauge as SdkGauge
from otelbridge.metrics.provider import MeterProvider
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDING = {"counter": "add", "up_down_counter": "add", "histogram": "record", "gauge": "set"}
OBSERVABLE = ["observable_counter", "observable_up_down_counter", "observable_gauge"]
SDK_TYPES = {
    "counter": sdk.Counter,
    "up_down_counter": sdk.UpDownCounter,
    "histogram": sdk.Histogram,
    "gauge": SdkGauge,
    "observable_counter": sdk.ObservableCounter,
    "observable_up_down_counter": sdk.ObservableUpDownCounter,
    "observable_gauge": sdk.ObservableGauge,
}
DELTA = dict.fromkeys(SDK_TYPES.values(), AggregationTemporality.DELTA)
OVERFLOW = {"otel.metric.overflow": True}


@pytest.fixture(autouse=True)
def _every_cause_is_news():
    forget_warnings()


@pytest.fixture(params=[SdkMeterProvider, MeterProvider], ids=["sdk", "otelbridge"])
def provider_class(request: pytest.FixtureRequest) -> type[SdkMeterProvider]:
    return request.param


def build(provider_class: type[SdkMeterProvider] = MeterProvider, **arguments: Any) -> tuple[Any, Any]:
    """A provider with one reader, which is given too."""
    reader = arguments.pop("reader", None) or InMemoryMetricReader()
    return provider_class([reader], shutdown_on_exit=False, **arguments), reader


def metrics_of(reader: Any) -> dict[str, Any]:
    data = reader.get_metrics_data()
    return {
        metric.name: metric
        for resource_metrics in (data.resource_metrics if data else ())
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
    }


def values(metric: Any) -> list[tuple[dict[str, Any], Any]]:
    """(attributes, value) of each point; of a histogram (attributes, (count, sum))."""
    return [
        (dict(point.attributes), point.value if hasattr(point, "value") else (point.count, point.sum))
        for point in metric.data.data_points
    ]


# Providers and meters


def test_is_a_provider_of_the_sdk_and_of_the_api() -> None:
    provider, _ = build()
    assert isinstance(provider, SdkMeterProvider)
    assert isinstance(provider, api.MeterProvider)
    assert isinstance(provider.get_meter("lib"), sdk.Meter)


@pytest.mark.parametrize("kind", SDK_TYPES)
def test_instruments_are_those_of_the_sdk(provider_class, kind) -> None:
    meter = build(provider_class)[0].get_meter("lib")
    instrument = getattr(meter, f"create_{kind}")("name", unit="s", description="Text.")
    assert isinstance(instrument, SDK_TYPES[kind])
    assert (instrument.name, instrument.unit, instrument.description) == ("name", "s", "Text.")


def test_a_scope_has_one_meter(provider_class) -> None:
    provider, _ = build(provider_class)
    meter = provider.get_meter("lib", "1", "https://schema.test/1", {"k": "v"})
    assert provider.get_meter("lib", "1", "https://schema.test/1", {"k": "v"}) is meter
    for other in [("lib",), ("lib", "2"), ("lib", "1"), ("lib", "1", "https://schema.test/1", {"k": "w"})]:
        assert provider.get_meter(*other) is not meter


@pytest.mark.parametrize("name", ["", None])
def test_a_meter_without_a_name_does_nothing_and_is_reported(provider_class, name, caplog) -> None:
    provider, reader = build(provider_class)
    meter = provider.get_meter(name)
    meter.create_counter("c").add(1)
    assert isinstance(meter, NoOpMeter)
    assert len(caplog.records) == 1
    assert metrics_of(reader) == {}


def test_the_resource_and_the_scope_are_on_the_data(provider_class) -> None:
    provider, reader = build(provider_class, resource=Resource({"service.name": "shop"}, "https://schema.test/r"))
    provider.get_meter("lib", "1", "https://schema.test/s", {"k": "v"}).create_counter("c").add(1)
    (of_resource,) = reader.get_metrics_data().resource_metrics
    (of_scope,) = of_resource.scope_metrics
    assert (of_resource.resource.attributes["service.name"], of_resource.schema_url) == (
        "shop",
        "https://schema.test/r",
    )
    assert (of_scope.scope.name, of_scope.scope.version, of_scope.schema_url) == ("lib", "1", "https://schema.test/s")
    assert dict(of_scope.scope.attributes) == {"k": "v"}


@pytest.mark.parametrize("value", ["true", "TRUE", " true "])
def test_a_disabled_sdk_records_nothing(provider_class, monkeypatch, value) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", value)
    provider, reader = build(provider_class)
    meter = provider.get_meter("lib")
    meter.create_counter("c").add(1)
    assert isinstance(meter, NoOpMeter)
    assert reader.get_metrics_data() is None


# Instruments


@pytest.mark.parametrize("name", ["", "1st", "a b", "a" * 256, "naïve", "_a", "a?"])
@pytest.mark.parametrize("kind", SDK_TYPES)
def test_an_invalid_instrument_name_is_refused(provider_class, kind, name) -> None:
    meter = build(provider_class)[0].get_meter("lib")
    with pytest.raises(Exception, match="maximum length 255"):
        getattr(meter, f"create_{kind}")(name)


@pytest.mark.parametrize("name", ["a", "A", "a.b-c_d/e", "a" * 255])
def test_a_valid_instrument_name_is_taken_in_lower_case(provider_class, name) -> None:
    provider, reader = build(provider_class)
    provider.get_meter("lib").create_counter(name).add(1)
    assert list(metrics_of(reader)) == [name.lower()]


def test_a_unit_that_is_too_long_is_refused(provider_class) -> None:
    meter = build(provider_class)[0].get_meter("lib")
    with pytest.raises(Exception, match="maximum length 63"):
        meter.create_counter("c", unit="u" * 64)


@pytest.mark.parametrize("kind", SDK_TYPES)
def test_an_identical_instrument_is_the_same_one(provider_class, kind, caplog) -> None:
    meter = build(provider_class)[0].get_meter("lib")
    create = getattr(meter, f"create_{kind}")
    assert create("name", unit="s", description="d") is create("NAME", unit="s", description="d")
    assert not caplog.records


def test_instruments_of_one_name_that_differ_are_both_there(provider_class) -> None:
    provider, reader = build(provider_class)
    meter = provider.get_meter("lib")
    meter.create_counter("name", unit="s", description="One.").add(1)
    meter.create_counter("name", unit="s", description="Two.").add(2)
    meter.create_histogram("name", unit="s").record(3)
    (of_scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
    assert sorted((metric.description, type(metric.data).__name__) for metric in of_scope.metrics) == [
        ("", "Histogram"),
        ("One.", "Sum"),
        ("Two.", "Sum"),
    ]


def test_the_first_advice_of_identical_histograms_holds(provider_class, caplog) -> None:
    provider, reader = build(provider_class)
    meter = provider.get_meter("lib")
    first = meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1])
    second = meter.create_histogram("h", explicit_bucket_boundaries_advisory=[2])
    second.record(1)
    assert first is second
    assert metrics_of(reader)["h"].data.data_points[0].explicit_bounds == (1,)
    assert "different advisory" in caplog.text


def test_meters_do_not_share_instruments(provider_class) -> None:
    provider, reader = build(provider_class)
    provider.get_meter("one").create_counter("c").add(1)
    provider.get_meter("two").create_counter("c").add(2)
    scopes = reader.get_metrics_data().resource_metrics[0].scope_metrics
    assert {scope.scope.name: values(scope.metrics[0]) for scope in scopes} == {"one": [({}, 1)], "two": [({}, 2)]}


def test_an_instrument_nobody_used_is_not_reported(provider_class) -> None:
    provider, reader = build(provider_class)
    meter = provider.get_meter("lib")
    for kind in SDK_TYPES:
        getattr(meter, f"create_{kind}")(kind)
    assert reader.get_metrics_data() is None


def test_advised_boundaries_are_used(provider_class) -> None:
    provider, reader = build(provider_class)
    meter = provider.get_meter("lib")
    meter.create_histogram("advised", explicit_bucket_boundaries_advisory=[1, 2.5]).record(2)
    meter.create_histogram("one", explicit_bucket_boundaries_advisory=[]).record(2)
    meter.create_histogram("plain").record(2)
    points = {name: metric.data.data_points[0] for name, metric in metrics_of(reader).items()}
    assert (points["advised"].explicit_bounds, points["advised"].bucket_counts) == ((1, 2.5), (0, 1, 0))
    assert (points["one"].explicit_bounds, points["one"].bucket_counts) == ((), (1,))
    assert len(points["plain"].explicit_bounds) == 15


@pytest.mark.parametrize("advice", ["12", [1, "2"], 5, {1: 2}])
def test_wrong_advice_is_reported_and_left_out(provider_class, advice, caplog) -> None:
    provider, reader = build(provider_class)
    provider.get_meter("lib").create_histogram("h", explicit_bucket_boundaries_advisory=advice).record(2)
    assert len(metrics_of(reader)["h"].data.data_points[0].explicit_bounds) == 15
    assert "explicit_bucket_boundaries_advisory" in caplog.text


def test_a_bucket_takes_its_upper_boundary_in(provider_class) -> None:
    provider, reader = build(provider_class)
    histogram = provider.get_meter("lib").create_histogram("h", explicit_bucket_boundaries_advisory=[1, 5])
    for amount in (1, 1.0000001, 5, 6):
        histogram.record(amount)
    (point,) = metrics_of(reader)["h"].data.data_points
    assert (point.bucket_counts, point.min, point.max, point.count) == ((1, 2, 1), 1, 6, 4)


@pytest.mark.parametrize(
    ("kind", "kept"), [("counter", False), ("histogram", False), ("up_down_counter", True), ("gauge", True)]
)
def test_negative_amounts_only_where_they_make_sense(provider_class, kind, kept) -> None:
    provider, reader = build(provider_class)
    instrument = getattr(provider.get_meter("lib"), f"create_{kind}")("i")
    getattr(instrument, RECORDING[kind])(-1)
    assert metrics_of(reader).keys() == ({"i"} if kept else set())


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", RECORDING)
def test_amounts_that_are_not_finite_are_left_out(provider_class, kind, amount, caplog) -> None:
    provider, reader = build(provider_class)
    instrument = getattr(provider.get_meter("lib"), f"create_{kind}")("i")
    getattr(instrument, RECORDING[kind])(amount)
    assert reader.get_metrics_data() is None
    assert len(caplog.records) == 1


def test_integers_stay_integers_and_floats_floats(provider_class) -> None:
    provider, reader = build(provider_class)
    meter = provider.get_meter("lib")
    meter.create_counter("whole").add(2)
    meter.create_counter("broken").add(2.0)
    meter.create_gauge("set").set(3)
    found = {name: metric.data.data_points[0].value for name, metric in metrics_of(reader).items()}
    assert {name: type(value) for name, value in found.items()} == {"whole": int, "broken": float, "set": int}


def test_attribute_values_of_equal_hash_are_kept_apart(provider_class) -> None:
    provider, reader = build(provider_class)
    counter = provider.get_meter("lib").create_counter("c")
    for value in (True, 1, 1.0, "1", True, 1, 1.0, "1"):
        counter.add(1, {"k": value})
    points = values(metrics_of(reader)["c"])
    assert sorted((type(attributes["k"]).__name__, total) for attributes, total in points) == [
        ("bool", 2),
        ("float", 2),
        ("int", 2),
        ("str", 2),
    ]


def test_the_order_of_attributes_does_not_matter(provider_class) -> None:
    provider, reader = build(provider_class)
    counter = provider.get_meter("lib").create_counter("c")
    counter.add(1, {"a": "x", "b": "y"})
    counter.add(1, {"b": "y", "a": "x"})
    assert values(metrics_of(reader)["c"]) == [({"a": "x", "b": "y"}, 2)]


def test_a_caller_may_reuse_its_dict(provider_class) -> None:
    provider, reader = build(provider_class)
    counter = provider.get_meter("lib").create_counter("c")
    attributes = {"a": "x"}
    counter.add(1, attributes)
    attributes["a"] = "y"
    counter.add(2, attributes)
    assert sorted(value for _, value in values(metrics_of(reader)["c"])) == [1, 2]


# Observables


def test_callbacks_give_their_values_at_every_collection(provider_class) -> None:
    provider, reader = build(provider_class)
    heights = iter([10, 15])
    provider.get_meter("lib").create_observable_counter("c", [lambda _: [Observation(next(heights), {"k": "v"})]])
    assert values(metrics_of(reader)["c"]) == [({"k": "v"}, 10)]
    assert values(metrics_of(reader)["c"]) == [({"k": "v"}, 15)]


def test_a_reader_of_deltas_gets_the_growth_of_an_observable(provider_class) -> None:
    provider, reader = build(provider_class, reader=InMemoryMetricReader(DELTA))
    heights = iter([10, 15])
    provider.get_meter("lib").create_observable_counter("c", [lambda _: [Observation(next(heights))]])
    assert [values(metrics_of(reader)["c"]) for _ in range(2)] == [[({}, 10)], [({}, 5)]]


def test_what_is_observed_no_more_goes(provider_class) -> None:
    provider, reader = build(provider_class)
    seen = [Observation(1, {"k": "a"}), Observation(2, {"k": "b"})]
    provider.get_meter("lib").create_observable_gauge("g", [lambda _: seen])
    assert len(values(metrics_of(reader)["g"])) == 2
    del seen[0]
    assert values(metrics_of(reader)["g"]) == [({"k": "b"}, 2)]


def test_a_generator_can_be_a_callback(provider_class) -> None:
    def heights() -> Iterator[list[Observation]]:
        options = yield []
        for height in (1, 2):
            assert options.timeout_millis > 0
            options = yield [Observation(height)]

    provider, reader = build(provider_class)
    provider.get_meter("lib").create_observable_gauge("g", [heights()])
    assert [values(metrics_of(reader)["g"]) for _ in range(2)] == [[({}, 1)], [({}, 2)]]
    assert "g" not in metrics_of(reader), "an exhausted generator observes nothing"


def _raise(options: Any) -> Any:
    raise RuntimeError("out of order")


@pytest.mark.parametrize(
    "broken",
    [
        _raise,
        lambda _: None,
        lambda _: 5,
        lambda _: [object()],
        lambda _: [Observation("x")],
        list,
        lambda _: [None],
    ],
    ids=["raises", "none", "number", "object", "text", "signature", "list-of-none"],
)
@pytest.mark.parametrize("kind", OBSERVABLE)
def test_a_broken_callback_costs_the_others_nothing(provider_class, kind, broken, caplog) -> None:
    provider, reader = build(provider_class)
    meter = provider.get_meter("lib")
    getattr(meter, f"create_{kind}")("broken", [broken, lambda _: [Observation(1)]])
    getattr(meter, f"create_{kind}")("sound", [lambda _: [Observation(2)]])
    found = metrics_of(reader)
    assert values(found["broken"]) == [({}, 1)]
    assert values(found["sound"]) == [({}, 2)]
    assert caplog.records


def test_a_callback_may_create_and_use_other_instruments(provider_class) -> None:
    provider, reader = build(provider_class)
    meter = provider.get_meter("lib")
    collected = threading.Event()

    def observe(options: Any) -> list[Observation]:
        meter.create_counter("calls").add(1)
        meter.create_histogram("took").record(1)
        return [Observation(1)]

    meter.create_observable_gauge("g", [observe])
    # On a thread, so that a deadlock is a failure and not a hanging run.
    threading.Thread(target=lambda: (reader.collect(), collected.set()), daemon=True).start()
    assert collected.wait(60)
    assert values(metrics_of(reader)["calls"]) == [({}, 2)]


# Views


def test_views_rename_describe_and_choose_attributes(provider_class) -> None:
    view = View(instrument_name="c", name="renamed", description="Of the view.", attribute_keys={"kept"})
    provider, reader = build(provider_class, views=[view])
    counter = provider.get_meter("lib").create_counter("c", description="Its own.")
    counter.add(1, {"kept": "x", "other": "1"})
    counter.add(1, {"other": "2", "kept": "x"})
    counter.add(1)
    (metric,) = metrics_of(reader).values()
    assert (metric.name, metric.description) == ("renamed", "Of the view.")
    assert sorted(values(metric), key=str) == [({"kept": "x"}, 2), ({}, 1)]


def test_every_view_that_matches_makes_a_stream(provider_class) -> None:
    views = [View(instrument_name="h", name="a"), View(instrument_name="h", name="b", attribute_keys=set())]
    provider, reader = build(provider_class, views=views)
    provider.get_meter("lib").create_histogram("h").record(1, {"k": "v"})
    assert {name: values(metric) for name, metric in metrics_of(reader).items()} == {
        "a": [({"k": "v"}, (1, 1))],
        "b": [({}, (1, 1))],
    }


def test_dropped_and_picked_instruments(provider_class) -> None:
    views = [View(instrument_name="*", aggregation=DropAggregation()), View(instrument_name="picked")]
    provider, reader = build(provider_class, views=views)
    meter = provider.get_meter("lib")
    meter.create_counter("left").add(1)
    meter.create_counter("picked").add(1)
    assert list(metrics_of(reader)) == ["picked"]


def test_views_that_make_two_instruments_one_are_reported(provider_class, caplog) -> None:
    views = [View(instrument_name="a", name="same"), View(instrument_name="b", name="same")]
    provider, reader = build(provider_class, views=views)
    meter = provider.get_meter("lib")
    meter.create_counter("a").add(1)
    meter.create_counter("b").add(2)
    (of_scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
    assert [metric.name for metric in of_scope.metrics] == ["same", "same"]
    assert len(caplog.records) == 1


def test_a_histogram_view_is_not_applied_to_an_observable(provider_class, caplog) -> None:
    provider, reader = build(
        provider_class, views=[View(instrument_name="*", name=None, aggregation=ExplicitBucketHistogramAggregation())]
    )
    provider.get_meter("lib").create_observable_counter("c", [lambda _: [Observation(1)]])
    assert values(metrics_of(reader)["c"]) == [({}, 1)]
    assert "semantic errors" in caplog.text


# Readers


def test_readers_are_independent(provider_class) -> None:
    cumulative, delta = InMemoryMetricReader(), InMemoryMetricReader(DELTA)
    counter = provider_class([cumulative, delta], shutdown_on_exit=False).get_meter("lib").create_counter("c")
    totals: list[tuple[Any, Any]] = []
    for amount in (1, 2, 3):
        counter.add(amount)
        totals.append((values(metrics_of(cumulative)["c"])[0][1], values(metrics_of(delta)["c"])[0][1]))
    assert totals == [(1, 1), (3, 2), (6, 3)]
    assert metrics_of(delta) == {}
    assert values(metrics_of(cumulative)["c"]) == [({}, 6)]


def test_a_reader_belongs_to_one_provider(provider_class) -> None:
    provider, reader = build(provider_class)
    with pytest.raises(Exception, match="registered already"):
        provider_class([reader], shutdown_on_exit=False)
    provider.shutdown()


def test_a_reader_can_come_later_and_go(provider_class, caplog) -> None:
    provider, first = build(provider_class)
    counter = provider.get_meter("lib").create_counter("c")
    late = InMemoryMetricReader()
    provider.add_metric_reader(late)
    counter.add(2)
    assert values(metrics_of(late)["c"]) == values(metrics_of(first)["c"]) == [({}, 2)]
    provider.remove_metric_reader(late)
    assert not caplog.records
    counter.add(1)
    assert late.get_metrics_data() is None
    assert values(metrics_of(first)["c"]) == [({}, 3)]


def test_a_late_reader_reads_the_one_store() -> None:
    provider, _ = build()
    provider.get_meter("lib").create_counter("c").add(5)
    late = InMemoryMetricReader()
    provider.add_metric_reader(late)
    assert values(metrics_of(late)["c"]) == [({}, 5)]


def test_adding_twice_and_removing_a_stranger_are_reported(provider_class, caplog) -> None:
    provider, reader = build(provider_class)
    provider.add_metric_reader(reader)
    provider.remove_metric_reader(InMemoryMetricReader())
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert reader.get_metrics_data() is None


class _Failing(InMemoryMetricReader):
    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        raise RuntimeError("no flush")

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        raise RuntimeError("no end")


class _Noting(InMemoryMetricReader):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        self.calls.append("flush")
        return super().force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self.calls.append("shutdown")


def test_flush_and_shutdown_reach_every_reader_even_after_one_that_fails(provider_class) -> None:
    noting = _Noting()
    provider = provider_class([_Failing(), noting], shutdown_on_exit=False)
    with pytest.raises(Exception, match="no flush"):
        provider.force_flush()
    with pytest.raises(Exception, match="no end"):
        provider.shutdown()
    assert noting.calls == ["flush", "shutdown"]


def test_a_second_shutdown_does_nothing_but_warn(provider_class, caplog) -> None:
    noting = _Noting()
    provider = provider_class([noting], shutdown_on_exit=False)
    assert provider.force_flush() is True
    provider.shutdown()
    provider.shutdown()
    assert noting.calls == ["flush", "shutdown"]
    assert len(caplog.records) == 1
    assert isinstance(provider.get_meter("lib"), NoOpMeter)


def test_recording_after_shutdown_is_harmless(provider_class) -> None:
    provider, _ = build(provider_class)
    meter = provider.get_meter("lib")
    instruments = {kind: getattr(meter, f"create_{kind}")(kind) for kind in RECORDING}
    provider.shutdown()
    for kind, instrument in instruments.items():
        assert getattr(instrument, RECORDING[kind])(1, {"k": "v"}) is None
        assert getattr(getattr(meter, f"create_{kind}")(f"{kind}.new"), RECORDING[kind])(1) is None


# Exemplars


@pytest.fixture
def tracer(monkeypatch) -> Any:
    """A tracer of the global provider: without one, ours takes it that no span is ever sampled."""
    provider = TracerProvider()
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
    return provider.get_tracer("test")


def _exemplars(reader: Any, name: str) -> list[Any]:
    return [exemplar for point in metrics_of(reader)[name].data.data_points for exemplar in point.exemplars]


@pytest.mark.parametrize("kind", RECORDING)
def test_a_sampled_span_makes_an_exemplar(provider_class, kind, tracer) -> None:
    provider, reader = build(provider_class, views=[View(instrument_name="*", attribute_keys={"kept"})])
    instrument = getattr(provider.get_meter("lib"), f"create_{kind}")("i")
    with tracer.start_as_current_span("span") as span:
        getattr(instrument, RECORDING[kind])(7, {"kept": "x", "left": "y"})
    (exemplar,) = _exemplars(reader, "i")
    context = span.get_span_context()
    assert (exemplar.span_id, exemplar.trace_id, exemplar.value) == (context.span_id, context.trace_id, 7)
    assert dict(exemplar.filtered_attributes) == {"left": "y"}


def test_no_exemplar_without_a_sampled_span(provider_class, tracer) -> None:
    provider, reader = build(provider_class)
    histogram = provider.get_meter("lib").create_histogram("h")
    histogram.record(1)
    with TracerProvider(sampler=ALWAYS_OFF).get_tracer("t").start_as_current_span("span"):
        histogram.record(2)
    assert _exemplars(reader, "h") == []


@pytest.mark.parametrize(("exemplar_filter", "count"), [(AlwaysOffExemplarFilter, 0), (AlwaysOnExemplarFilter, 1)])
def test_the_filter_decides_about_exemplars(provider_class, exemplar_filter, count) -> None:
    provider, reader = build(provider_class, exemplar_filter=exemplar_filter())
    counter = provider.get_meter("lib").create_counter("c")
    counter.add(1)
    with TracerProvider().get_tracer("t").start_as_current_span("span"):
        provider.get_meter("lib").create_histogram("h").record(1)
    found = metrics_of(reader)
    assert [len(found[name].data.data_points[0].exemplars) for name in ("c", "h")] == [count, count]


@pytest.mark.parametrize(("value", "count"), [("always_on", 1), ("always_off", 0), ("trace_based", 0)])
def test_the_environment_chooses_the_filter(provider_class, monkeypatch, value, count) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", value)
    provider, reader = build(provider_class)
    provider.get_meter("lib").create_counter("c").add(1)
    assert len(_exemplars(reader, "c")) == count


def test_a_bound_handle_makes_exemplars_too(tracer) -> None:
    provider, reader = build()
    handle = provider.get_meter("lib").create_histogram("h").bind({"k": "v"})
    with tracer.start_as_current_span("span") as span:
        handle.record(3)
    (exemplar,) = _exemplars(reader, "h")
    assert exemplar.span_id == span.get_span_context().span_id


# Bind


@pytest.mark.parametrize("kind", RECORDING)
def test_a_handle_records_where_the_attributes_would(kind) -> None:
    provider, reader = build(views=[View(instrument_name="*", attribute_keys={"k"})])
    verb = RECORDING[kind]
    meter = provider.get_meter("lib")
    plain, bound = (getattr(meter, f"create_{kind}")(name) for name in ("plain", "bound"))
    handle = bound.bind({"k": "v", "left": "out"})
    for amount in (1, 2.5, True, float("nan")):
        getattr(plain, verb)(amount, {"k": "v", "left": "out"})
        getattr(handle, verb)(amount)
    getattr(bound, verb)(4, {"k": "v"})
    getattr(plain, verb)(4, {"k": "v"})
    found = metrics_of(reader)
    assert values(found["plain"]) == values(found["bound"])


@pytest.mark.parametrize("kind", RECORDING)
def test_a_handle_has_the_recording_method_and_nothing_else(kind) -> None:
    handle = getattr(build()[0].get_meter("lib"), f"create_{kind}")("i").bind({"k": "v"})
    assert [name for name in dir(handle) if not name.startswith("_")] == [RECORDING[kind]]


def test_a_handle_nobody_used_is_not_reported_and_lives_through_readers_coming() -> None:
    provider, reader = build()
    counter = provider.get_meter("lib").create_counter("c")
    handle = counter.bind({"k": "v"})
    assert reader.get_metrics_data() is None
    late = InMemoryMetricReader(preferred_aggregation={sdk.Counter: ExplicitBucketHistogramAggregation([1])})
    provider.add_metric_reader(late)
    handle.add(2)
    assert values(metrics_of(reader)["c"]) == [({"k": "v"}, 2)]
    assert values(metrics_of(late)["c"]) == [({"k": "v"}, (1, 2))]


# Other people's readers and exporters


def test_upstreams_prometheus_reader_reads_it(provider_class) -> None:
    registry = prometheus_client.CollectorRegistry()
    reader = PrometheusMetricReader(registry=registry)
    provider = provider_class([reader], shutdown_on_exit=False)
    meter = provider.get_meter("lib")
    meter.create_counter("requests", description="Requests.").add(3, {"code": 200})
    meter.create_histogram("took", "s", explicit_bucket_boundaries_advisory=[1.0]).record(0.5)
    meter.create_observable_gauge("level", [lambda _: [Observation(7)]])
    text = prometheus_client.generate_latest(registry).decode()
    provider.shutdown()
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert any(
        line.startswith("requests_total{") and 'code="200"' in line and line.endswith(" 3.0") for line in samples
    )
    assert any(line.startswith("took_seconds_bucket{") and 'le="1.0"' in line for line in samples)
    assert any(line.startswith("level{") and line.endswith(" 7.0") for line in samples)


def test_the_otlp_exporter_sends_it(provider_class) -> None:
    receiver = Receiver()
    exporter = OTLPMetricExporter(endpoint=f"{receiver.url}/v1/metrics")
    provider = provider_class(
        [PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)], shutdown_on_exit=False
    )
    meter = provider.get_meter("lib")
    meter.create_counter("c").add(3, {"k": "v"})
    meter.create_gauge("g").set(1.5)
    meter.create_histogram("h").record(2)
    assert provider.force_flush() is True
    ((path, _, message),) = receiver.requests
    provider.shutdown()
    receiver.close()
    sent = {metric.name: metric for metric in message.resource_metrics[0].scope_metrics[0].metrics}
    assert path == "/v1/metrics"
    assert sent["c"].sum.data_points[0].as_int == 3
    assert sent["g"].gauge.data_points[0].as_double == 1.5
    assert sent["h"].histogram.data_points[0].count == 1


# Limits


@pytest.mark.parametrize("kind", RECORDING)
def test_a_flood_of_attribute_sets_ends_in_one_series(kind, caplog) -> None:
    provider, reader = build(cardinality_limit=200)
    verb = RECORDING[kind]
    instrument = getattr(provider.get_meter("lib"), f"create_{kind}")("flooded")
    record = getattr(instrument, verb)
    for number in range(100_000):
        record(1, {"id": number})
    record(1, {"id": 3})
    (metric,) = metrics_of(reader).values()
    points = values(metric)
    known = [value for attributes, value in points if attributes == {"id": 3}]
    (over,) = [value for attributes, value in points if attributes == OVERFLOW]
    assert len(points) == 201
    if kind == "gauge":
        assert (known, over) == ([1], 1)
    else:
        counts = [value[0] if kind == "histogram" else value for _, value in points]
        assert sum(counts) == 100_001
        assert known == ([(2, 2)] if kind == "histogram" else [2])
    (warning,) = caplog.records
    assert "flooded" in warning.getMessage()


def test_the_limit_counts_sets_the_view_has_left() -> None:
    provider, reader = build(cardinality_limit=2, views=[View(instrument_name="*", attribute_keys={"k"})])
    counter = provider.get_meter("lib").create_counter("c")
    for number in range(10):
        counter.add(1, {"k": number % 2, "id": number})
    assert sorted(values(metrics_of(reader)["c"]), key=str) == [({"k": 0}, 5), ({"k": 1}, 5)]


def test_observables_are_limited_too() -> None:
    provider, reader = build(cardinality_limit=5)
    provider.get_meter("lib").create_observable_counter(
        "c", [lambda _: [Observation(1, {"id": number}) for number in range(20)]]
    )
    points = values(metrics_of(reader)["c"])
    assert len(points) == 6
    assert sum(value for _, value in points) == 20


# Wrong amounts and attributes


class _Rude:
    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("amount", ["5", None, object(), [1], _Rude()], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("kind", RECORDING)
def test_a_wrong_amount_is_left_out_with_one_warning(kind, amount, caplog) -> None:
    provider, reader = build()
    verb = RECORDING[kind]
    instrument = getattr(provider.get_meter("lib"), f"create_{kind}")("wrong")
    handle = instrument.bind({"k": "v"})
    for _ in range(3):
        getattr(instrument, verb)(amount, {"k": "v"})
        getattr(handle, verb)(amount)
    getattr(instrument, verb)(2, {"k": "v"})
    ((attributes, _),) = values(metrics_of(reader)["wrong"])
    assert attributes == {"k": "v"}
    assert len([record for record in caplog.records if record.name == "otelbridge"]) == 1


@pytest.mark.parametrize("kind", RECORDING)
def test_an_integer_no_float_can_hold_raises_nothing(kind) -> None:
    provider, reader = build()
    verb = RECORDING[kind]
    instrument = getattr(provider.get_meter("lib"), f"create_{kind}")("huge")
    for record in (getattr(instrument, verb), getattr(instrument.bind(), verb)):
        record(1.5)
        record(10**400)
        record(1.5)
    assert values(metrics_of(reader)["huge"])[0][1] == {"gauge": 1.5, "histogram": (4, 6.0)}.get(kind, 6.0)


_atoms = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.builds(object))
_anything = st.recursive(
    _atoms,
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner), st.tuples(inner)),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(
    amount=_anything,
    attributes=st.one_of(_anything, st.dictionaries(_atoms, _anything)),
)
def test_nothing_a_caller_gives_raises(amount, attributes) -> None:
    logging.disable(logging.CRITICAL)
    provider, reader = build()
    meter = provider.get_meter("lib")
    try:
        for kind, verb in RECORDING.items():
            instrument = getattr(meter, f"create_{kind}")(kind)
            getattr(instrument, verb)(amount, attributes)
            getattr(instrument.bind(attributes), verb)(amount)
            getattr(instrument, verb)(1, {"sound": "yes"})
        found = metrics_of(reader)
    finally:
        logging.disable(logging.NOTSET)
    assert found.keys() == RECORDING.keys()
    assert all(({"sound": "yes"} in [attributes for attributes, _ in values(metric)]) for metric in found.values())


# Threads


@pytest.mark.parametrize("bound", [False, True], ids=["dict", "bound"])
@pytest.mark.parametrize("kind", ["counter", "up_down_counter", "histogram"])
def test_threads_lose_nothing_while_a_reader_collects(kind, bound) -> None:
    provider, reader = build(reader=InMemoryMetricReader(DELTA))
    instrument = getattr(provider.get_meter("lib"), f"create_{kind}")("i")
    verb = RECORDING[kind]

    def work() -> None:
        if bound:
            record = getattr(instrument.bind({"k": "v"}), verb)
            for _ in range(20_000):
                record(1)
        else:
            record = getattr(instrument, verb)
            for _ in range(20_000):
                record(1, {"k": "v"})

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        collected: list[Any] = []
        while any(thread.is_alive() for thread in threads):
            collected.append(metrics_of(reader))
        for thread in threads:
            thread.join()
        collected.append(metrics_of(reader))
    finally:
        sys.setswitchinterval(interval)
    if kind == "histogram":
        extremes = [
            (point.min, point.max) for found in collected if "i" in found for point in found["i"].data.data_points
        ]
        assert set(extremes) == {(1, 1)}
    points = [point for found in collected if "i" in found for _, point in values(found["i"])]
    if kind == "histogram":
        assert (sum(count for count, _ in points), sum(total for _, total in points)) == (160_000, 160_000)
    else:
        assert sum(points) == 160_000


# Calls from anywhere: each in a process of its own, so that a deadlock is a failure and not a hanging run

_PRELUDE = """
    import faulthandler, gc, json, os, signal, sys, threading, time, warnings
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from otelbridge.metrics.provider import MeterProvider
    from tests.interrupting import interrupting

    faulthandler.dump_traceback_later(100, exit=True)
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("lib")
    counter, histogram = meter.create_counter("c"), meter.create_histogram("h")

    def totals():
        found = {}
        data = reader.get_metrics_data()
        for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
            points = metric.data.data_points
            found[metric.name] = sum(getattr(point, "value", None) or getattr(point, "count", 0) for point in points)
        return found
"""


def _play(script: str) -> Any:
    source = textwrap.dedent(_PRELUDE) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the platform has no interval timer")
def test_a_signal_handler_may_record_what_is_being_recorded() -> None:
    result = _play("""
        fired = 0

        def handler():
            global fired
            fired += 1
            counter.add(1, {"k": "v"})
            counter.add(1, {"new": fired})
            histogram.record(1, {"k": "v"})
            counter.add(None)

        own = 0
        with interrupting(handler, 0.0005):
            while fired < 1000:
                counter.add(1, {"k": "v"})
                histogram.record(1, {"k": "v"})
                counter.add(None)
                own += 1
                if own % 2000 == 0:
                    totals()
        print(json.dumps({"fired": fired, "own": own, **totals()}))
    """)
    assert result["fired"] >= 1000
    assert result["c"] == 2 * result["fired"] + result["own"]
    assert result["h"] == result["fired"] + result["own"]


def test_a_gc_callback_may_record_during_a_collection() -> None:
    result = _play("""
        called = 0

        def callback(phase, info):
            global called
            called += 1
            counter.add(1, {"k": "v"})
            counter.add(1, {"new": called % 500})
            histogram.record(1)

        gc.callbacks.append(callback)
        gc.set_threshold(1, 1, 1)
        for number in range(300):
            histogram.record(1, {"n": number})
            if number % 10 == 0:
                totals()
        gc.set_threshold(0)
        gc.callbacks.remove(callback)
        print(json.dumps({"called": called, **totals()}))
    """)
    assert result["called"] > 100
    assert result["c"] == 2 * result["called"]
    assert result["h"] == 300 + result["called"]


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="the platform has no fork")
def test_children_forked_while_threads_record_count_from_zero_and_never_hang() -> None:
    result = _play("""
        warnings.simplefilter("ignore", DeprecationWarning)
        stop = threading.Event()
        # The parent reads by a reader of its own: the SDK's in-memory reader keeps its lock over a fork.
        busy = InMemoryMetricReader()
        provider.add_metric_reader(busy)

        def work(number):
            count = 0
            while not stop.is_set():
                count += 1
                counter.add(1, {"thread": number, "n": count % 300})
                histogram.record(1, {"thread": number, "n": count % 300})
                if number == 0 and count % 100 == 0:
                    busy.get_metrics_data()

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(3)]
        for thread in threads:
            thread.start()
        outcomes = []
        for _ in range(50):
            child = os.fork()
            if child == 0:
                counter.add(1, {"thread": 0, "n": 1})
                histogram.record(1, {"new": True})
                meter.create_counter("born").add(1)
                found = totals()
                os._exit(0 if found == {"c": 1, "h": 1, "born": 1} else 7)
            deadline = time.monotonic() + 60
            while True:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    outcomes.append(os.waitstatus_to_exitcode(status))
                    break
                if time.monotonic() > deadline:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    outcomes.append("hung")
                    break
                time.sleep(0.001)
        stop.set()
        for thread in threads:
            thread.join()
        print(json.dumps(outcomes))
    """)
    assert result == [0] * 50


def test_an_exponential_histogram_the_sdk_cannot_merge_is_right() -> None:
    reader = InMemoryMetricReader()
    view = View(instrument_name="h", aggregation=ExponentialBucketHistogramAggregation(max_size=2))
    provider = MeterProvider([reader], views=[view], shutdown_on_exit=False)
    meter = provider.get_meter("test")
    histogram, counter = meter.create_histogram("h"), meter.create_counter("c")
    histogram.record(0)
    counter.add(1)
    reader.get_metrics_data()
    histogram.record(1000)
    (histogram_point,) = metrics_of(reader)["h"].data.data_points
    assert (histogram_point.count, histogram_point.zero_count, histogram_point.sum) == (2, 1, 1000)
    provider.shutdown()


def test_attributes_that_have_no_truth_value_are_left_out() -> None:
    class Array:
        def __bool__(self) -> bool:
            raise ValueError("ambiguous")

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("test").create_counter("c").add(1, Array())
    data = reader.get_metrics_data()
    assert data is not None
    (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert (dict(point.attributes), point.value) == ({}, 1)
    provider.shutdown()


def test_a_total_beyond_64_bits_becomes_a_float_that_otlp_can_carry() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    counter = provider.get_meter("test").create_counter("c")
    counter.add(2**62)
    counter.add(2**62)
    data = reader.get_metrics_data()
    assert data is not None
    value = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0].value
    assert (value, type(value)) == (2.0**63, float)
    provider.shutdown()


def test_observed_sets_over_the_limit_are_marked_even_where_a_view_keeps_few_attributes() -> None:
    reader = InMemoryMetricReader()
    view = View(instrument_name="o", attribute_keys={"k"})
    provider = MeterProvider([reader], views=[view], shutdown_on_exit=False, cardinality_limit=3)
    observed = [Observation(1, {"k": str(number), "dropped": "x"}) for number in range(10)]
    provider.get_meter("test").create_observable_up_down_counter("o", [lambda options: observed])
    for _ in range(2):
        data = reader.get_metrics_data()
        assert data is not None
        points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        found = {tuple(point.attributes.items()): point.value for point in points}
        expected = {(("k", str(number)),): 1 for number in range(3)}
        assert found == {**expected, (("otel.metric.overflow", True),): 7}
    provider.shutdown()
