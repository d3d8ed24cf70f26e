"""Recorders take anything, keep what is right, and say once what is not."""

from __future__ import annotations

import logging
import math
from decimal import Decimal
from enum import Enum
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otelbridge.catalogue.model import Attribute, Buckets, Domain, Kind, Metric
from otelbridge.diagnostics import forget_warnings
from otelbridge.domains import recording
from otelbridge.domains.checks import MAX_LENGTH, OTHER, checked_amount, checked_attributes
from otelbridge.domains.recording import DomainMeter
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.switch import switch

COLOUR = Attribute("colour", "Any colour.")
SIZE = Attribute("size", "Closed set.", values=("small", "large"), closed=True)
ATTRIBUTES = (COLOUR, SIZE)


def metric(kind: Kind) -> Metric:
    buckets = Buckets("TEST", (1.0, 10.0), "test") if kind is Kind.HISTOGRAM else None
    return Metric("Z1", f"test.{kind.value}", kind, "{thing}", "Things.", ATTRIBUTES, buckets)


METRICS = {kind: metric(kind) for kind in Kind}
METER = DomainMeter(Domain("recording_test", "Test.", tuple(METRICS.values())))
SYNCHRONOUS = [kind for kind in Kind if not kind.observable]
OBSERVABLE = [kind for kind in Kind if kind.observable]
RECORDERS = {kind: METER.recorder(METRICS[kind]) for kind in SYNCHRONOUS}
OBSERVED = {kind: METER.observed(METRICS[kind]) for kind in OBSERVABLE}

anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.decimals(),
    st.fractions(),
    st.complex_numbers(),
    st.text(),
    st.binary(),
    st.lists(st.integers()),
    st.builds(object),
)
keys = st.one_of(st.sampled_from(["colour", "size"]), st.text(), st.integers(), st.none(), st.binary())
mappings = st.one_of(st.none(), st.dictionaries(keys, anything), anything)


class Unhashable:
    """A mapping of a kind nobody should write, with items that are no keys."""

    def items(self):
        return [(["list"], 1), ({}, 2)]


class Raising:
    def items(self):
        raise RuntimeError("no items")


class NoPairs:
    def items(self):
        return [1, 2, 3]


@pytest.mark.parametrize("kind", SYNCHRONOUS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(amount=anything, attributes=mappings)
def test_no_measurement_ever_raises(recorded, kind, amount, attributes):
    RECORDERS[kind].record(amount, attributes)
    for kept, _value in recorded.points(METRICS[kind].name):
        assert kept.keys() <= {"colour", "size"}
        assert kept.get("size", OTHER) in (*SIZE.values, OTHER)


@pytest.mark.parametrize("attributes", [Unhashable(), Raising(), NoPairs(), 5, "text", [("colour", "red")]])
def test_attributes_that_are_none_still_let_the_amount_count(recorded, attributes):
    RECORDERS[Kind.COUNTER].record(2, attributes)
    assert recorded.points("test.counter") == [({}, 2)]


@settings(max_examples=200)
@given(amount=anything)
def test_a_checked_amount_is_a_finite_number_or_nothing(amount):
    for each in METRICS.values():
        checked = checked_amount(each, amount)
        assert checked is None or (type(checked) in (int, float) and math.isfinite(checked))


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(3, 3), (2.5, 2.5), (Decimal("0.25"), 0.25), (Fraction(1, 4), 0.25), (10**15, 10**15)],
)
def test_every_real_number_counts(recorded, amount, expected):
    RECORDERS[Kind.COUNTER].record(amount)
    assert recorded.value("test.counter") == expected


@pytest.mark.parametrize("amount", [True, "3", None, 1j, math.nan, math.inf, Decimal("sNaN"), 10**400, -1])
@pytest.mark.parametrize("kind", [Kind.COUNTER, Kind.HISTOGRAM])
def test_what_cannot_count_is_left_out_and_reported_once(recorded, caplog, kind, amount):
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        RECORDERS[kind].record(amount)
        RECORDERS[kind].record(amount)
    assert recorded.points(METRICS[kind].name) == []
    assert len(caplog.records) == 1
    assert METRICS[kind].name in caplog.text


@pytest.mark.parametrize("kind", [Kind.UP_DOWN_COUNTER, Kind.GAUGE])
def test_what_goes_down_takes_negative_amounts(recorded, kind):
    RECORDERS[kind].record(-2)
    assert recorded.value(METRICS[kind].name) == -2


def test_absent_attributes_are_left_out_silently(recorded, caplog):
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        RECORDERS[Kind.COUNTER].record(1, {"colour": None, "size": "small"})
    assert recorded.points("test.counter") == [({"size": "small"}, 1)]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("given_attributes", "kept", "said"),
    [
        ({"weight": "3", "colour": "red"}, {"colour": "red"}, "weight"),
        ({"colour": ["red"], "size": "small"}, {"size": "small"}, "colour"),
        ({"size": "huge"}, {"size": OTHER}, "huge"),
        ({7: "x", "colour": "red"}, {"colour": "red"}, "of type int"),
    ],
)
def test_a_wrong_attribute_is_reported_once_and_the_rest_kept(recorded, caplog, given_attributes, kept, said):
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        for _ in range(3):
            assert checked_attributes(METRICS[Kind.COUNTER], given_attributes) == kept
    assert len(caplog.records) == 1
    assert said in caplog.text


def test_a_hostile_value_does_not_flood_the_log(recorded, caplog):
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        checked_attributes(METRICS[Kind.COUNTER], {"x" * 10_000: 1, "size": "y" * 10_000})
        checked_amount(METRICS[Kind.COUNTER], "z" * 10_000)
    assert len(caplog.records) == 3
    assert all(len(record.getMessage()) < 500 for record in caplog.records)


def test_nothing_is_checked_before_a_provider_is_connected(caplog):
    forget_warnings()
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        RECORDERS[Kind.COUNTER].record("no number", {"unknown": 1})
    assert not METER.active
    assert caplog.records == []


@pytest.mark.parametrize("kind", OBSERVABLE)
def test_an_observable_reads_all_its_sources(recorded, kind):
    first = OBSERVED[kind].observe("first", lambda: 3, {"colour": "red"})
    second = OBSERVED[kind].observe("second", lambda: [(4, {"size": "small"}), (5, {"size": "large"})])
    try:
        points = {tuple(attributes.items()): value for attributes, value in recorded.points(METRICS[kind].name)}
        assert points == {(("colour", "red"),): 3, (("size", "small"),): 4, (("size", "large"),): 5}
    finally:
        first.close()
        second.close()
    second.close()
    assert recorded.points(METRICS[kind].name) == []


def test_a_source_of_the_same_key_replaces_and_the_old_handle_leaves_it_alone(recorded):
    gauge = OBSERVED[Kind.OBSERVABLE_GAUGE]
    old = gauge.observe("queue", lambda: 1)
    new = gauge.observe("queue", lambda: 2)
    old.close()
    assert recorded.value("test.observable_gauge") == 2
    new.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reading=st.one_of(anything, st.lists(st.tuples(anything, mappings)), st.lists(anything)), attributes=mappings)
def test_no_source_ever_breaks_a_collection(recorded, reading, attributes):
    gauge = OBSERVED[Kind.OBSERVABLE_GAUGE]
    odd = gauge.observe("odd", lambda: reading, attributes)
    good = gauge.observe("good", lambda: 1, {"colour": "the good one"})
    try:
        assert ({"colour": "the good one"}, 1) in recorded.points("test.observable_gauge")
    finally:
        odd.close()
        good.close()


def test_a_raising_source_is_reported_once_and_costs_only_itself(recorded, caplog):
    gauge = OBSERVED[Kind.OBSERVABLE_GAUGE]
    bad = gauge.observe("bad", lambda: 1 / 0)
    good = gauge.observe("good", lambda: 1)
    try:
        with caplog.at_level(logging.WARNING, logger="otelbridge"):
            assert [recorded.value("test.observable_gauge") for _ in range(2)] == [1, 1]
        assert len(caplog.records) == 1
        assert "ZeroDivisionError" in caplog.text
    finally:
        bad.close()
        good.close()


class Proxy:
    """What stands for an object that is not there yet, as web frameworks have it."""

    @property
    def __class__(self):
        raise RuntimeError("no object here")


class Status(str, Enum):
    OPEN = "open"


class Number(float):
    def __float__(self):
        raise RuntimeError("no number")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (Status.OPEN, {"colour": "open"}),
        ("x" * 5000, {"colour": "x" * MAX_LENGTH}),
        ("caf\udce9", {"colour": "caf\N{REPLACEMENT CHARACTER}"}),
        ("caf\u00e9 \N{SLICE OF PIZZA}", {"colour": "caf\u00e9 \N{SLICE OF PIZZA}"}),
        (2**63 - 1, {"colour": 2**63 - 1}),
        (2**63, {}),
        (math.nan, {}),
        (Number(1), {}),
    ],
)
def test_values_are_such_as_every_exporter_can_write(recorded, value, kept):
    RECORDERS[Kind.COUNTER].record(1, {"colour": value})
    ((attributes, count),) = recorded.points("test.counter")
    assert attributes == kept
    assert {type(each) for each in attributes.values()} <= {str, int}
    assert count == 1


@pytest.mark.parametrize("value", ["x" * 5000, 2**63, math.nan, Number(1)])
def test_a_value_that_is_cut_or_left_out_is_reported_once(recorded, caplog, value):
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        for _ in range(2):
            checked_attributes(METRICS[Kind.COUNTER], {"colour": value})
    assert len(caplog.records) == 1
    assert len(caplog.records[0].getMessage()) < 500


@pytest.mark.parametrize("amount", [2**70, 2**63])
def test_a_whole_number_beyond_64_bits_counts_as_a_float(recorded, amount):
    RECORDERS[Kind.COUNTER].record(amount)
    value = recorded.value("test.counter")
    assert (type(value), value) == (float, float(amount))


def test_another_thread_that_changes_a_dictionary_leads_nobody_else_astray(monkeypatch):
    reader = InMemoryMetricReader()
    switch.connect(MeterProvider([reader], shutdown_on_exit=False))
    shared = {"colour": "red"}

    def check(*arguments):
        kept = checked_attributes(*arguments)
        shared["colour"] = "blue"  # as a thread would that runs in between
        return kept

    monkeypatch.setattr(recording, "checked_attributes", check)
    counter = METER.recorder(METRICS[Kind.COUNTER])
    counter.record(1, shared)
    counter.record(10, {"colour": "blue"})
    counter.record(100, {"colour": "red"})
    switch.disconnect()
    points = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert {point.attributes["colour"]: point.value for point in points} == {"red": 101, "blue": 10}


@pytest.mark.parametrize("kind", SYNCHRONOUS)
def test_an_attribute_set_that_is_removed_is_hidden_until_it_comes_again(kind):
    reader = InMemoryMetricReader()
    switch.connect(MeterProvider([reader], shutdown_on_exit=False))
    recorder = METER.recorder(METRICS[kind])
    for colour in ("red", "blue", "red"):
        recorder.record(1, {"colour": colour})

    def colours():
        (scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
        return sorted(point.attributes["colour"] for point in scope.metrics[0].data.data_points)

    assert colours() == ["blue", "red"]
    recorder.remove({"colour": "red"})
    recorder.remove({"colour": "green"})
    assert colours() == ["blue"]
    recorder.record(1, {"colour": "red"})
    assert colours() == ["blue", "red"]
    switch.disconnect()


@pytest.mark.parametrize(
    "attributes", [None, {"colour": ["unhashable"]}, {1: 2}, Unhashable(), Raising(), NoPairs(), 5]
)
def test_removing_never_raises(recorded, attributes):
    RECORDERS[Kind.COUNTER].remove(attributes)
    switch.disconnect()
    RECORDERS[Kind.COUNTER].remove(attributes)


def test_what_raises_when_it_is_looked_at_is_left_out(recorded):
    RECORDERS[Kind.COUNTER].record(Proxy())
    RECORDERS[Kind.COUNTER].record(Number(1))
    assert recorded.points("test.counter") == []
    RECORDERS[Kind.COUNTER].record(1, {"colour": Proxy(), "size": "small"})
    assert recorded.points("test.counter") == [({"size": "small"}, 1)]


def test_a_source_whose_key_cannot_be_told_apart_is_left_out(recorded, caplog):
    gauge = OBSERVED[Kind.OBSERVABLE_GAUGE]
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        gauge.observe(["no", "key"], lambda: 1).close()
    assert "test.observable_gauge is not observed" in caplog.text
