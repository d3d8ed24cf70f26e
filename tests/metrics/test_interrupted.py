"""Signal handlers and finalizers that record and forget in the middle of recording and forgetting: every count once."""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import Counter, Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from otelbridge.cells.book import Book
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.series import SumSeries
from otelbridge.metrics.streams import Stream
from otelbridge.metrics.view import View
from tests.interrupting import interrupting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS = ("counter", "histogram", "exponential")
DELTA = dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)
A = {"k": "a"}


class Played:
    """An instrument with a reader of deltas, alone or in a group."""

    def __init__(self, kind: str, directory: Path | None, limit: int = 2) -> None:
        self.processes = None if directory is None else Processes("played", directory)
        self.reader = InMemoryMetricReader(DELTA)
        aggregation = ExponentialBucketHistogramAggregation() if kind == "exponential" else None
        self.provider = MeterProvider(
            [self.reader],
            shutdown_on_exit=False,
            cardinality_limit=limit,
            processes=self.processes,
            views=[View(instrument_name="i", aggregation=aggregation)],
        )
        self.verb = "add" if kind == "counter" else "record"
        self.instrument = getattr(
            self.provider.get_meter("m"), "create_counter" if kind == "counter" else "create_histogram"
        )("i")
        self.record: Callable[..., None] = getattr(self.instrument, self.verb)
        self.read = 0.0

    def handle(self, attributes: Any) -> Callable[[float], None]:
        return getattr(self.instrument.bind(attributes), self.verb)

    def collect(self) -> float:
        """Everything that was read by now."""
        data = self.reader.get_metrics_data()
        for point in data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points if data else ():
            self.read += point.value if hasattr(point, "value") else point.sum
        return self.read

    @property
    def stream(self) -> Stream:
        return next(stream for stream in self.provider._consumer._streams.all() if stream.name == "i")

    def kept(self) -> float:
        """What the other processes of the group find in the cells."""
        assert self.processes is not None
        book = self.processes._book
        assert book is not None
        found = 0.0
        for cell in book._streams[self.stream.sharing.identity].cells.values():
            series = self.stream._new({}, 0)
            series.load(cell)
            found += series.value if hasattr(series, "value") else series.sum
        return found


@pytest.fixture
def play() -> Iterator[Callable[..., Played]]:
    """Makes players that end with the test."""
    made: list[Played] = []

    def play(*arguments: Any, **keywords: Any) -> Played:
        made.append(Played(*arguments, **keywords))
        return made[-1]

    yield play
    for played in made:
        played.provider.shutdown()
        if played.processes is not None:
            played.processes.close()


@pytest.fixture(params=["alone", "in a group"])
def directory(request) -> Iterator[Path | None]:
    if request.param == "alone":
        yield None
        return
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as found:
        yield Path(found)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost_or_counted_twice(kind, directory, play) -> None:
    """Handles and look-ups, in and out of the handler, beyond the limit, while both forget."""
    played = play(kind, directory)
    sets = [{"k": f"{number}"} for number in range(4)]
    handles = [played.handle(attributes) for attributes in sets]
    recorded, calls = [0], 0

    def work(turn: int, amount: int) -> None:
        handles[turn % 4](amount)
        recorded[0] += amount
        played.record(amount, sets[turn * 3 % 4])
        recorded[0] += amount

    def handler() -> None:
        nonlocal calls
        calls += 1
        work(calls, calls % 7 + 1)
        if calls % 3 == 0:
            played.instrument.remove(sets[calls % 4])

    turn = 0
    with interrupting(handler, 3e-4):
        while calls < 1000:
            turn += 1
            work(turn, turn % 5 + 1)
            played.instrument.remove(sets[turn * 7 % 4])
            if turn % 50 == 0:
                played.collect()
    for _ in range(2):
        played.collect()
    assert played.read == recorded[0]
    if directory is not None:
        assert played.kept() == recorded[0]


def once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, what: Callable[[], Any]) -> None:
    """Do something the first time that a function is called, before it does anything."""
    real, done = getattr(owner, name), []

    def function(*rest: Any) -> Any:
        if not done:
            done.append(True)
            what()
        return real(*rest)

    monkeypatch.setattr(owner, name, function)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_forgotten_while_it_comes_back_still_counts(kind, directory, play, monkeypatch) -> None:
    played = play(kind, directory)
    handle = played.handle(A)
    handle(1)
    played.instrument.remove(A)
    once(monkeypatch, Stream, "_house", lambda: played.instrument.remove(A))
    for _ in range(100):
        handle(1)
    assert played.collect() == 101
    if directory is not None:
        assert played.kept() == 101


@pytest.mark.parametrize("kind", KINDS)
def test_who_enters_a_series_that_is_being_entered_is_no_rival(kind, directory, play, monkeypatch) -> None:
    played = play(kind, directory)
    handle = played.handle(A)
    handle(1)
    played.instrument.remove(A)
    once(monkeypatch, Stream, "_show", lambda: handle(10))
    handle(100)
    assert played.collect() == 111
    assert not played.stream.overflowing
    if directory is not None:
        assert played.kept() == 111


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_one_overflow_whoever_makes_it(kind, directory, play, monkeypatch) -> None:
    played = play(kind, directory, limit=1)
    late = played.handle({"k": "late"})
    played.record(1, A)
    once(monkeypatch, Stream, "_make", lambda: late(10))
    played.record(100, {"k": "b"})
    late(1000)
    assert played.collect() == 1111
    if directory is not None:
        assert played.kept() == 1111


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_one_book_whoever_opens_it(kind, directory, play, monkeypatch) -> None:
    if directory is None:
        directory = Path(os.environ["XDG_RUNTIME_DIR"])
    played = play(kind, directory)
    once(monkeypatch, Book, "open", lambda: played.record(10, {"k": "early"}))
    played.record(1, A)
    for _ in range(5):
        played.record(100, {"k": "early"})
    assert played.kept() == 511


@pytest.mark.parametrize("name", ["_hide", "_enter", "_show", "_house"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_in_between_hiding_and_showing_counts(kind, name, directory, play, monkeypatch) -> None:
    """Whatever is done at each step of hiding and showing: it counts, and what is recorded to last is shown."""
    for number, between in enumerate(("record", "remove", "read", "record and remove", "remove and record")):
        played = play(kind, directory)
        handle, recorded = played.handle(A), 0

        def record(amount: int, handle: Any = handle) -> None:
            nonlocal recorded
            recorded += amount
            handle(amount)

        steps = {
            "record": partial(record, 10),
            "remove": partial(played.instrument.remove, A),
            "read": played.collect,
        }

        def come(between: str = between, steps: Any = steps) -> None:
            for step in between.split(" and "):
                steps[step]()

        record(1)
        with monkeypatch.context() as patch:
            once(patch, Stream, name, come)
            played.instrument.remove(A)
            record(100)
        record(1000)
        assert played.stream.shown == 1, number
        for _ in range(2):
            played.collect()
        assert played.read == recorded
        if directory is not None:
            assert played.kept() == recorded
        played.provider.shutdown()


def test_a_child_has_nothing_of_what_another_thread_was_hiding(monkeypatch, directory, play) -> None:
    played = play("counter", directory)
    handle = played.handle(A)
    handle(5)
    inside, go = threading.Event(), threading.Event()
    real, parent = SumSeries.await_cell, os.getpid()

    def await_cell(self: Any, *rest: Any) -> bool:
        if os.getpid() == parent:
            inside.set()
            assert go.wait(60)
        return real(self, *rest)

    monkeypatch.setattr(SumSeries, "await_cell", await_cell)
    thread = threading.Thread(target=lambda: played.instrument.remove(A))
    thread.start()
    inside.wait(30)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        handle(1)
        played.record(2, {"k": "b"})
        os.write(writing, b"%d" % played.collect())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    assert os.read(reading, 10) == b"3"
    os.close(reading)
    go.set()
    thread.join(30)
    handle(7)
    assert played.collect() == 12
