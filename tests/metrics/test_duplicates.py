"""Instruments of one name in one scope: what differs is exported side by side and reported, once, with both named."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, View

from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics.provider import MeterProvider

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
