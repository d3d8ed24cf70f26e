"""Cells are put right every few seconds: nothing is lost by it, and nothing becomes newer than it is."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from otelbridge.cells.book import Book
from otelbridge.metrics.exponential import ExponentialSeries
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.registry import StreamRegistry
from otelbridge.metrics.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS = ("counter", "histogram", "exponential")
A, B = {"k": "a"}, {"k": "b"}


class Member:
    """A member of a group with one instrument, whose series are put right only when a test says so."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.processes = Processes("healing", directory)
        self.processes._keeper.stop()
        self.reader = InMemoryMetricReader()
        aggregation = ExponentialBucketHistogramAggregation() if kind == "exponential" else None
        views = [View(instrument_name="i", aggregation=aggregation)]
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False, processes=self.processes, views=views)
        kind, verb = {"counter": ("counter", "add"), "gauge": ("gauge", "set")}.get(kind, ("histogram", "record"))
        self.verb = verb
        self.instrument = getattr(self.provider.get_meter("m"), f"create_{kind}")("i")

    def record(self, amount: float, attributes: Any) -> None:
        getattr(self.instrument, self.verb)(amount, attributes)

    def heal(self) -> None:
        self.processes._tidy()

    def collect(self) -> dict[str, float]:
        data = self.reader.get_metrics_data()
        points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points if data else ()
        return {point.attributes["k"]: point.value if hasattr(point, "value") else point.sum for point in points}


@pytest.fixture
def join() -> Iterator[Callable[[str], Member]]:
    """Makes members of one group that end with the test."""
    made: list[Member] = []
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:

        def join(kind: str) -> Member:
            made.append(Member(kind, Path(directory)))
            return made[-1]

        yield join
        for member in made:
            member.provider.shutdown()
            member.processes.close()


def test_a_gauge_stays_as_old_as_it_is(join) -> None:
    first, second = join("gauge"), join("gauge")
    first.record(1, A)
    second.record(2, A)
    for _ in range(2):
        first.heal()
        assert (first.collect(), second.collect()) == ({"a": 2}, {"a": 2})
    shutil.rmtree(first.processes.path)
    second.heal()
    first.heal()
    assert (first.collect(), second.collect()) == ({"a": 2}, {"a": 2})


@pytest.mark.parametrize("room", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_hidden_is_there_again_once_there_is_room(kind, room, join, monkeypatch) -> None:
    first, second = join(kind), join(kind)
    for amount, attributes in ((10, A), (20, B)):
        first.record(amount, attributes)
        second.record(1, attributes)
    first.instrument.remove(A)
    shutil.rmtree(first.processes.path)
    written = 0

    def append(book: Book, record: bytes) -> None:
        nonlocal written
        written += 1
        if written > room:
            raise OSError(errno.ENOSPC, "No space left on device")
        append_record(book, record)

    append_record = Book._append
    with monkeypatch.context() as full:
        full.setattr(Book, "_append", append)
        first.heal()
    assert (first.processes.reason == "no_room") is (room < 4)
    first.heal()
    second.heal()
    assert first.processes.degraded == ""
    for member in (first, second):
        assert member.collect() == {"a": 11, "b": 21}
    first.processes.close()
    second.heal()
    assert second.collect() == {"a": 11, "b": 21}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_removed_while_the_file_is_renewed_still_counts(kind, join, monkeypatch) -> None:
    first, second = join(kind), join(kind)
    first.record(10, A)
    second.record(1, A)
    shutil.rmtree(first.processes.path)
    publish = StreamRegistry.publish

    def remove_and_publish(streams: StreamRegistry) -> None:
        first.instrument.remove(A)
        publish(streams)

    with monkeypatch.context() as patch:
        patch.setattr(StreamRegistry, "publish", remove_and_publish)
        first.heal()
    second.heal()
    for member in (first, second):
        assert member.collect() == {"a": 11}


def test_what_a_finalizer_removes_while_its_cell_is_written_again_comes_back(join, monkeypatch) -> None:
    first, second = join("exponential"), join("exponential")
    handle = first.instrument.bind(A)
    handle.record(10)
    second.record(1, A)
    plan = ExponentialSeries._plan

    def plan_and_remove(*arguments: Any) -> Any:
        monkeypatch.undo()
        first.instrument.remove(A)
        return plan(*arguments)

    monkeypatch.setattr(ExponentialSeries, "_plan", plan_and_remove)
    first.heal()
    second.instrument.remove(A)
    assert (first.collect(), second.collect()) == ({}, {})
    handle.record(100)
    for member in (first, second):
        assert member.collect() == {"a": 111}


def test_a_counter_that_is_no_longer_observed_moves_too(join) -> None:
    first, second = join("counter"), join("counter")
    readings = [Observation(5, A), Observation(7, B)]
    first.provider.get_meter("m").create_observable_counter("o", [lambda _: readings])
    assert first.collect() == {"a": 5, "b": 7}
    readings = readings[:1]
    first.collect()
    shutil.rmtree(first.processes.path)
    first.heal()
    second.heal()
    assert second.collect() == {"a": 5, "b": 7}
