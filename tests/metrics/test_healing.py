"""A moment without room, descriptors or a directory is over with the next look of the keeper: all is seen again."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from otelbridge.cells.book import Book
from otelbridge.metrics import keeper
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.view import View
from tests.leftovers import memory_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Member:
    """A process of the group; here there are several in one."""

    def __init__(self, directory: Path) -> None:
        self.processes, self.reader = Processes("healed", directory), InMemoryMetricReader()
        views = [View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())]
        self.provider = MeterProvider([self.reader], views=views, processes=self.processes, shutdown_on_exit=False)
        meter = self.provider.get_meter("m")
        self.counter = meter.create_counter("counter")
        self.writes: dict[str, Callable[..., None]] = {
            "counter": self.counter.add,
            "histogram": meter.create_histogram("histogram").record,
            "exponential": meter.create_histogram("exponential").record,
            "up_down_counter": meter.create_up_down_counter("up_down_counter").add,
        }

    def record(self, amount: int = 1, key: str = "a") -> None:
        for write in self.writes.values():
            write(amount, {"k": key})

    def heal(self) -> None:
        """What the keeper does every few seconds."""
        self.processes._tidy()

    def shown(self) -> dict[Any, Any]:
        data = self.reader.get_metrics_data()
        return {
            (metric.name, point.attributes.get("k")): point.value if hasattr(point, "value") else point.sum
            for resource_ in (data.resource_metrics if data else ())
            for scope in resource_.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }


@pytest.fixture
def join(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Member]]:
    monkeypatch.setenv("OTELBRIDGE_GROUP", "healed")
    # Who heals, and when, is the test's to say.
    monkeypatch.setattr(keeper, "_FIRST", 3600.0)
    monkeypatch.setattr(keeper, "_INTERVAL", 3600.0)
    members: list[Member] = []
    with memory_directory("healing-") as directory:

        def join() -> Member:
            members.append(Member(directory))
            return members[-1]

        yield join
        for member in members:
            member.provider.shutdown()


def everything(total: int, key: str = "a") -> dict[Any, int]:
    return {(name, key): total for name in ("counter", "histogram", "exponential", "up_down_counter")}


def test_a_full_disk(join, monkeypatch) -> None:
    first = join()
    real = os.posix_fallocate

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    first.record(2)
    assert (first.processes.reason, first.shown()) == ("no_room", everything(2))
    first.heal()
    assert first.processes.reason == "no_room"
    monkeypatch.setattr(os, "posix_fallocate", real)
    first.record(3)
    first.heal()
    assert (first.processes.reason, first.processes.degraded) == ("", "")
    assert join().shown() == everything(5)


def test_no_descriptors(join) -> None:
    first = join()
    first.counter.add(1, {"k": "warm"})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        first.record(2)
        assert first.processes.reason == "no_descriptors"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    first.record(3)
    first.heal()
    assert join().shown() == {**everything(5), ("counter", "warm"): 1}


@pytest.mark.parametrize("whole", [True, False], ids=["the directory", "the files"])
def test_what_was_removed_is_made_anew_with_all_that_was_counted(join, whole) -> None:
    first, second = join(), join()
    first.record(1)
    second.record(10)
    first.record(100, key="hidden")
    first.counter.remove({"k": "hidden"})
    third = join()
    third.record(1000)
    third.processes._book.close()
    first.heal()  # which adds the third one to the base
    assert first.shown() == second.shown()
    started, path = first.processes.started, first.processes.path
    if whole:
        shutil.rmtree(path)
    else:
        for file in path.iterdir():
            file.unlink()
    for member in (first, second):
        member.shown()
        assert "removed" in member.processes.degraded
        member.record(1)
    for member in (first, second, first):
        member.heal()
    hidden = {key: total for key, total in everything(100, "hidden").items() if key[0] != "counter"}
    for member in (first, second):
        assert member.processes.degraded == ""
        assert member.shown() == {**everything(1013), **hidden}
    newcomer = join()
    assert newcomer.processes.started == started
    newcomer.counter.add(0, {"k": "hidden"})
    assert newcomer.shown() == {**everything(1013), **hidden, ("counter", "hidden"): 100}


@pytest.mark.parametrize("whole", [True, False], ids=["the directory", "the files"])
def test_while_one_after_the_other_is_healed_no_total_falls_or_counts_twice(join, whole, monkeypatch) -> None:
    members, recorded, seen = [join() for _ in range(3)], 0, dict.fromkeys(range(3), 0)
    real = Processes._replace

    def record() -> None:
        nonlocal recorded
        for amount, member in enumerate(members, 1):
            member.record(amount)
            recorded += amount

    def look() -> None:
        for number, member in enumerate(members):
            shown = member.shown()
            assert len(set(shown.values())) == 1
            total = shown["counter", "a"]
            assert seen[number] <= total <= recorded
            seen[number] = total

    def replace(self: Processes, *rest: Any) -> None:
        look()
        real(self, *rest)
        look()

    monkeypatch.setattr(Processes, "_replace", replace)
    record()
    look()
    path = members[0].processes.path
    if whole:
        shutil.rmtree(path)
    else:
        for file in path.iterdir():
            file.unlink()
    for member in members:
        record()
        look()
        member.heal()
        record()
        look()
    look()
    assert set(seen.values()) == {recorded}
    assert join().shown() == everything(recorded)


def test_the_keeper_looks_by_itself_though_there_never_was_a_book(join, monkeypatch) -> None:
    monkeypatch.setattr(keeper, "_FIRST", 0.01)
    monkeypatch.setattr(keeper, "_INTERVAL", 0.05)
    first = join()
    tries, again = threading.Event(), Book.open

    def full(*_: Any) -> Book:
        tries.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Book, "open", full)
        first.record(2)
        assert tries.wait(60)
    assert Book.open == again
    healed = threading.Event()
    while first.processes.degraded:
        assert not healed.wait(0.02)
    assert join().shown() == everything(2)


def test_a_cell_that_was_overwritten_is_right_again(join) -> None:
    first = join()
    first.record(5)
    for stream in first.provider._consumer._streams.all():
        for series in stream.all():
            if series.has_cell and hasattr(series, "whole"):
                series.cell.counts[series.cell.counts_at] = 0
    first.heal()
    assert join().shown() == everything(5)
