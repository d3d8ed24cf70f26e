"""Forgetting: series are hidden when they are told to be, or idle, and nothing recorded is lost or counted twice."""

from __future__ import annotations

import gc
import random
import sys
import threading
import tracemalloc
from typing import Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, Counter, Histogram, ObservableCounter, UpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, ExponentialBucketHistogramAggregation
from opentelemetry.sdk.metrics.view import View as SdkView

from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics import idle, limited, streams
from otelbridge.metrics._sdk import Gauge
from otelbridge.metrics.deltas import DeltaCheckpoint
from otelbridge.metrics.finders import Finder
from otelbridge.metrics.kinds import Kind
from otelbridge.metrics.limits import Terms
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.streams import Stream
from otelbridge.metrics.switch import SwitchMeterProvider
from otelbridge.metrics.view import View

OVERFLOW = (("otel.metric.overflow", True),)
DELTA = dict.fromkeys((Gauge, Counter, UpDownCounter, Histogram, ObservableCounter), AggregationTemporality.DELTA)
EXPONENTIAL = ExponentialBucketHistogramAggregation()
VERBS = {"counter": "add", "up_down_counter": "add", "histogram": "record", "exponential": "record", "gauge": "set"}
A, B = {"k": "a"}, {"k": "b"}


@pytest.fixture(autouse=True)
def _every_cause_is_news():
    forget_warnings()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets time pass: the seconds are added to."""
    seconds = [0.0]
    for module in (streams, limited):
        monkeypatch.setattr(module, "monotonic", lambda: seconds[0])
    return seconds


class Built:
    """A provider with a reader of totals and one of deltas, and one instrument."""

    def __init__(self, kind: str, *, deltas: bool = True, **settings: Any) -> None:
        view: dict[str, Any] = {"instrument_name": "i", "aggregation": EXPONENTIAL if kind == "exponential" else None}
        view.update(settings.pop("view", {}))
        self.totals, self.deltas = InMemoryMetricReader(), InMemoryMetricReader(DELTA)
        readers = [self.totals, self.deltas] if deltas else [self.totals]
        self.provider = MeterProvider(readers, views=[View(**view)], shutdown_on_exit=False, **settings)
        kind, self.verb = {"exponential": "histogram"}.get(kind, kind), VERBS[kind]
        self.instrument = getattr(self.provider.get_meter("lib"), f"create_{kind}")("i")

    def record(self, amount: float, attributes: Any) -> None:
        getattr(self.instrument, self.verb)(amount, attributes)

    def handle(self, attributes: Any) -> Any:
        return getattr(self.instrument.bind(attributes), self.verb)

    def total(self) -> dict[Any, Any]:
        return points(self.totals)

    def delta(self) -> dict[Any, Any]:
        return points(self.deltas)


def points(reader: Any) -> dict[Any, Any]:
    """Value by sorted attributes; of histograms (count, sum, minimum, maximum)."""
    data = reader.get_metrics_data()
    found: dict[Any, Any] = {}
    for point in data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points if data else ():
        key = tuple(sorted(point.attributes.items()))
        found[key] = point.value if hasattr(point, "value") else (point.count, point.sum, point.min, point.max)
    return found


def key(attributes: dict[str, Any]) -> Any:
    return tuple(sorted(attributes.items()))


def as_point(kind: str, *amounts: float) -> Any:
    if kind in ("histogram", "exponential"):
        return len(amounts), sum(amounts), min(amounts), max(amounts)
    return amounts[-1] if kind == "gauge" else sum(amounts)


every_kind = pytest.mark.parametrize("kind", VERBS)


# Told to


@every_kind
def test_what_is_removed_is_gone_and_begins_at_zero_when_nothing_has_it_any_longer(kind) -> None:
    built = Built(kind, deltas=False)
    for attributes in (A, B):
        built.record(5, attributes)
    first, read = start_of(built, A)
    built.instrument.remove({"k": "a"})
    assert built.total() == {key(B): as_point(kind, 5)}
    built.record(2, A)
    assert built.total() == {key(B): as_point(kind, 5), key(A): as_point(kind, 2)}
    second, _ = start_of(built, A)
    assert (first, second) == (None, None) if kind == "gauge" else first < read <= second


@every_kind
def test_what_a_handle_has_returns_as_it_was(kind) -> None:
    built = Built(kind)
    handle = built.handle(A)
    handle(1)
    first, _ = start_of(built, A)
    built.instrument.remove(A)
    handle(2)
    assert start_of(built, A)[0] == first
    assert built.total() == {key(A): as_point(kind, 1, 2)}


def start_of(built: Built, attributes: Any) -> Any:
    """Start and time of a point."""
    points = built.totals.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    (point,) = (point for point in points if point.attributes == attributes)
    return point.start_time_unix_nano, point.time_unix_nano


@every_kind
@pytest.mark.parametrize("attributes", [A, {}, None], ids=["some", "empty", "none"])
def test_a_handle_brings_its_series_back(kind, attributes) -> None:
    built = Built(kind)
    handle = built.handle(attributes)
    amounts: list[float] = []
    for _ in range(3):
        for amount in (1, 2.5):
            handle(amount)
            amounts.append(amount)
        assert built.total() == {key(attributes or {}): as_point(kind, *amounts)}
        built.instrument.remove(attributes)
        assert built.total() == {}


@every_kind
def test_a_handle_and_a_look_up_mean_the_same_series_afterwards(kind) -> None:
    built = Built(kind)
    handle = built.handle(A)
    handle(1)
    built.record(1, A)
    built.instrument.remove(A)
    built.record(2, A)
    handle(3)
    assert built.total() == {key(A): as_point(kind, 1, 1, 2, 3)}
    built.instrument.remove(A)
    handle(3)
    built.record(2, A)
    assert built.total() == {key(A): as_point(kind, 1, 1, 2, 3, 3, 2)}


@every_kind
def test_the_last_delta_of_what_is_removed_is_given_once(kind) -> None:
    built = Built(kind)
    built.record(5, A)
    assert built.delta() == {key(A): as_point(kind, 5)}
    built.record(2, A)
    built.instrument.remove(A)
    assert built.delta() == {key(A): as_point(kind, 2)}
    assert built.delta() == {}
    built.record(3, A)
    built.instrument.remove(A)
    built.record(4, A)
    assert built.delta() == {key(A): as_point(kind, 3, 4)}
    assert built.delta() == {}


def test_removing_what_is_not_there_or_makes_no_sense_is_harmless(caplog) -> None:
    built = Built("counter")
    built.record(1, A)
    for attributes in (B, None, {}, 5, object(), {"k": object()}):
        built.instrument.remove(attributes)
    assert built.total() == {key(A): 1}
    assert all("Attributes" in record.getMessage() or "attribute" in record.getMessage() for record in caplog.records)


def test_a_view_removes_what_it_keeps() -> None:
    built = Built("counter", view={"attribute_keys": {"k"}})
    built.record(1, {"k": "a", "dropped": 1})
    built.instrument.remove({"k": "a", "dropped": 2})
    assert built.total() == {}


def test_every_stream_of_the_instrument_forgets() -> None:
    reader = InMemoryMetricReader()
    views = [SdkView(instrument_name="i", name=name) for name in ("one", "two")]
    provider = MeterProvider([reader], views=views, shutdown_on_exit=False)
    counter = provider.get_meter("lib").create_counter("i")
    counter.add(1, A)
    counter.remove(A)
    assert reader.get_metrics_data() is None


def test_aggregations_of_the_users_own_stay() -> None:
    class Own(ExplicitBucketHistogramAggregation):
        def _create_aggregation(self, *arguments: Any) -> Any:
            made = super()._create_aggregation(*arguments)
            made.__class__ = type("Mine", (made.__class__,), {})
            return made

    built = Built("counter", view={"aggregation": Own([1.0])})
    built.record(1, A)
    built.instrument.remove(A)
    assert [count for count, *_ in built.total().values()] == [1]


def test_the_switch_hands_it_on() -> None:
    built = Built("counter")
    switch = SwitchMeterProvider()
    counter = switch.get_meter("lib").create_counter("i")
    counter.remove(A)
    switch.connect(built.provider)
    counter.add(1, A)
    counter.remove(A)
    assert built.total() == {}
    switch.disconnect()


@every_kind
def test_an_interrupted_read_leaves_everything_to_the_next(kind, monkeypatch) -> None:
    built = Built(kind)
    for name in "abc":
        built.record(2, {"k": name})
    assert len(built.delta()) == 3
    for name in "abc":
        built.record(5, {"k": name})
    built.instrument.remove({"k": "b"})
    expected = {(("k", name),): as_point(kind, 5) for name in "abc"}
    real, left = DeltaCheckpoint.since, 0

    def since(self: Any, *rest: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        return real(self, *rest)

    monkeypatch.setattr(DeltaCheckpoint, "since", since)
    for number in (1, 2, 3):
        left = number
        with pytest.raises(KeyboardInterrupt):
            built.delta()
    assert built.delta() == expected
    assert built.delta() == {}


@every_kind
def test_what_is_removed_or_recorded_in_the_middle_of_a_read_is_read_once(kind, monkeypatch) -> None:
    built = Built(kind)
    handle = built.handle(A)
    handle(1)
    built.record(1, B)
    real, found, recorded = DeltaCheckpoint.since, [], 2

    def since(self: Any, *rest: Any) -> Any:
        nonlocal recorded
        before = real(self, *rest)
        for attributes in (A, B):
            built.instrument.remove(attributes)
            built.record(1, attributes)
            built.instrument.remove(attributes)
        handle(1)
        recorded += 3
        return before

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(DeltaCheckpoint, "since", since)
            found.append(built.deltas.get_metrics_data())
    found += [built.deltas.get_metrics_data() for _ in range(2)]
    check_deltas(kind, points_of(found), recorded)


def test_exemplars_go_with_their_series() -> None:
    built = Built("counter", exemplar_filter=AlwaysOnExemplarFilter())
    built.record(1, A)
    built.instrument.remove(A)
    built.record(2, A)
    data = built.totals.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert [exemplar.value for point in data for exemplar in point.exemplars] == [2]


# Memory and room


@every_kind
def test_what_comes_and_goes_leaves_nothing_behind(kind) -> None:
    built = Built(kind, cardinality_limit=10, exemplar_filter=AlwaysOnExemplarFilter(), view={"forget_after": 1e9})

    def churn(begin: int, end: int) -> None:
        for number in range(begin, end):
            attributes = {"k": f"{number}"}
            built.record(1, attributes)
            if number % 50 == 0:
                built.total()
                built.delta()
            built.instrument.remove(attributes)
            if number % 7 == 0:
                built.delta()

    churn(0, 200)
    gc.collect()
    tracemalloc.start()
    churn(200, 2000)
    built.delta()
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 60_000
    assert OVERFLOW not in built.total()
    assert built.provider.held == 0


def test_a_forgotten_series_is_freed_at_once_though_it_was_looked_up() -> None:
    stream = Stream("s", Kind("sum"), None, Terms(5))
    finder = Finder(stream)
    finder.find(A).record(1)
    gc.disable()
    try:
        stream.remove(A)
        assert dict(stream._hidden) == {}
    finally:
        gc.enable()


@every_kind
def test_what_a_handle_has_returns_though_there_is_no_room_for_others(kind) -> None:
    built = Built(kind, cardinality_limit=1)
    handle = built.handle(A)
    handle(1)
    built.instrument.remove(A)
    built.record(10, B)
    handle(2)
    built.record(3, {"k": "c"})
    expected = {key(A): as_point(kind, 1, 2), key(B): as_point(kind, 10), OVERFLOW: as_point(kind, 3)}
    assert built.total() == expected
    assert built.provider.held == 2


def test_a_reader_of_deltas_that_does_not_read_holds_up_forgetting(caplog) -> None:
    built = Built("counter")
    for number in range(2003):
        built.record(1, {"k": number})
        built.instrument.remove({"k": number})
    assert sum(built.total().values()) == 3
    assert "keeps series it should forget" in caplog.text
    assert sum(built.delta().values()) == 2003
    built.instrument.remove({"k": 2001})
    assert sum(built.total().values()) == 2


# forget_after


@every_kind
def test_what_nobody_records_to_goes_after_its_time(kind, clock) -> None:
    built = Built(kind, view={"forget_after": 10})
    handle = built.handle(A)
    lasting = kind == "up_down_counter"
    handle(5)
    built.record(5, B)
    if lasting:
        handle(-5)
    built.total()
    clock[0] += 9
    built.record(5, B)
    assert built.total().keys() == {key(A), key(B)}
    clock[0] += 1
    assert built.total() == {key(B): as_point(kind, 5, 5)}
    clock[0] += 9
    assert built.total() == ({key(B): 10} if lasting else {})
    handle(7)
    assert built.total()[key(A)] == as_point(kind, *([5, -5] if lasting else [5]), 7)


def test_a_gauge_that_is_set_to_the_same_value_again_stays(clock) -> None:
    built = Built("gauge", view={"forget_after": 10})
    for _ in range(5):
        built.record(5, A)
        clock[0] += 6
        assert built.total() == {key(A): 5}


def test_what_is_recorded_between_the_look_and_the_forgetting_keeps_a_series(clock, monkeypatch) -> None:
    for kind in VERBS:
        built = Built(kind, view={"forget_after": 10})
        built.record(5, A)
        if kind == "up_down_counter":
            built.record(-5, A)
        assert len(built.delta()) == 1
        look = idle.Idle.look

        def look_and_record(self: Any, *arguments: Any, look: Any = look, built: Built = built) -> Any:
            found = look(self, *arguments)
            if found:
                built.record(2, A)
            return found

        built.total()
        clock[0] += 10
        with monkeypatch.context() as patch:
            patch.setattr(idle.Idle, "look", look_and_record)
            shown = built.total()
        amounts = (5, -5, 2) if kind == "up_down_counter" else (5, 2)
        assert shown == {key(A): as_point(kind, *amounts)}
        assert built.delta() == {key(A): as_point(kind, 2)}


def test_without_the_setting_everything_stays(clock) -> None:
    built = Built("counter")
    built.record(1, A)
    built.total()
    clock[0] += 1e9
    assert built.total() == {key(A): 1}


@pytest.mark.parametrize("kind", ["observable_counter", "observable_up_down_counter", "observable_gauge"])
def test_what_is_observed_no_longer_makes_room_after_its_time(kind, clock) -> None:
    reader = InMemoryMetricReader()
    view = View(instrument_name="o", forget_after=10, cardinality_limit=2)
    provider = MeterProvider([reader], views=[view], shutdown_on_exit=False)
    seen: list[Observation] = []
    getattr(provider.get_meter("lib"), f"create_{kind}")("o", [lambda _: seen])
    for turn in range(5):
        seen[:] = [Observation(turn + 1, {"k": f"{turn} {number}"}) for number in range(2)]
        for _ in range(3):
            assert points(reader) == {(("k", f"{turn} {number}"),): turn + 1 for number in range(2)}
            clock[0] += 4
        clock[0] += 10
    assert provider.held == 2


# Everything at once


def run(recording: list[Any], meanwhile: list[Any]) -> None:
    """Run some things in threads until the first ones are done, switching between them all the time."""
    stop = threading.Event()

    def again(work: Any) -> None:
        while not stop.is_set():
            work()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for work in recording]
        others = [threading.Thread(target=again, args=(work,)) for work in meanwhile]
        for thread in (*threads, *others):
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        for thread in others:
            thread.join()
    finally:
        sys.setswitchinterval(interval)


@every_kind
def test_threads_lose_nothing_while_series_come_and_go(kind) -> None:
    """Deltas add up to all that was recorded, by handles, by look-ups, beyond the limit, while series are removed."""
    built = Built(kind, cardinality_limit=6)
    sets = [{"k": f"{number}"} for number in range(8)]
    turns, chance = 12_000, random.Random(7)
    collected: list[Any] = []

    def bound() -> None:
        handles = [built.handle(attributes) for attributes in sets]
        for turn in range(turns):
            handles[turn % len(handles)](1)

    def looked_up() -> None:
        for turn in range(turns):
            built.record(1, sets[turn * 3 % len(sets)])

    run(
        [bound, bound, looked_up],
        [
            lambda: built.instrument.remove(chance.choice(sets)),
            built.total,
            lambda: collected.append(built.deltas.get_metrics_data()),
        ],
    )
    collected += [built.deltas.get_metrics_data() for _ in range(3)]
    check_deltas(kind, points_of(collected), 3 * turns)


# Every allocation is too many for an exponential histogram: each try to replace its buckets is overtaken.
@pytest.mark.endtoend
@pytest.mark.parametrize(
    ("kind", "threshold"),
    [(kind, threshold) for kind in VERBS for threshold in (1, 7, 50) if (kind, threshold) != ("exponential", 1)],
)
def test_what_finalizers_and_signal_handlers_do_meanwhile_counts_once(kind, threshold) -> None:
    """Garbage is collected all the time, and each time something is recorded, and something removed."""
    built = Built(kind, cardinality_limit=3)
    sets = [{"k": f"{number}"} for number in range(4)]
    handles = [built.handle(attributes) for attributes in sets]
    calls, found = 0, []

    def callback(phase: str, _: Any) -> None:
        nonlocal calls
        handles[calls % len(handles)](1)
        if calls % 3 == 0 and phase == "stop":
            built.instrument.remove(sets[calls % 5 % len(sets)])
        calls += 1

    thresholds = gc.get_threshold()
    gc.callbacks.append(callback)
    gc.set_threshold(threshold, 1, 1)
    try:
        for number in range(400):
            handles[number % len(handles)](1)
            built.instrument.remove(sets[number * 3 % len(sets)])
            if number % 9 == 0:
                found.append(built.deltas.get_metrics_data())
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(callback)
    found += [built.deltas.get_metrics_data() for _ in range(3)]
    assert calls > 40
    check_deltas(kind, points_of(found), 400 + calls)


def points_of(collected: list[Any]) -> list[Any]:
    return [
        point
        for data in collected
        if data
        for point in data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    ]


def check_deltas(kind: str, found: list[Any], expected: int) -> None:
    if kind == "gauge":
        assert {point.value for point in found} == {1}
    elif kind in ("counter", "up_down_counter"):
        assert sum(point.value for point in found) == expected
        assert min(point.value for point in found) >= 0
    else:
        assert (sum(point.count for point in found), sum(point.sum for point in found)) == (expected, expected)
        assert {(point.min, point.max) for point in found} == {(1, 1)}
