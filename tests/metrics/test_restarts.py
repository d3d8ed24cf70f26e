"""Sources of observable counters that begin again: a sum that can only grow never has a negative delta."""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.metrics import Observation
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader

from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics.current import Current
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.view import View
from otelbridge.otlp.deltas import Deltas, Vector

if TYPE_CHECKING:
    from pathlib import Path

KINDS = (sdk.ObservableCounter, sdk.ObservableUpDownCounter)
DELTA = dict.fromkeys(KINDS, AggregationTemporality.DELTA)
HEIGHTS, GROWTH = (10, 15, 4, 9), [10, 5, 4, 5]


class Source:
    """A provider with one observable instrument, and readers of every kind."""

    def __init__(self, directory: Path | None, kind: str = "counter", views: Any = ()) -> None:
        self.readers = InMemoryMetricReader(DELTA), InMemoryMetricReader()
        processes = None if directory is None else Processes("restarts", directory)
        self.provider = MeterProvider(self.readers, processes=processes, views=views, shutdown_on_exit=False)
        create = getattr(self.provider.get_meter("lib"), f"create_observable_{kind}")
        create("o", [lambda _: [Observation(*each) for each in self.observed]])
        self.observed: list[tuple[Any, Any]] = []
        self._current, self._deltas, self._vector = Current(), Deltas(DELTA), Vector(1)

    def points(self, reader: int) -> list[Any]:
        data = self.readers[reader].get_metrics_data()
        scopes = data.resource_metrics[0].scope_metrics if data and data.resource_metrics else ()
        return [point for scope in scopes for metric in scope.metrics for point in metric.data.data_points]

    def values(self, reader: int) -> list[Any]:
        return [point.value for point in self.points(reader)]

    def pushed(self) -> list[Any]:
        """Deltas that the push of ours makes of the totals of a group."""
        _, streams = self.provider.visit(self.readers[1], self._current.read)
        change = self._deltas.since(self._vector, streams)
        self._vector = change.vector
        return [point.value for stream in change.streams for point in stream.points]


@pytest.fixture(params=["alone", "grouped"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path if request.param == "grouped" else None


@pytest.mark.parametrize("factor", [1, 0.5, 2**61], ids=["ints", "floats", "large"])
def test_a_fall_is_a_new_beginning_to_a_reader_of_deltas(directory, factor) -> None:
    source = Source(directory)
    found: list[Any] = []
    for height in HEIGHTS:
        source.observed = [(height * factor, {"k": "v"})]
        found += source.values(0)
    assert found == [each * factor for each in GROWTH]
    source.provider.shutdown()


def test_a_push_of_deltas_of_a_group_sees_the_same(tmp_path) -> None:
    source = Source(tmp_path)
    found: list[Any] = []
    for height in HEIGHTS:
        source.observed = [(height, {"k": "v"})]
        found += source.pushed()
    assert found == GROWTH
    source.provider.shutdown()


def test_totals_of_one_process_begin_anew_where_the_source_does() -> None:
    source = Source(None)
    found: list[Any] = []
    for height in HEIGHTS:
        source.observed = [(height, None)]
        found += source.points(1)
    assert [point.value for point in found] == [*HEIGHTS]
    assert [point.start_time_unix_nano for point in found] == [
        *[found[0].start_time_unix_nano] * 2,
        *[found[1].time_unix_nano] * 2,
    ]
    source.provider.shutdown()


def test_totals_of_a_group_go_on_where_a_source_begins_anew(tmp_path) -> None:
    source = Source(tmp_path)
    found: list[Any] = []
    for height in HEIGHTS:
        source.observed = [(height, None)]
        found += source.values(1)
    assert found == [10, 15, 19, 24]
    source.provider.shutdown()


@pytest.mark.parametrize("reader", [0, 1], ids=["delta", "cumulative"])
def test_what_may_fall_falls(directory, reader) -> None:
    source = Source(directory, "up_down_counter")
    found: list[Any] = []
    for height in HEIGHTS:
        source.observed = [(height, None)]
        found += source.values(reader)
    assert found == [[10, 5, -11, 5], [*HEIGHTS]][reader]
    source.provider.shutdown()


def test_a_counter_shows_nothing_below_zero(directory, caplog) -> None:
    forget_warnings()
    source = Source(directory)
    source.observed = [(-5, {"k": "a"}), (5, {"k": "b"})]
    assert source.values(0) == source.values(1) == [5]
    assert "o leaves out the amount -5: it cannot go down" in caplog.text
    source.provider.shutdown()


@settings(max_examples=40, deadline=None)
@given(
    rounds=st.lists(
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 20) | st.floats(0, 20), max_size=3), max_size=8
    ),
    merge=st.sampled_from(["sum", "livesum", "per_worker"]),
)
def test_no_delta_is_negative_whatever_comes_and_goes(tmp_path_factory, rounds, merge) -> None:
    for directory in (None, tmp_path_factory.mktemp("group")):
        source = Source(directory, views=[View(instrument_name="o", merge=merge)])
        for heights in rounds:
            source.observed = [(height, {"k": key}) for key, height in heights.items()]
            assert min([0, *source.values(0), *source.pushed()]) >= 0
        source.provider.shutdown()


def test_one_of_several_processes_that_begins_anew_takes_nothing_from_the_total(start) -> None:
    first, second = start(2)
    first("observe", "counter", "oc", (100, None))
    second("observe", "counter", "oc", (0, None))
    deadline = monotonic() + 30
    while any(worker("collect").get("oc") != {(): 100} for worker in (first, second)) and monotonic() < deadline:
        sleep(0.05)  # until they know of each other
    totals: list[Any] = []
    for height in HEIGHTS:
        second("observe", "counter", "oc", (height, None))
        totals += second("collect")["oc"].values()
        assert first("collect")["oc"] == {(): totals[-1]}
    assert totals == [110, 115, 119, 124]
