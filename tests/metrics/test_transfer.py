"""What was counted moves between series whole: nothing lost, nothing twice, whatever comes in between."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.cells.book import Book
from otelbridge.cells.shape import Rule
from otelbridge.metrics.exponential import ExponentialSeries, QueuedExponentialSeries
from otelbridge.metrics.kinds import Kind
from otelbridge.metrics.merging import shape_of
from otelbridge.metrics.transfer import add, guard, has_cell, load, resume, shed, state, unchanged

KINDS = [Kind("sum"), Kind("last"), Kind("histogram", (1.0, 10.0)), Kind("exponential", max_size=8, max_scale=20)]
by_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
_AMOUNTS = st.lists(st.one_of(st.integers(-100, 100), st.floats(-1e6, 1e6)), max_size=20)


def make(kind: Kind, amounts: Any = ()) -> Any:
    series = kind.new_series()({"k": "v"}, 1)
    for amount in amounts:
        series.record(amount)
    return series


def told(series: Any) -> Any:
    """All a series has counted, in a form that can be compared."""
    if hasattr(series, "whole"):
        return series.whole, pytest.approx(series.part)
    if hasattr(series, "last"):
        return series.last
    if isinstance(series, ExponentialSeries):
        value = series.snapshot()
        return value.count, pytest.approx(value.sum), value.zero_count, value.min, value.max
    low, high = min(series.min, series.low), max(series.max, series.high)
    return series.counts, pytest.approx(series.sum), low, high


@by_kind
@given(before=_AMOUNTS, after=_AMOUNTS)
def test_what_is_shed_is_all_there_was_and_the_next_value_asks_for_a_place(kind, before, after) -> None:
    series, ghost, asked = make(kind, before), make(kind), []

    def place(one: Any) -> None:
        asked.append(one)
        one.attach(None)

    shed(series, ghost, place)
    assert (told(ghost), told(series), series.silent) == (told(make(kind, before)), told(make(kind)), True)
    for amount in after:
        series.record(amount)
    assert told(series) == told(make(kind, after))
    assert (asked, series.silent) == (([series], False) if after else ([], True))


@by_kind
@given(before=_AMOUNTS)
def test_what_was_recorded_since_the_look_keeps_everything_where_it_is(kind, before) -> None:
    series, ghost = make(kind, before), make(kind)
    seen = state(series)
    series.record(3)
    if before:  # a gauge that was never set looks like none
        assert not shed(series, ghost, lambda one: one.attach(None), seen)
        assert (told(ghost), told(series)) == (told(make(kind)), told(make(kind, [*before, 3])))
    assert shed(series, ghost, lambda one: one.attach(None), state(series))
    assert told(ghost) == told(make(kind, [*before, 3]))


@by_kind
@given(first=_AMOUNTS, second=_AMOUNTS)
def test_adding_is_as_if_one_had_recorded_everything(kind, first, second) -> None:
    series = make(kind, first)
    with guard(series):
        add(series, make(kind, second))
    expected = make(kind, [*first, *second])
    if kind.name == "sum":
        assert series.value == pytest.approx(expected.value)
    else:
        assert told(series) == told(expected)


@by_kind
@pytest.mark.parametrize("before", [(), (0,), (1, 2.5, 40, -3)], ids=["nothing", "zero", "values"])
def test_a_series_goes_on_with_what_its_cell_holds(kind, before, tmp_path) -> None:
    book = Book.open(tmp_path)
    shape = shape_of(kind, Rule.SUM.value if kind.name != "last" else "last", observed=False)
    cell = book.place(b"stream", shape, b"series")
    first = make(kind, before)
    first.attach(cell)
    assert has_cell(first)
    held = make(kind)
    load(held, cell)
    returning = make(kind)
    returning.await_cell(lambda one: resume(one, held, cell))
    assert not has_cell(returning)
    for amount in (2, 0.5):
        returning.record(amount)
    expected = make(kind, [*([] if kind.name == "last" else before), 2, 0.5])
    assert told(returning) == told(expected)
    again = make(kind)
    load(again, cell)
    if kind.name != "last":
        assert told(again) == told(expected)
    book.close()


@by_kind
def test_a_signal_handler_that_lets_it_go_on_first_is_not_undone(kind, tmp_path) -> None:
    book = Book.open(tmp_path)
    cell = book.place(b"stream", shape_of(kind, "sum" if kind.name != "last" else "last", observed=False), b"series")
    make(kind, [1]).attach(cell)

    def held() -> Any:
        held = make(kind)
        load(held, cell)
        return held

    series = make(kind)

    def place(one: Any) -> None:
        outer = held()
        resume(one, held(), cell)
        one.record(5)
        resume(one, outer, cell)

    series.await_cell(place)
    series.record(3)
    expected = told(make(kind, [5, 3] if kind.name == "last" else [1, 5, 3]))
    # A sum and a histogram have taken the value before they ask for a place.
    assert told(series) == (told(make(kind, [3, 5])) if kind.name == "last" else expected)
    book.close()


@by_kind
def test_every_value_changes_the_state_also_an_equal_one(kind) -> None:
    series = make(kind, [1])
    before = state(series)
    assert unchanged(before, state(series))
    series.record(1)
    assert not unchanged(before, state(series))


def test_only_zeros_leave_the_scale_of_an_exponential_histogram_as_fine_as_it_was(tmp_path) -> None:
    kind = KINDS[3]
    series, zeros = make(kind), make(kind, [0])
    add(series, zeros)
    series.record(1.5)
    assert told(series) == told(make(kind, [0, 1.5]))
    assert series.snapshot().scale == make(kind, [0, 1.5]).snapshot().scale


def test_the_queue_of_a_series_that_needs_locks_is_recorded_after_it_was_shed() -> None:
    series, ghost = QueuedExponentialSeries({}, 1), QueuedExponentialSeries({}, 1)
    series.record(1)
    series._queue.append(2)
    shed(series, ghost, lambda one: one.attach(None))
    assert (ghost.snapshot().count, series.snapshot().count) == (1, 1)
