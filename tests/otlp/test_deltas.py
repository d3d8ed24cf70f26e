"""Deltas of a group: what was counted since the last acknowledgement, all of it and once."""

from __future__ import annotations

import random
from math import inf
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.metrics import Observation
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, ExponentialBucketHistogramAggregation

from otelbridge.cells.evidence import GROUP_VARIABLE
from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics.current import Current, CurrentStream, HistogramReading
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.view import View
from otelbridge.otlp.deltas import Deltas, Vector
from otelbridge.otlp.ledger import Ledger
from otelbridge.otlp.reader import create_otlp_reader
from otelbridge.otlp.requests import Request
from tests.otlp.faults import Receiver, answer, hang_up
from tests.otlp.pushing import destination
from tests.otlp.spooling import Programs, eventually, parsed, points

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.otlp.spooling import Point

_DELTA = dict.fromkeys((sdk.Counter, sdk.Histogram, sdk.ObservableCounter), AggregationTemporality.DELTA)
_UNAVAILABLE = answer(503)


class _Recorder:
    """A process of a group, whose totals are compared."""

    def __init__(self, directory: Path, bounds: Sequence[float] = (1.0, 10.0), max_size: int = 8) -> None:
        self._reader = InMemoryMetricReader()
        views = [
            View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation(max_size)),
            View(instrument_name="explicit", aggregation=ExplicitBucketHistogramAggregation(bounds)),
        ]
        self._provider = MeterProvider(
            [self._reader], views=views, processes=Processes("deltas", directory), shutdown_on_exit=False
        )
        self.meter = self._provider.get_meter("lib")
        self._current = Current()
        self._deltas = Deltas(_DELTA)
        self.vector = Vector(1)

    def change(self) -> dict[str, Any]:
        """What has changed since the last time, by metric."""
        _, streams = self._provider.visit(self._reader, self._current.read)
        change = self._deltas.since(self.vector, streams)
        self.vector = change.vector
        return {stream.name: stream for stream in change.streams}

    def values(self) -> dict[str, Any]:
        return {name: [point.value for point in stream.points] for name, stream in self.change().items()}

    def close(self) -> None:
        self._provider.shutdown()


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[_Recorder]:
    found = _Recorder(tmp_path)
    yield found
    found.close()


def test_a_sum_is_the_difference_and_one_without_change_is_left_out(recorder: _Recorder) -> None:
    counter = recorder.meter.create_counter("c")
    counter.add(5, {"k": "a"})
    counter.add(2**70, {"k": "b"})
    assert recorder.values() == {"c": [5, 2**70]}
    counter.add(0.5, {"k": "a"})
    assert recorder.values() == {"c": [0.5]}
    assert recorder.values() == {}


def test_the_times_join(recorder: _Recorder) -> None:
    counter = recorder.meter.create_counter("c")
    ends = [1]
    for _ in range(3):
        counter.add(1)
        (point,) = recorder.change()["c"].points
        assert point.start_time_unix_nano == ends[-1] < point.time_unix_nano
        ends.append(point.time_unix_nano)


def test_no_point_ends_before_it_begins_though_the_clock_is_set_back(recorder: _Recorder) -> None:
    recorder.vector = Vector(2**62)
    recorder.meter.create_counter("c").add(1)
    (point,) = recorder.change()["c"].points
    assert point.start_time_unix_nano == point.time_unix_nano < 2**62


def test_only_what_is_wanted_as_deltas_is(recorder: _Recorder) -> None:
    recorder.meter.create_up_down_counter("u").add(4)
    recorder.meter.create_gauge("g").set(4)
    for _ in range(2):
        found = recorder.change()
        assert {name: stream.temporality for name, stream in found.items()} == {
            "u": AggregationTemporality.CUMULATIVE,
            "g": AggregationTemporality.CUMULATIVE,
        }
        assert [stream.points[0].value for stream in found.values()] == [4, 4]


def test_histograms_are_subtracted_without_their_extremes(recorder: _Recorder) -> None:
    histogram = recorder.meter.create_histogram("h")
    histogram.record(3)
    histogram.record(7000)
    assert recorder.change()["h"].points[0].count == 2
    histogram.record(4)
    (point,) = recorder.change()["h"].points
    assert (point.count, point.sum, point.min, point.max) == (1, 4, inf, -inf)
    assert point.bucket_counts[1] == 1
    assert "h" not in recorder.change()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=20), max_size=6))
def test_the_deltas_of_exponential_histograms_add_up(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[float]]
) -> None:
    recorder = _Recorder(tmp_path_factory.mktemp("group"))
    histogram = recorder.meter.create_histogram("exponential")
    for amounts in rounds:
        for amount in amounts:
            histogram.record(amount)
        found = recorder.change().get("exponential")
        counted = [amount for amount in amounts if amount >= 0]
        if not counted:
            assert found is None
            continue
        (point,) = found.points
        assert point.count == len(counted)
        assert point.sum == pytest.approx(sum(counted), rel=1e-6, abs=1e-6)
        assert point.zero_count + sum(point.positive.bucket_counts) + sum(point.negative.bucket_counts) == point.count
    recorder.close()


def test_an_observed_sum_that_went_back_began_anew(recorder: _Recorder) -> None:
    observed = [100]
    recorder.meter.create_observable_counter("o", [lambda _: [Observation(observed[0])]])
    assert recorder.values() == {"o": [100]}
    observed[0] = 30
    assert recorder.values() == {"o": [30]}
    observed[0] = 35
    assert recorder.values() == {"o": [5]}


def test_a_counter_that_seems_to_fall_sends_nothing_until_it_rises(recorder: _Recorder) -> None:
    counter, histogram = recorder.meter.create_counter("c"), recorder.meter.create_histogram("h")
    counter.add(5)
    histogram.record(1)
    recorder.change()
    for stream in recorder.vector.streams.values():
        for code, value in stream.items():
            stream[code] = 50 if isinstance(value, int) else [each + 10 for each in value]
    assert recorder.values() == {}
    counter.add(2)
    assert recorder.values() == {"c": [2]}


def test_half_a_measurement_goes_with_its_other_half(recorder: _Recorder) -> None:
    """Another process stores a count and a sum one after the other, and may be read in between."""
    recorder.meter.create_histogram("h").record(1)
    recorder.meter.create_histogram("exponential").record(1)
    recorder.change()
    for series in recorder.vector.streams.values():
        for seen in series.values():
            seen[-1 if len(seen) == 7 else 0] -= 0.25
    assert recorder.change() == {}
    recorder.meter.create_histogram("h").record(2)
    recorder.meter.create_histogram("exponential").record(2)
    sums = {name: [(point.count, point.sum) for point in stream.points] for name, stream in recorder.change().items()}
    assert sums == {"h": [(1, 2.25)], "exponential": [(1, 2.25)]}


def test_a_sum_without_a_count_is_none_yet() -> None:
    recorded = HistogramReading({"k": "a"}, 0, (1.0,))
    recorded.bucket_counts, recorded.sum = [0, 0], 2.5
    instrument = MeterProvider(shutdown_on_exit=False).get_meter("lib").create_histogram("h")
    stream = CurrentStream(instrument, SimpleNamespace(_name="h", _description=""), "histogram")
    stream.key, stream.points = b"h", [recorded]
    first = Deltas(_DELTA).since(Vector(1), [stream])
    assert first.points == 0
    recorded.bucket_counts = [0, 1]
    (changed,) = Deltas(_DELTA).since(first.vector, [stream]).streams
    assert [(point.count, point.sum) for point in changed.points] == [(1, 2.5)]


@pytest.mark.parametrize("seed", range(5))
def test_versions_that_push_in_turn_send_each_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whatever buckets each of them has."""
    monkeypatch.setenv(GROUP_VARIABLE, "deltas")
    chance = random.Random(seed)
    versions = [_Recorder(tmp_path, *each) for each in (((1.0, 10.0), 160), ((1.0, 2.0, 5.0, 10.0), 2), ((3.0,), 20))]
    vector = Vector(1)
    sent: dict[str, tuple[int, float]] = {"explicit": (0, 0.0), "exponential": (0, 0.0)}
    up_to: dict[float, int] = {1.0: 0, 10.0: 0}
    recorded: list[float] = []
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            recorded.append(chance.choice([0.0, 0.5, 1.0, 1.5, 2.5, 4.0, 7.0, 20.0]))
            for name in sent:
                chance.choice(versions).meter.create_histogram(name).record(recorded[-1])
        pushing = chance.choice(versions)
        pushing.vector = vector
        for name, stream in pushing.change().items():
            (point,) = stream.points
            sent[name] = (sent[name][0] + point.count, sent[name][1] + point.sum)
            if name == "explicit":
                assert min(point.bucket_counts) >= 0
                for bound in up_to.keys() & set(point.explicit_bounds):
                    at = point.explicit_bounds.index(bound)
                    up_to[bound] += sum(point.bucket_counts[: at + 1])
        vector = pushing.vector
        assert sent == dict.fromkeys(sent, (len(recorded), sum(recorded)))
    for version in versions:
        version.close()
    # Some versions do not tell what lies below these.
    assert all(up_to[bound] <= sum(amount <= bound for amount in recorded) for bound in up_to)


def test_what_is_not_shown_for_a_while_is_not_sent_again(recorder: _Recorder) -> None:
    recorder.meter.create_counter("c").add(5)
    recorder.change()
    known = Vector(recorder.vector.time, {**recorder.vector.streams, "gone": {"[]": 7}})
    recorder.vector = known
    recorder.change()
    assert recorder.vector.streams["gone"] == {"[]": 7}


_NUMBERS = st.one_of(st.integers(-(2**80), 2**80), st.floats(allow_nan=False))
_SEEN = st.one_of(_NUMBERS, st.lists(_NUMBERS, max_size=4))
_STREAMS = st.dictionaries(st.text(max_size=5), st.dictionaries(st.text(max_size=5), _SEEN, max_size=3), max_size=3)
_REQUESTS = st.lists(st.builds(Request, st.binary(max_size=20), st.integers(0, 9)), max_size=3)


@settings(max_examples=60, deadline=None)
@given(_STREAMS, _REQUESTS, st.integers(0, 2**63))
def test_a_ledger_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, streams: Any, requests: list[Request], time: int
) -> None:
    directory = tmp_path_factory.mktemp("ledger")
    vector = Vector(time, streams)
    Ledger(directory, "d", 5).begin(vector, requests)
    other = Ledger(directory, "d", 5)
    assert other.unclear() == tuple(requests)
    assert other.acknowledged() == Vector(5)
    other.commit()
    for ledger in (other, Ledger(directory, "d", 5)):
        assert ledger.unclear() is None
        assert ledger.acknowledged() == vector


def test_a_damaged_ledger_never_raises_and_never_gives_something_else(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "d", 5)
    vector = Vector(9, {"stream": {"[]": [1.5, 2, 3]}})
    ledger.restart(vector)
    file = tmp_path / "deltas-d"
    content = file.read_bytes()
    damaged = [content[:at] for at in range(len(content))]
    damaged += [content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :] for at in range(len(content))]
    for number, each in enumerate(damaged):
        file.write_bytes(each + bytes(number % 3) if len(each) == len(content) else each)
        assert Ledger(tmp_path, "d", 5).acknowledged() in (None, vector)
        (tmp_path / "deltas-d.unclear").write_bytes(each)
        assert Ledger(tmp_path, "d", 5).unclear() in (None, ())


def test_only_one_has_the_turn(tmp_path: Path) -> None:
    first, second = Ledger(tmp_path, "d", 5), Ledger(tmp_path, "d", 5)
    with first.turn(0.0) as ours:
        assert ours
        with second.turn(0.0) as theirs:
            assert not theirs
    with second.turn(0.0) as theirs:
        assert theirs


# Real processes and receivers from here.


def _distinct(*receivers: Receiver) -> list[Point]:
    """What a receiver has that takes each request once, however often it comes."""
    bodies = dict.fromkeys(exchange.body for receiver in receivers for exchange in receiver.exchanges)
    return [point for body in bodies for point in parsed(body)]


def _sum(found: list[Point], name: str = "orders") -> int:
    return sum(point.value for point in found if point.name == name)


_SETTINGS: dict[str, Any] = {"temporality": "delta", "timeout": 0.5}


def test_one_pushes_the_deltas_of_all(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        workers = [started.start(receiver.url, group="g", **_SETTINGS) for _ in range(3)]
        for number, worker in enumerate(workers):
            worker("add", 10**number)
        assert workers[0]("flush")
        assert [point.value for point in points(receiver, "orders")] == [111]
        workers[1]("add", 1000)
        assert workers[2]("flush")
        assert [point.value for point in points(receiver, "orders")] == [111, 1000]
        assert workers[0]("flush")
        first, second = points(receiver, "orders")
        assert first.delta
        assert second.start == first.time < second.time
        assert first.instance == second.instance == workers[0]("instance")


def test_deltas_are_exact_over_kills_failures_and_starts(started: Programs) -> None:
    luck = random.Random(5)
    faults = [luck.choice([answer(), answer(), _UNAVAILABLE, hang_up]) for _ in range(60)]
    expected = 0
    with Receiver(*faults, answer()) as receiver:
        for _ in range(2):
            workers = [started.start(receiver.url, group="g", interval=0.15, **_SETTINGS) for _ in range(3)]
            for number in range(60):
                if number in (20, 40):  # whoever pushes now among them, sooner or later
                    workers.pop(0).kill()
                workers[number % len(workers)]("add", number)
                expected += number
            for worker in workers:
                worker.kill()
        last = started.start(receiver.url, group="another", interval=0.15, **_SETTINGS)
        eventually(lambda: len(started.groups) == 1)
        assert last("shutdown")
        assert receiver.exchanges
        assert _sum(_distinct(receiver)) == expected


def test_nothing_arrives_twice_where_the_receiver_refuses_before_it_takes(started: Programs) -> None:
    with Receiver(_UNAVAILABLE) as receiver:
        worker = started.start(receiver.url, **_SETTINGS)
        worker("add", 1)
        worker("record", 2.5)
        assert worker("flush", 0.3) is False
        worker("add", 10)
        worker.kill()
        port = receiver.port
    with Receiver(answer(), port=port) as receiver:
        started.start(receiver.url, **_SETTINGS)
        eventually(lambda: len(started.groups) == 1)
        found = points(receiver)
        assert [(point.name, point.value) for point in found if point.name == "orders"] == [
            ("orders", 1),
            ("orders", 10),
        ]
        assert _sum([point for point in found if point.name == "orders"]) == 11
        (size,) = [point for point in found if point.name == "size"]
        assert size.value[:2] == (1, 2.5)
        assert not size.bounded


def test_what_is_unclear_is_sent_again_byte_by_byte_by_another_process(started: Programs) -> None:
    with Receiver(hang_up) as receiver:
        first, second = (started.start(receiver.url, group="g", **_SETTINGS) for _ in range(2))
        first("add", 1)
        assert first("flush", 1.5) is False
        first.kill()
        second("add", 10)
        sent = {exchange.body for exchange in receiver.exchanges}
        assert len(sent) == 1
        port = receiver.port
    with Receiver(answer(), port=port) as receiver:
        assert second("flush")
        again, newer = [exchange.body for exchange in receiver.exchanges]
        assert {again} == sent
        assert _sum(list(parsed(newer))) == 10


def test_the_provider_of_somebody_else_is_read_as_it_is(tmp_path: Path) -> None:
    with Receiver(answer()) as receiver:
        processes = Processes("deltas", tmp_path)
        pushing = create_otlp_reader(destination(receiver.url, temporality="delta"), processes)
        provider = sdk.MeterProvider([pushing], shutdown_on_exit=False)
        counter = provider.get_meter("lib").create_counter("orders")
        for _ in range(2):
            counter.add(1)
            assert pushing.force_flush()
        provider.shutdown()
        processes.close()
        found = points(receiver, "orders")
        assert [point.value for point in found][:2] == [1, 2]
        assert not any(point.delta for point in found)


def test_an_orderly_end_leaves_no_deltas(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        workers = [started.start(receiver.url, group="old", **_SETTINGS) for _ in range(2)]
        for worker in workers:
            worker("add", 5)
        for worker in workers:
            assert worker("shutdown")
            worker.end()
        received = len(receiver.exchanges)
        started.start(receiver.url, group="new", **_SETTINGS)
        eventually(lambda: [path.name[:3] for path in started.groups] == ["new"])
        assert len(receiver.exchanges) == received
        assert _sum(points(receiver)) == 10


def test_a_group_that_goes_on_over_a_restart_goes_on_with_its_deltas(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        for amount in (1, 10, 100):
            worker = started.start(receiver.url, group="named", **_SETTINGS)
            worker("add", amount)
            assert worker("flush")
            worker("add", amount)
            worker.kill()
        assert started.start(receiver.url, group="named", **_SETTINGS)("flush")
        assert _sum(points(receiver)) == 222


def test_deltas_begin_anew_where_nobody_knows_what_was_acknowledged(started: Programs) -> None:
    forget_warnings()
    with Receiver(answer()) as receiver:
        worker = started.start(receiver.url, group="g", **_SETTINGS)
        worker("add", 1)
        assert worker("flush")
        files = [file for path in started.groups for file in path.glob("deltas-*")]
        (file,) = [file for file in files if not file.suffix]
        file.write_bytes(b"garbage")
        worker("add", 10)
        assert worker("flush")
        worker("add", 100)
        assert worker("flush")
        assert [point.value for point in points(receiver, "orders")] == [1, 100]


def test_deltas_of_an_exponential_histogram_of_a_group(started: Programs) -> None:
    settings = {**_SETTINGS, "aggregation": "base2_exponential_bucket_histogram"}
    with Receiver(answer()) as receiver:
        workers = [started.start(receiver.url, group="g", **settings) for _ in range(2)]
        workers[0]("record", 1, 2)
        workers[1]("record", 1000)
        assert workers[0]("flush")
        workers[1]("record", 0.001)
        workers[1].kill()
        assert workers[0]("flush")
        values = [point.value for point in points(receiver, "size")]
        assert [count for count, _ in values] == [3, 1]
        assert values[1][1] == pytest.approx(0.001)
