"""Readers of deltas beside one another: each is given everything once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, ExponentialBucketHistogramAggregation

from otelbridge.metrics.exponential import ExponentialSeries
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.readers import SharedMatch
from otelbridge.metrics.series import HistogramSeries
from otelbridge.metrics.view import View

DELTA = {Histogram: AggregationTemporality.DELTA}
AGGREGATIONS = [ExplicitBucketHistogramAggregation(), ExponentialBucketHistogramAggregation()]


def _read(reader: InMemoryMetricReader) -> tuple[Any, ...]:
    (point,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    return point.count, point.min, point.max


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_each_has_the_extremes_of_its_own_interval(aggregation) -> None:
    first, second = InMemoryMetricReader(DELTA), InMemoryMetricReader(DELTA)
    views = [View(instrument_name="h", aggregation=aggregation)]
    histogram = MeterProvider([first, second], views=views, shutdown_on_exit=False).get_meter("m").create_histogram("h")
    histogram.record(100)
    assert _read(first) == (1, 100, 100)
    histogram.record(50)
    assert _read(second) == (2, 50, 100)
    histogram.record(70)
    assert _read(first) == (2, 50, 70)
    assert _read(second) == (1, 70, 70)


def test_a_reader_that_leaves_takes_nothing_from_the_others(monkeypatch) -> None:
    first, second = InMemoryMetricReader(DELTA), InMemoryMetricReader(DELTA)
    provider = MeterProvider([first, second], shutdown_on_exit=False)
    histogram = provider.get_meter("m").create_histogram("h")
    part = SharedMatch.part

    def leave_and_part(match: SharedMatch, series: Any) -> None:
        monkeypatch.undo()
        leaving = threading.Thread(target=provider.remove_metric_reader, args=(first,))
        leaving.start()
        leaving.join(60)
        part(match, series)

    histogram.record(1)
    monkeypatch.setattr(SharedMatch, "part", leave_and_part)
    histogram.remove({})
    assert _read(second) == (1, 1, 1)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_what_is_recorded_and_read_while_a_series_is_being_hidden_is_given_later(aggregation, monkeypatch) -> None:
    reader = InMemoryMetricReader(DELTA)
    views = [View(instrument_name="h", aggregation=aggregation)]
    histogram = MeterProvider([reader], views=views, shutdown_on_exit=False).get_meter("m").create_histogram("h")
    histogram.record(1)
    given = list[Any]()
    kind = HistogramSeries if aggregation is AGGREGATIONS[0] else ExponentialSeries
    await_cell = kind.await_cell

    def read_record_and_await(*arguments: Any) -> bool:
        monkeypatch.undo()
        given.append(_read(reader))
        histogram.record(2)
        return await_cell(*arguments)

    monkeypatch.setattr(kind, "await_cell", read_record_and_await)
    histogram.remove({})
    given.append(_read(reader))
    assert given == [(1, 1, 1), (1, 2, 2)]
