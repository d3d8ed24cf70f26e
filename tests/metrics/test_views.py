"""What the catalogue's views do to a real provider's streams."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

from otelbridge.catalogue.buckets import DB, HTTPD, SIZE
from otelbridge.catalogue.model import Attribute, Kind, Metric
from otelbridge.errors import ConfigError
from otelbridge.metrics.views import check_targets, create_views

_KEPT = Attribute("kept", "Kept.")
_OWN = Metric("Z1", "own.duration", Kind.HISTOGRAM, "s", "Own.", (_KEPT,), DB)
_FOREIGN = Metric("Z2", "foreign.size", Kind.HISTOGRAM, "By", "Foreign.", (_KEPT,), SIZE, recorded_by="elsewhere")
_COUNTER = Metric("Z3", "own.count", Kind.COUNTER, "{thing}", "Counted.", (_KEPT,))


def _points(record, *user_views: View) -> dict[str, list]:
    reader = InMemoryMetricReader()
    provider = MeterProvider(
        [reader], views=create_views((_OWN, _FOREIGN, _COUNTER), user_views), shutdown_on_exit=False
    )
    record(provider.get_meter("test"))
    data = reader.get_metrics_data()
    provider.shutdown()
    found: dict[str, list] = {}
    for resource_metrics in data.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                found.setdefault(metric.name, []).extend(metric.data.data_points)
    return found


def test_only_declared_attributes_are_kept() -> None:
    (point,) = _points(lambda m: m.create_counter("own.count").add(1, {"kept": "x", "host": "evil"}))["own.count"]
    assert dict(point.attributes) == {"kept": "x"}


def test_advice_of_our_own_instruments_decides_their_buckets() -> None:
    def record(meter):
        meter.create_histogram(_OWN.name, _OWN.unit, explicit_bucket_boundaries_advisory=DB.boundaries).record(1)

    (point,) = _points(record)[_OWN.name]
    assert tuple(point.explicit_bounds) == DB.boundaries


def test_a_foreign_histogram_gets_the_catalogue_buckets() -> None:
    (point,) = _points(lambda m: m.create_histogram("foreign.size", "By").record(5))["foreign.size"]
    assert tuple(point.explicit_bounds) == SIZE.boundaries


@pytest.mark.parametrize(("unit", "bounds"), [("s", HTTPD.boundaries), ("By", SIZE.boundaries)])
def test_undeclared_histograms_get_buckets_of_their_unit(unit: str, bounds: tuple[float, ...]) -> None:
    (point,) = _points(lambda m: m.create_histogram("some.library", unit).record(1, {"any": "k"}))["some.library"]
    assert tuple(point.explicit_bounds) == bounds
    assert dict(point.attributes) == {"any": "k"}


def test_other_units_and_advised_histograms_are_left_alone() -> None:
    def record(meter):
        meter.create_histogram("a", "{thing}").record(1)
        meter.create_histogram("b", "s", explicit_bucket_boundaries_advisory=[3.0]).record(1)

    points = _points(record)
    assert tuple(points["a"][0].explicit_bounds)[:3] == (0.0, 5.0, 10.0)
    assert tuple(points["b"][0].explicit_bounds) == (3.0,)


def test_a_user_view_replaces_ours_as_a_whole() -> None:
    view = View(instrument_name="own.*", attribute_keys={"mine"})
    (point,) = _points(lambda m: m.create_counter("own.count").add(1, {"kept": "x", "mine": "y"}), view)["own.count"]
    assert dict(point.attributes) == {"mine": "y"}


def test_a_user_view_beats_the_buckets_of_the_unit() -> None:
    view = View(instrument_name="some.library", aggregation=ExplicitBucketHistogramAggregation([9.0]))
    points = _points(lambda m: m.create_histogram("some.library", "s").record(1), view)["some.library"]
    assert [tuple(point.explicit_bounds) for point in points] == [(9.0,)]


@pytest.mark.parametrize("name", ["own_duration_seconds", "own.duratoin.of.things", "own_count_total"])
def test_a_view_that_misses_a_metric_by_a_slip_is_an_error(name) -> None:
    long_name = Metric("Z4", "own.duration.of.things", Kind.COUNTER, "{thing}", "Counted.")
    with pytest.raises(ConfigError, match=rf"selects the instrument '{name}'.*Write 'own\."):
        check_targets((_OWN, _COUNTER, long_name), [View(instrument_name=name)])


@pytest.mark.parametrize(
    "view",
    [
        View(instrument_name="own.duration"),
        View(instrument_name="own_duration*"),
        View(instrument_name="something.else"),
        View(instrument_name="own_count_total", meter_name="mine"),
        View(instrument_unit="s"),
    ],
)
def test_a_view_of_what_may_come_is_taken(view) -> None:
    assert check_targets((_OWN, _COUNTER), [view]) is None
