"""Instruments of one name in one scope: what differs is exported side by side and reported, once, with both named."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, View

from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.switch import SwitchMeterProvider

KINDS = [
    "counter",
    "up_down_counter",
    "histogram",
    "gauge",
    "observable_counter",
    "observable_up_down_counter",
    "observable_gauge",
]


@pytest.fixture(autouse=True)
def _every_cause_is_news():
    forget_warnings()


def build(**settings: Any) -> Any:
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    return MeterProvider(readers, shutdown_on_exit=False, **settings).get_meter("lib")


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_that_differ_are_reported_with_both_instruments(kind, caplog) -> None:
    meter = build()
    other = "gauge" if kind == "counter" else "counter"
    getattr(meter, f"create_{other}")("name", unit="s", description="One.")
    for _ in range(2):
        getattr(meter, f"create_{kind}")("NAME", unit="s", description="One.")
    (record,) = caplog.records
    assert f"{other} 'name' (unit 's', 'One.')" in record.getMessage()
    assert f"{kind} 'name' (unit 's', 'One.')" in record.getMessage()
    assert "scope lib" in record.getMessage()


@pytest.mark.parametrize("change", [{"unit": "ms"}, {"description": "Two."}, {"unit": "", "description": ""}])
def test_units_and_descriptions_that_differ_are_reported(change, caplog) -> None:
    meter = build()
    meter.create_counter("name", unit="s", description="One.")
    meter.create_counter("name", **{"unit": "s", "description": "One.", **change})
    (record,) = caplog.records
    assert "exported as name" in record.getMessage()


def test_the_same_again_and_other_scopes_are_no_trouble(caplog) -> None:
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    for scope in ("one", "two"):
        for _ in range(2):
            provider.get_meter(scope).create_counter("name", unit="s")
    provider.get_meter("three").create_gauge("name")
    assert not caplog.records


def test_a_view_that_renames_or_drops_one_settles_it(caplog) -> None:
    views = [
        View(instrument_name="name", instrument_unit="ms", name="other"),
        View(instrument_name="name", instrument_unit="By", aggregation=DropAggregation()),
    ]
    meter = build(views=views)
    for unit in ("s", "ms", "By"):
        meter.create_counter("name", unit=unit)
    assert not caplog.records


def test_a_view_that_makes_two_one_is_reported_with_both(caplog) -> None:
    meter = build(views=[View(instrument_name="a", name="same"), View(instrument_name="b", name="same")])
    meter.create_counter("a")
    meter.create_histogram("b")
    (record,) = caplog.records
    assert "counter 'a'" in record.getMessage()
    assert "histogram 'b'" in record.getMessage()


def test_a_thousand_of_one_name_are_one_report(caplog) -> None:
    meter = build()
    for number in range(1000):
        meter.create_counter("name", description=f"{number}")
    assert len(caplog.records) == 1


# Observable instruments


class Cache:
    """Observes its size by a bound method, as objects do that each make "their" instrument."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size, self.asked = name, size, 0

    def look(self, _options: Any) -> list[Observation]:
        self.asked += 1
        return [Observation(self.size, {"cache": self.name})]

    def register(self, meter: Any, kind: str = "gauge", **differing: Any) -> Any:
        create = getattr(meter, f"create_observable_{kind}")
        return create("items", [self.look], **{"unit": "1", "description": "Items.", **differing})


def observed(reader: Any) -> dict[str, float]:
    data = reader.get_metrics_data()
    scopes = data.resource_metrics[0].scope_metrics if data and data.resource_metrics else ()
    points = [point for scope in scopes for metric in scope.metrics for point in metric.data.data_points]
    return {point.attributes["cache"]: point.value for point in points}


def test_views_that_export_one_instrument_under_one_name_are_reported(caplog) -> None:
    views = [
        View(instrument_name="name", attribute_keys={"a"}),
        View(instrument_name="name", attribute_keys={"b"}),
        View(instrument_name="name", name="other"),
        View(instrument_name="name", aggregation=DropAggregation()),
    ]
    build(views=views).create_counter("name")
    (record,) = caplog.records
    assert "Several views of the counter 'name'" in record.getMessage()
    assert "export it as name" in record.getMessage()


@pytest.mark.parametrize("kind", ["counter", "up_down_counter", "gauge"])
def test_callbacks_of_identical_instruments_are_all_read_and_each_once(kind, caplog) -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("lib")
    users, orders = Cache("users", 3), Cache("orders", 4)
    made = {id(cache.register(meter, kind)) for cache in (users, orders, users, orders)}
    assert observed(reader) == {"users": 3, "orders": 4}
    assert (len(made), users.asked, orders.asked) == (1, 1, 1)
    assert not caplog.records


def test_a_second_instrument_that_differs_is_reported_and_read(caplog) -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("lib")
    Cache("users", 3).register(meter)
    Cache("orders", 4).register(meter, unit="s")
    assert observed(reader) == {"users": 3, "orders": 4}
    assert "exported as items" in caplog.text


@pytest.mark.parametrize("provider_class", [SdkMeterProvider, MeterProvider], ids=["sdk", "ours"])
def test_callbacks_live_as_long_as_the_switch(provider_class) -> None:
    switch = SwitchMeterProvider()
    meter = switch.get_meter("lib")
    caches = [Cache(name, size) for size, name in enumerate(("before", "beside", "after", "between"))]
    for cache in (*caches[:2], caches[0]):
        cache.register(meter)
    for round_ in range(2):
        reader = InMemoryMetricReader()
        provider = provider_class([reader], shutdown_on_exit=False)
        switch.connect(provider)
        caches[2].register(meter)
        assert observed(reader).keys() == {cache.name for cache in caches[: 3 + round_]}
        switch.disconnect()
        provider.shutdown()
        caches[3].register(meter)
    assert [cache.asked for cache in caches] == [2, 2, 2, 1]


def test_a_generator_given_twice_is_advanced_once_a_collection() -> None:
    def sizes() -> Any:
        for size in range(10):
            yield [Observation(size, {"cache": "c"})]

    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("lib")
    generator = sizes()
    for _ in range(2):
        meter.create_observable_gauge("items", [generator, generator])
    assert [observed(reader) for _ in range(2)] == [{"c": 1}, {"c": 2}]


def test_callbacks_without_end_do_not_grow_the_process(caplog) -> None:
    switch = SwitchMeterProvider()
    reader = InMemoryMetricReader()
    switch.connect(MeterProvider([reader], shutdown_on_exit=False))
    cache = Cache("c", 1)
    for _ in range(1500):
        cache.register(switch.get_meter("lib"))
        switch.get_meter("lib").create_observable_gauge("others", [lambda _: ()])
    assert observed(reader) == {"c": 1}
    (record,) = caplog.records
    assert "others has 1000 callbacks" in record.getMessage()


def test_threads_that_make_the_same_instrument_lose_no_callback() -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("lib")
    together = threading.Barrier(8)

    def register(number: int) -> None:
        together.wait(30)
        Cache(f"{number}", number).register(meter)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert observed(reader) == {f"{number}": number for number in range(8)}
