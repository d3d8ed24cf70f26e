"""Limits: who says how many attribute sets there may be, and that nothing is lost beyond."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeter, Observation
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from opentelemetry.sdk.metrics.view import View as SdkView

from otelbridge.diagnostics import forget_warnings
from otelbridge.errors import ConfigError
from otelbridge.metrics.limits import Limit, Limits, with_limits
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.quota import Quota
from otelbridge.metrics.switch import SwitchMeterProvider
from otelbridge.metrics.view import View

OVERFLOW = (("otel.metric.overflow", True),)
VERBS = {"counter": "add", "up_down_counter": "add", "histogram": "record", "gauge": "set"}
OBSERVABLE = ["observable_counter", "observable_up_down_counter", "observable_gauge"]


@pytest.fixture(autouse=True)
def _every_cause_is_news():
    forget_warnings()


def build(*readers: Any, **settings: Any) -> MeterProvider:
    return MeterProvider(readers, shutdown_on_exit=False, **settings)


def shown(reader: Any) -> dict[str, dict[Any, Any]]:
    """Value, or count of a histogram, by metric and sorted attributes."""
    data = reader.get_metrics_data()
    return {
        metric.name: {
            tuple(sorted(point.attributes.items())): point.value if hasattr(point, "value") else point.count
            for point in metric.data.data_points
        }
        for resource_metrics in (data.resource_metrics if data else ())
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
    }


def record(provider: MeterProvider, kind: str, name: str, sets: int) -> None:
    meter = provider.get_meter("lib")
    if kind in OBSERVABLE:
        readings = [Observation(1, {"id": number}) for number in range(sets)]
        getattr(meter, f"create_{kind}")(name, [lambda _: readings])
        return
    instrument = getattr(meter, f"create_{kind}")(name)
    for number in range(sets):
        getattr(instrument, VERBS[kind])(1, {"id": number})


# Who says so


@pytest.mark.parametrize("kind", [*VERBS, *OBSERVABLE])
def test_the_view_wins_over_the_reader_over_its_default_over_the_provider(kind) -> None:
    views = [View(instrument_name="viewed", cardinality_limit=2)]
    own = with_limits(InMemoryMetricReader(), {kind: 3, "default": 4})
    default, plain = with_limits(InMemoryMetricReader(), {"default": 4}), InMemoryMetricReader()
    provider = build(own, default, plain, views=views, cardinality_limit=5)
    record(provider, kind, "viewed", 10)
    record(provider, kind, "other", 10)
    counts = [{name: len(points) for name, points in shown(reader).items()} for reader in (own, default, plain)]
    assert counts == [{"viewed": 3, "other": other + 1} for other in (3, 4, 5)]


def test_readers_of_different_limits_each_have_an_exact_total() -> None:
    few, many = with_limits(InMemoryMetricReader(), {"counter": 2}), InMemoryMetricReader()
    provider = build(few, many)
    record(provider, "counter", "c", 10)
    assert shown(few)["c"] == {(("id", 0),): 1, (("id", 1),): 1, OVERFLOW: 8}
    assert len(shown(many)["c"]) == 10


def test_a_reader_says_nothing_new_with_the_number_of_the_provider() -> None:
    counter = MeterProvider(shutdown_on_exit=False).get_meter("lib").create_counter("c")
    reader = with_limits(InMemoryMetricReader(), {"default": 7, "histogram": 8})
    assert Limits(7, reader).of(SdkView(instrument_name="c"), counter) == Limit(7)
    assert Limits(6, reader).of(SdkView(instrument_name="c"), counter) == Limit(7, apart=7)
    assert Limits(6, reader).of(View(instrument_name="c", cardinality_limit=9), counter) == Limit(9)


@pytest.mark.parametrize(
    "limits", [5, {"counters": 5}, {"counter": 0}, {"counter": "5"}, {"default": True}, {"default": 1.5}]
)
def test_what_a_reader_says_is_checked(limits) -> None:
    with pytest.raises(ConfigError, match="cardinality_limits"):
        build(with_limits(InMemoryMetricReader(), limits))


@pytest.mark.parametrize("name", ["cardinality_limit", "series_limit", "instrument_limit"])
def test_limits_of_a_provider_are_positive(name) -> None:
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        build(**{name: 0})


# All streams together


@pytest.mark.parametrize("kind", [*VERBS, *OBSERVABLE])
def test_beyond_the_limit_of_all_new_sets_go_into_the_overflow_of_their_stream(kind, caplog) -> None:
    reader = InMemoryMetricReader()
    provider = build(reader, series_limit=5)
    record(provider, "counter", "first", 3)
    record(provider, kind, "second", 10)
    record(provider, "counter", "third", 4)
    for _ in range(2):
        found = shown(reader)
        order = ("first", "second", "third") if kind in VERBS else ("first", "third", "second")
        apart = {name: len(found[name].keys() - {OVERFLOW}) for name in order}
        assert list(apart.values()) == [3, 2, 0]
        assert sum(found["first"].values()) == 3
        assert sum(found["third"].values()) == 4
        assert sum(found["second"].values()) == (3 if kind == "gauge" else 10 if kind != "observable_gauge" else 1)
    (warning,) = caplog.records
    assert "limit of 5 attribute sets in all" in warning.getMessage()


def test_what_is_forgotten_makes_room_for_others() -> None:
    reader = InMemoryMetricReader()
    provider = build(reader, series_limit=2)
    record(provider, "counter", "c", 2)
    counter = provider.get_meter("lib").create_counter("c")
    counter.remove({"id": 0})
    record(provider, "gauge", "g", 1)
    counter.add(1, {"id": 0})
    assert provider.held == 2
    assert shown(reader) == {"c": {(("id", 1),): 1, OVERFLOW: 1}, "g": {(("id", 0),): 1}}


def test_which_metrics_overflow_can_be_asked() -> None:
    provider = build(InMemoryMetricReader(), InMemoryMetricReader(), cardinality_limit=2)
    for kind in ("counter", "observable_gauge"):
        record(provider, kind, f"{kind}.over", 3)
        record(provider, kind, f"{kind}.under", 2)
    for reader in provider._metric_readers:
        reader.collect()
    assert provider.overflowing() == {"counter.over": 1, "observable_gauge.over": 2}


def test_the_warning_names_the_attribute_with_the_most_values_of_an_observable_too(caplog) -> None:
    reader = InMemoryMetricReader()
    provider = build(reader, cardinality_limit=2)
    readings = [Observation(1, {"same": "x", "id": number}) for number in range(4)]
    provider.get_meter("lib").create_observable_gauge("g", [lambda _: readings])
    reader.collect()
    assert "g has reached its limit of 2 attribute sets" in caplog.text
    assert "most values is id" in caplog.text


def _grow(kind: str, settings: dict[str, Any], many: int) -> tuple[int, dict[Any, Any]]:
    """How much memory a flood of attribute sets costs after the limit is reached, and what is shown of it."""
    reader = InMemoryMetricReader()
    provider = build(reader, cardinality_limit=200, **settings)
    write = getattr(getattr(provider.get_meter("lib"), f"create_{kind}")("flooded"), VERBS[kind])
    for number in range(500):
        write(1, {"id": number, "sort": f"s{number}"})
    shown(reader)
    gc.collect()
    tracemalloc.start()
    for number in range(500, many):
        write(1, {"id": number, "sort": f"s{number}"})
        if number % 10_000 == 0:
            shown(reader)
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return grown, shown(reader)["flooded"]


@pytest.mark.endtoend
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        *((kind, {}) for kind in VERBS),
        ("histogram", {"views": [SdkView(instrument_name="*", aggregation=ExponentialBucketHistogramAggregation())]}),
    ],
    ids=[*VERBS, "exponential"],
)
def test_a_flood_of_sets_costs_no_memory_and_no_count(kind, settings) -> None:
    grown, points = _grow(kind, settings, 20_000)
    assert grown < 200_000
    assert len(points) == 201
    assert sum(points.values()) == (20_000 if kind != "gauge" else 201)


# Instruments and meters


@pytest.mark.parametrize("kind", [*VERBS, *OBSERVABLE])
def test_instruments_beyond_the_limit_record_nothing_and_are_reported_once(kind, caplog) -> None:
    reader = InMemoryMetricReader()
    provider = build(reader, instrument_limit=3)
    for number in range(20):
        record(provider, kind, f"i{number}", 1)
    meter = provider.get_meter("lib")
    instrument = getattr(meter, f"create_{kind}")("i19")
    assert not (kind in VERBS and instrument.remove({"id": 0}))
    if kind in VERBS:
        getattr(instrument.bind({"id": 0}), VERBS[kind])(1)
        assert getattr(meter, f"create_{kind}")("i1") is getattr(meter, f"create_{kind}")("I1")
    assert list(shown(reader)) == ["i0", "i1", "i2"]
    (warning,) = caplog.records
    assert "3 instruments" in warning.getMessage()
    with pytest.raises(Exception, match="maximum length"):
        getattr(meter, f"create_{kind}")("1 wrong")


def test_a_flood_of_instruments_and_meters_costs_no_memory(caplog) -> None:
    reader = InMemoryMetricReader()
    provider = build(reader, instrument_limit=100)

    def flood(begin: int, end: int) -> None:
        for number in range(begin, end):
            provider.get_meter("lib").create_counter(f"c{number}").add(1)
            provider.get_meter(f"lib{number}").create_histogram("h").record(1)

    flood(0, 200)
    gc.collect()
    tracemalloc.start()
    flood(200, 4000)
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 100_000
    assert len(caplog.records) == 2
    assert isinstance(provider.get_meter("lib3999"), NoOpMeter)


def test_the_switch_keeps_no_more_either(caplog) -> None:
    reader = InMemoryMetricReader()
    switch = SwitchMeterProvider(instrument_limit=3)
    switch.connect(build(reader))
    for number in range(10):
        switch.get_meter("lib").create_counter(f"c{number}").add(1)
        switch.get_meter("lib").create_observable_gauge(f"g{number}", [lambda _: [Observation(1)]])
        switch.get_meter(f"lib{number}").create_counter("late").add(1)
    late = switch.get_meter("lib9")
    assert not late.active
    late.create_up_down_counter("u").add(1)
    assert shown(reader).keys() == {"c0", "g0", "late"}
    switch.disconnect()
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "There are 3 instruments",
        "There are 3 meters",
    ]


def test_a_quota_warns_once_and_has_room_again(caplog) -> None:
    quota = Quota(2, "No more than %d of these.")
    assert [quota.take() for _ in range(4)] == [True, True, False, False]
    quota.add(-1)
    assert (quota.take(), quota.take(), quota.used) == (True, False, 2)
    assert [record.getMessage() for record in caplog.records] == ["No more than 2 of these."]
