"""Processes of one group that run different versions of a program: each shows the totals of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import Counter, Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
)

from otelbridge.cells.evidence import GROUP_VARIABLE
from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics.limits import with_limits
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.view import View
from otelbridge.prometheus.reader import PrometheusReader
from tests.workers.load import Values, counters, total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from opentelemetry.sdk.metrics.export import MetricReader


class Version:
    """A process of the group, as far as this one can be several."""

    def __init__(self, directory: Path, views: Sequence[View] = (), *more: MetricReader, **limits: int) -> None:
        self.reader = PrometheusReader(disable_target_info=True, scope_info_enabled=False)
        self.provider = MeterProvider(
            [self.reader, *more],
            views=views,
            processes=Processes("versions", directory),
            shutdown_on_exit=False,
            **limits,
        )
        self.meter = self.provider.get_meter("shop", "1.0")

    def page(self) -> str:
        return self.reader.render().body.decode()

    def shown(self) -> Values:
        return counters(self.page())


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Version]]:
    monkeypatch.setenv(GROUP_VARIABLE, "versions")
    forget_warnings()
    begun: list[Version] = []

    def start(*given: Any, **more: Any) -> Version:
        begun.append(Version(tmp_path, *given, **more))
        return begun[-1]

    yield start
    for version in begun:
        version.provider.shutdown()


def test_another_view_in_front_changes_nothing(start: Callable[..., Version]) -> None:
    orders = View(instrument_name="orders", attribute_keys={"k"})
    old, new = start([orders]), start([View(instrument_name="else", attribute_keys={"k"}), orders])
    old.meter.create_counter("orders").add(1000, {"k": "a", "left": "out"})
    new.meter.create_counter("orders").add(1, {"k": "a"})
    for version in (old, new, old):
        assert version.shown() == {("orders_total", frozenset({("k", "a")})): 1001}


@pytest.mark.parametrize(
    "changed",
    [
        {"attribute_keys": {"k"}},
        {"exclude_attribute_keys": {"j"}},
        {"merge": "livesum"},
        {"name": "purchases"},
        {"description": "Another."},
        {"cardinality_limit": 7},
        {"forget_after": 3600.0},
    ],
)
def test_whatever_a_view_changes_the_total_is_the_same_for_all(
    start: Callable[..., Version], changed: dict[str, Any]
) -> None:
    old, new = start(), start([View(instrument_name="orders", **changed)])
    for version, amount in ((old, 1000), (new, 1)):
        version.meter.create_counter("orders").add(amount, {"k": "a", "j": "b"})
        version.meter.create_counter("orders").add(amount)
    expected = old.shown()
    assert total(expected, "orders_total") + total(expected, "purchases_total") == 2002
    assert new.shown() == expected


@pytest.mark.parametrize(
    ("kind", "unit", "description"), [("counter", "{order}", ""), ("counter", "s", ""), ("counter", "", "Orders.")]
)
def test_another_unit_or_description_costs_nothing(
    start: Callable[..., Version], kind: str, unit: str, description: str
) -> None:
    old, new = start(), start()
    old.meter.create_counter("orders").add(1000)
    getattr(new.meter, f"create_{kind}")("orders", unit=unit, description=description).add(1)
    expected = old.shown()
    assert sum(expected.values()) == 1001
    assert new.shown() == expected


def test_another_kind_is_told_once_and_shown_beside_the_first(
    start: Callable[..., Version], caplog: pytest.LogCaptureFixture
) -> None:
    old, new = start(), start()
    old.meter.create_counter("orders").add(1000)
    new.meter.create_up_down_counter("orders").add(1)
    for version in (old, new, old, new):
        page = version.page()
        assert "\norders_total 1000" in page
        assert "\norders 1" in page
    assert [record.message for record in caplog.records if "another way" in record.message].count(
        "Another process of this service has 'orders' as up_down_counter in '' (sum), this one as counter in '' (sum). "
        "Both are shown as far as they can stand beside each other. Give what is measured in another way another name."
    ) == 1


def test_kinds_of_one_name_do_not_break_the_page(start: Callable[..., Version]) -> None:
    old, new = start(), start()
    old.meter.create_histogram("size").record(1)
    new.meter.create_up_down_counter("size").add(1)
    assert "\nsize_count 1" in old.page()
    assert "\nsize 1" in new.page()


def test_up_to_a_boundary_that_both_have_all_show_the_same(
    start: Callable[..., Version], caplog: pytest.LogCaptureFixture
) -> None:
    versions = [
        start([View(instrument_name="size", aggregation=ExplicitBucketHistogramAggregation(bounds))])
        for bounds in ([1, 3, 10], [1, 2, 5, 10], [4])
    ]
    for version in versions:
        histogram = version.meter.create_histogram("size")
        for amount in (0, 1.5, 2.5, 4.5, 7, 20):
            histogram.record(amount)
    pages = [version.shown() for version in versions]
    for page in pages:
        assert (total(page, "size_count"), total(page, "size_sum")) == (18, 106.5)
        assert total(page, "size_bucket", le="+Inf") == 18
    for one in pages:
        for other in pages:
            shared = one.keys() & other.keys()
            assert {key: one[key] for key in shared} == {key: other[key] for key in shared}
    # Never more than there is.
    truth = {1: 3, 2: 6, 3: 9, 4: 9, 5: 12, 10: 15}
    for page in pages:
        for (name, labels), value in page.items():
            bound = dict(labels).get("le", "+Inf")
            if name == "size_bucket" and bound != "+Inf":
                assert value <= truth[int(float(bound))]
    assert sum("other bucket boundaries" in record.message for record in caplog.records) == 1


def test_exponential_histograms_of_other_sizes_are_added(start: Callable[..., Version]) -> None:
    versions = [
        start([View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation(*settings))])
        for settings in ((160, 20), (4, 2), (20, 5))
    ]
    for number, version in enumerate(versions):
        for amount in (0.001, 1, 10**number, 1e6):
            version.meter.create_histogram("size").record(amount)
    for version in versions:
        assert (total(version.shown(), "size_count"), total(version.shown(), "size_sum")) == (12, 3000114.003)


@pytest.mark.parametrize("shown_by", ["old", "new"])
def test_explicit_and_exponential_buckets_of_one_name_are_added(start: Callable[..., Version], shown_by: str) -> None:
    exponential = View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())
    old, new = start(), start([exponential])
    for version in (old, new):
        version.meter.create_histogram("size", explicit_bucket_boundaries_advisory=[1.0, 100.0]).record(3)
    page = {"old": old, "new": new}[shown_by].shown()
    assert {dict(labels)["le"]: value for (name, labels), value in page.items() if name == "size_bucket"} == {
        "1.0": 0,
        "100.0": 2,
        "+Inf": 2,
    }


def test_what_is_not_known_here_is_shown_as_it_is_and_gives_way(start: Callable[..., Version]) -> None:
    old = start([View(instrument_name="size", name="extent", attribute_keys={"k"})])
    new = start([View(instrument_name="size", aggregation=DropAggregation())])
    old.meter.create_histogram("size", unit="By", description="How large.").record(3, {"k": "a"})
    old.meter.create_gauge("level").set(5)
    old.meter.create_observable_counter("ticks", [lambda _: []])
    old.meter.create_counter("orders").add(1000)
    assert new.shown() == old.shown()
    for version in (old, new):
        assert "# HELP extent_bytes How large." in version.page()
        assert "\nlevel 5" in version.page()
    new.meter.create_counter("orders").add(1)
    for version in (new, old, new):
        assert total(version.shown(), "orders_total") == 1001
    storage: Any = next(iter(new.provider._consumer._reader_storages.values()))
    assert sum(match._name == "orders" for _, matches in storage.all_matches() for match in matches) == 1


def test_the_room_of_what_gave_way_is_free_again(start: Callable[..., Version]) -> None:
    old, new = start(series_limit=10), start(series_limit=10)
    for each in range(10):
        old.meter.create_counter("orders").add(1, {"k": str(each)})
    assert len(new.shown()) == 10
    new.meter.create_counter("orders")
    assert len(new.shown()) == 10
    assert not any("overflow" in page for page in (new.page(), new.page()))


def test_what_has_ended_is_shown_to_every_reader_once(start: Callable[..., Version]) -> None:
    """Readers that want different streams of one instrument are given those that are meant for them."""

    def readers() -> tuple[InMemoryMetricReader, InMemoryMetricReader, InMemoryMetricReader]:
        exponential = InMemoryMetricReader(preferred_aggregation={Histogram: ExponentialBucketHistogramAggregation()})
        return exponential, with_limits(InMemoryMetricReader(), {"counter": 2}), InMemoryMetricReader()

    old = start((), *readers())
    for each in range(4):
        old.meter.create_counter("orders").add(1, {"k": str(each)})
        old.meter.create_histogram("size").record(3)
    old.provider.shutdown()
    exponential, limited, plain = readers()
    new = start((), exponential, limited, plain)
    assert total(new.shown(), "orders_total") == 4
    assert total(new.shown(), "size_count") == 4
    for reader, sets, kind in ((exponential, 4, "Exponential"), (limited, 3, "Histogram"), (plain, 4, "Histogram")):
        data: Any = reader.get_metrics_data()
        (scope,) = data.resource_metrics[0].scope_metrics
        found = {metric.name: metric.data for metric in scope.metrics}
        assert len(scope.metrics) == 2
        assert [point.count for point in found["size"].data_points] == [4]
        assert type(found["size"]).__name__.startswith(kind)
        assert len(found["orders"].data_points) == sets
        assert sum(point.value for point in found["orders"].data_points) == 4


def test_two_views_that_do_the_same_stay_two(start: Callable[..., Version]) -> None:
    views = [View(instrument_name="orders", name=name) for name in ("same", "same")]
    old, new = start(views), start(views)
    for version in (old, new):
        version.meter.create_counter("orders").add(1)
    assert old.shown() == new.shown()
    assert total(new.shown(), "same_total") == 4


def test_over_the_limit_all_keep_the_same_series_apart(start: Callable[..., Version]) -> None:
    one, two = start(cardinality_limit=3), start(cardinality_limit=3)
    for version, names in ((one, "adg"), (two, "bef")):
        for name in names:
            version.meter.create_counter("orders").add(1, {"k": name})
    expected = one.shown()
    assert two.shown() == expected
    assert {dict(labels).get("k") for _, labels in expected} == {"a", "b", "d", None}
    assert total(expected, "orders_total") == 6
    assert total(expected, "orders_total", otel_metric_overflow="true") == 3


def test_of_two_limits_the_larger_holds_for_all(start: Callable[..., Version]) -> None:
    old, new = start(cardinality_limit=2), start(cardinality_limit=4)
    for version, names in ((old, "ab"), (new, "cd")):
        for name in names:
            version.meter.create_counter("orders").add(1, {"k": name})
    assert old.shown() == new.shown()
    assert len(new.shown()) == 4


def test_a_reader_of_deltas_has_its_own(start: Callable[..., Version]) -> None:
    own = InMemoryMetricReader(preferred_temporality={Counter: AggregationTemporality.DELTA})
    old, new = start(), start((), own)
    old.meter.create_counter("orders").add(1000)
    new.meter.create_counter("sales").add(1)
    assert total(new.shown(), "orders_total") == 1000
    data: Any = own.get_metrics_data()
    assert [metric.name for metric in data.resource_metrics[0].scope_metrics[0].metrics] == ["sales"]
