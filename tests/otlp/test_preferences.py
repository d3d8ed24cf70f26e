"""What a destination prefers, as readers ask for it."""

from __future__ import annotations

from typing import get_args

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION,
    OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader

from otelbridge.config.options import HistogramAggregation, Otlp, Temporality
from otelbridge.otlp.preferences import preferences


def destination(**settings) -> Otlp:
    return Otlp(metrics_endpoint="http://h/", traces_endpoint="http://h/", **settings)


@pytest.mark.parametrize("temporality", get_args(Temporality))
def test_temporalities_are_those_of_the_specification(temporality, monkeypatch) -> None:
    monkeypatch.setenv(OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE, temporality)
    upstream = OTLPMetricExporter()._preferred_temporality
    ours = preferences(destination(temporality=temporality))["preferred_temporality"]
    assert {kind: ours[kind] for kind in upstream if kind in ours} == {k: v for k, v in upstream.items() if k in ours}
    assert set(ours) >= {sdk.Counter, sdk.Histogram, sdk.ObservableCounter, sdk.UpDownCounter, sdk.ObservableGauge}


@pytest.mark.parametrize("aggregation", get_args(HistogramAggregation))
def test_histograms_are_those_of_the_specification(aggregation, monkeypatch) -> None:
    monkeypatch.setenv(OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION, aggregation)
    upstream = OTLPMetricExporter()._preferred_aggregation[sdk.Histogram]
    ours = preferences(destination(histogram_aggregation=aggregation))["preferred_aggregation"][sdk.Histogram]
    assert type(ours) is type(upstream)


@pytest.mark.parametrize("temporality", get_args(Temporality))
@pytest.mark.parametrize("aggregation", get_args(HistogramAggregation))
def test_every_reader_takes_them(temporality, aggregation) -> None:
    wanted = preferences(destination(temporality=temporality, histogram_aggregation=aggregation))
    reader = InMemoryMetricReader(**wanted)
    provider = sdk.MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("test")
    meter.create_counter("c").add(1)
    meter.create_up_down_counter("u").add(1)
    meter.create_histogram("h").record(1)
    found = {m.name: m.data for m in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics}
    delta = AggregationTemporality.CUMULATIVE if temporality == "cumulative" else AggregationTemporality.DELTA
    assert [found[name].aggregation_temporality for name in "cuh"] == [
        delta,
        AggregationTemporality.CUMULATIVE,
        delta,
    ]
    assert ("Exponential" in type(found["h"]).__name__) == ("exponential" in aggregation)
    provider.shutdown()


def test_one_destination_has_no_part_in_what_another_prefers() -> None:
    first = preferences(destination(temporality="delta"))
    first["preferred_temporality"].clear()
    assert preferences(destination(temporality="delta"))["preferred_temporality"]
