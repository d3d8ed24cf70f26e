"""The guard of recording without a lock: what the interpreter really executes between load and store."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest

from otelbridge.metrics import exponential, series
from otelbridge.metrics.bound import create_bound_writer
from otelbridge.metrics.inlining import inlined
from otelbridge.metrics.kinds import Kind
from otelbridge.metrics.limits import Terms
from otelbridge.metrics.series import LOCK_FREE, SumSeries
from otelbridge.metrics.streams import Stream
from otelbridge.metrics.writers import create_writer
from tests.metrics.atomic import atomic_runs, functions_of, interrupts, stores

pytestmark = pytest.mark.skipif(not LOCK_FREE, reason="this interpreter makes no promise, so a lock is taken instead")


def _recording():
    for kind, calls in (
        (Kind("sum"), ["series.add_int(amount)", "series.add_float(amount)"]),
        (Kind("histogram", (1.0, 2.0)), ["series.add_between(at, amount)"]),
    ):
        stream = Stream("s", kind, None, Terms(10))
        settings = {"signed": False, "watch": None, "offer": lambda *_: None}
        yield pytest.param(create_writer(stream, "s", **settings), calls, id=f"{kind.name} by attributes")
        yield pytest.param(create_bound_writer(stream, None, "s", **settings), calls, id=f"{kind.name} bound")


def _guarded():
    for module in (series, exponential):
        for name, function in functions_of(module).items():
            yield pytest.param(function, id=name)


def _lines(function, *texts: str) -> set[int]:
    source, first = inspect.getsourcelines(function)
    return {first + at for at, line in enumerate(source) if line.strip().startswith(texts)}


@pytest.mark.parametrize(("function", "calls"), list(_recording()))
def test_what_records_has_the_statements_of_a_series_in_one_line_without_a_call(function, calls) -> None:
    for call in calls:
        for line in _lines(function, call):
            assert interrupts(function, {line}) == []
            assert len(stores(function, {line})) >= 2
    compared = _lines(function, "if series.min <= amount") | _lines(function, "series.add_between")
    assert not compared or interrupts(function, compared) == []


@pytest.mark.parametrize("function", list(_guarded()))
def test_nothing_can_run_while_a_series_is_written(function) -> None:
    runs = atomic_runs(function)
    assert min(map(len, runs)) >= 2
    assert [interrupts(function, lines) for lines in runs] == [[]] * len(runs)


def test_without_its_source_the_package_records_all_the_same() -> None:
    made: dict[str, Any] = {}
    exec("def add(one, amount):\n    one.add_int(amount)\n", made)
    assert inlined(SumSeries.add_int)(made["add"]) is made["add"]


def test_every_function_that_promises_so_is_looked_at() -> None:
    assert {name for module in (series, exponential) for name in functions_of(module)} == {
        "ExponentialSeries._begin",
        "ExponentialSeries._make_room",
        "ExponentialSeries._put",
        "ExponentialSeries._stretch",
        "ExponentialSeries._widen",
        "ExponentialSeries.attach",
        "ExponentialSeries.await_cell",
        "ExponentialSeries.replace",
        "ExponentialSeries.snapshot",
        "ExponentialSeries.take",
        "HistogramSeries._await",
        "HistogramSeries._keep",
        "HistogramSeries.add_between",
        "HistogramSeries.take",
        "HistogramSeries.widen",
        "LastSeries._await",
        "SumSeries._await",
        "SumSeries.add_float",
        "SumSeries.add_int",
    }


def test_the_guard_sees_a_call() -> None:
    def broken(one, amount) -> None:
        one.whole += float(amount)

    assert interrupts(broken, _lines(broken, "one.whole +=")) != []


if sys.version_info < (3, 12):  # later versions collect garbage where they switch threads

    def test_the_guard_sees_a_new_container() -> None:
        def broken(one, amount) -> None:
            # Atomic from here
            one.low = amount
            one.both = [one.low, amount]
            # to here.

        assert interrupts(broken, *atomic_runs(broken)) != []


if sys.version_info < (3, 11):  # later versions switch at no condition

    def test_the_guard_sees_a_condition_that_jumps_between_two_stores() -> None:
        def broken(one, amount) -> None:
            # Atomic from here
            one.sum += amount
            one.min = min(one.min, amount)
            one.count += 1
            # to here.

        assert interrupts(broken, *atomic_runs(broken)) != []
