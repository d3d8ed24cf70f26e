"""The private parts of the SDK that `metrics/_sdk.py` leans on are where it expects them."""

from __future__ import annotations

import subprocess
import sys

from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

from otelbridge.metrics._sdk import YieldingView, advised_boundaries


def _collect(provider_views, record):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], views=provider_views, shutdown_on_exit=False)
    record(provider.get_meter("test"))
    data = reader.get_metrics_data()
    provider.shutdown()
    return [metric for rm in data.resource_metrics for sm in rm.scope_metrics for metric in sm.metrics]


def test_yielding_view_applies_where_nothing_came_before() -> None:
    view = YieldingView([], instrument_name="a", attribute_keys={"kept"})
    (metric,) = _collect([view], lambda meter: meter.create_counter("a").add(1, {"kept": "x", "dropped": "y"}))
    assert dict(metric.data.data_points[0].attributes) == {"kept": "x"}


def test_yielding_view_makes_no_second_stream_beside_an_earlier_view() -> None:
    first = View(instrument_name="a", attribute_keys={"other"})
    metrics = _collect(
        [first, YieldingView([first], instrument_name="a", attribute_keys={"kept"})],
        lambda meter: meter.create_counter("a").add(1, {"kept": "x", "other": "y"}),
    )
    assert [dict(metric.data.data_points[0].attributes) for metric in metrics] == [{"other": "y"}]


def test_yielding_view_selects_by_type() -> None:
    view = YieldingView([], instrument_name="a", instrument_type=Counter, attribute_keys=set())
    (metric,) = _collect([view], lambda meter: meter.create_up_down_counter("a").add(1, {"k": "x"}))
    assert dict(metric.data.data_points[0].attributes) == {"k": "x"}


def test_unadvised_only_leaves_advice_alone() -> None:
    view = YieldingView(
        [],
        unadvised_only=True,
        instrument_type=Histogram,
        instrument_name="*",
        instrument_unit="s",
        aggregation=ExplicitBucketHistogramAggregation([0.5]),
    )

    def record(meter):
        meter.create_histogram("advised", "s", explicit_bucket_boundaries_advisory=[7.0]).record(1)
        meter.create_histogram("plain", "s").record(1)

    bounds = {metric.name: metric.data.data_points[0].explicit_bounds for metric in _collect([view], record)}
    assert bounds == {"advised": (7.0,), "plain": (0.5,)}


def test_advised_boundaries_reads_the_advice_of_an_sdk_instrument() -> None:
    provider = MeterProvider(shutdown_on_exit=False)
    meter = provider.get_meter("test")
    assert advised_boundaries(meter.create_histogram("a", explicit_bucket_boundaries_advisory=[1.0])) == [1.0]
    assert advised_boundaries(meter.create_histogram("b")) is None


def test_global_providers_are_none_until_somebody_sets_one() -> None:
    script = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from otelbridge.metrics._sdk import global_meter_provider, global_tracer_provider
assert global_meter_provider() is None
assert global_tracer_provider() is None
metrics.set_meter_provider(MeterProvider(shutdown_on_exit=False))
trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
assert isinstance(global_meter_provider(), MeterProvider)
assert isinstance(global_tracer_provider(), TracerProvider)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
