"""Floods of attribute sets, names and scopes: a fixed number of series, flat memory, exact totals."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.view import View
from tests.workers.soak import LENGTHS

pytestmark = pytest.mark.endtoend

VERBS = {"counter": "add", "up_down_counter": "add", "histogram": "record", "exponential": "record", "gauge": "set"}
OBSERVABLE = ["observable_counter", "observable_up_down_counter", "observable_gauge"]
DELTA = {Histogram: AggregationTemporality.DELTA}
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FIRST = 10_000
"""Attribute sets after which the limit is long reached."""

_MAX_GROWTH = 10_000_000
"""Bytes of memory that a flood may cost, once the limit is reached."""


def resident() -> int:
    """Memory of this process, in bytes."""
    gc.collect()
    with open("/proc/self/statm") as file:  # noqa: PTH123  # no path of a user's
        return int(file.read().split()[1]) * _PAGE


def points(reader: Any, name: str) -> list[Any]:
    """The data points of a metric."""
    data = reader.get_metrics_data()
    return [
        point
        for resource_metrics in (data.resource_metrics if data else ())
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def size(point: Any) -> float:
    return point.value if hasattr(point, "value") else point.count


@pytest.fixture(params=["alone", "grouped"])
def provider(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    """A provider with two readers, of a process that is alone or one of a group."""
    processes = Processes("soak", tmp_path) if request.param == "grouped" else None
    views = [View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())]
    readers = [InMemoryMetricReader(), InMemoryMetricReader(DELTA)]
    provider = MeterProvider(readers, views=views, shutdown_on_exit=False, processes=processes)
    yield provider
    provider.shutdown()


def _flood(provider: Any, kind: str, sets: range) -> None:
    create = "histogram" if kind == "exponential" else kind
    write = getattr(getattr(provider.get_meter("lib"), f"create_{create}")(kind), VERBS[kind])
    for number in sets:
        write(1, {"id": f"{number}", "path": f"/{number % 97}/{number}", "same": "x"})


@pytest.mark.parametrize("kind", VERBS)
def test_a_flood_of_attribute_sets(provider, kind) -> None:
    many, reader = LENGTHS.sets, provider._metric_readers[0]
    _flood(provider, kind, range(_FIRST))
    points(reader, kind)
    before = resident()
    for begin in range(_FIRST, many, _FIRST):
        _flood(provider, kind, range(begin, begin + _FIRST))
        points(reader, kind)
    assert resident() - before < _MAX_GROWTH
    shown = points(reader, kind)
    assert len(shown) == 2001
    assert sum(map(size, shown)) == (2001 if kind == "gauge" else many)


@pytest.mark.parametrize("kind", OBSERVABLE)
def test_a_flood_of_observed_attribute_sets(provider, kind) -> None:
    rounds, sets = max(LENGTHS.sets // _FIRST, 3), _FIRST
    turn = 0

    def observe(_: Any) -> list[Observation]:
        return [Observation(1, {"id": f"{turn} {number}"}) for number in range(sets)]

    getattr(provider.get_meter("lib"), f"create_{kind}")(kind, [observe])
    reader, before = provider._metric_readers[0], 0
    for turn in range(rounds):  # the callback reads it
        shown = points(reader, kind)
        assert len(shown) <= 2001
        assert turn or sum(map(size, shown)) == (2001 if kind == "observable_gauge" else sets)
        before = before or resident()
    assert resident() - before < _MAX_GROWTH


@pytest.mark.parametrize("kind", VERBS)
def test_series_that_come_and_go(provider, kind) -> None:
    many = LENGTHS.passing_sets
    create = "histogram" if kind == "exponential" else kind
    instrument = getattr(provider.get_meter("lib"), f"create_{create}")(kind)
    write = getattr(instrument, VERBS[kind])
    before = 0
    for number in range(many):
        # The same sets again and again, as a group keeps the totals of all there ever were.
        attributes = {"id": f"{number % 3000}"}
        write(1, attributes)
        instrument.remove(attributes)
        if number % 1000 == 0:
            for reader in provider._metric_readers:
                points(reader, kind)
            before = before or (resident() if number > many / 4 else 0)
    assert resident() - before < _MAX_GROWTH
    assert provider.held == 0


def test_a_flood_of_names_and_scopes(provider) -> None:
    names, scopes = LENGTHS.names, LENGTHS.scopes
    reader, meter, before = provider._metric_readers[0], provider.get_meter("lib"), 0
    for number in range(names):
        meter.create_counter(f"c{number}").add(1)
        if number == 11_000:
            before = resident()
    assert resident() - before < _MAX_GROWTH
    for number in range(scopes):
        provider.get_meter(f"lib{number}").create_counter("scoped").add(1)
        if number == 11_000:
            before = resident()
    assert resident() - before < _MAX_GROWTH
    data = reader.get_metrics_data()
    assert sum(len(scope.metrics) for scope in data.resource_metrics[0].scope_metrics) == 10_000
