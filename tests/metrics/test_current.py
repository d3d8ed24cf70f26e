"""Readings, which a reader of ours is given instead of data points, from one time to the next."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otelbridge.metrics._sdk import InstrumentationScope, create_instrument
from otelbridge.metrics.current import Current
from otelbridge.metrics.kinds import Kind
from otelbridge.metrics.limits import Terms
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.readers import SharedMatch
from otelbridge.metrics.streams import Stream
from otelbridge.metrics.view import View


@pytest.fixture
def told():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    current = Current()

    def read() -> dict[str, Any]:
        return {stream.name: stream for stream in provider.visit(reader, current.read)[1]}

    yield provider, read, current
    provider.shutdown()


def values(stream) -> dict[str, Any]:
    return {point.attributes["a"]: point.value for point in stream.points}


@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram"])
def test_the_list_is_the_same_as_long_as_the_series_are(told, kind) -> None:
    provider, read, _ = told
    instrument: Any = getattr(provider.get_meter("m"), f"create_{kind}")("x")
    record = getattr(instrument, {"counter": "add", "gauge": "set", "histogram": "record"}[kind])
    record(1, {"a": "1"})
    first = read()["x"]
    assert first.lasting
    before, [one] = first.points, first.points
    record(2, {"a": "1"})
    assert read()["x"].points is before
    record(3, {"a": "2"})
    after = read()["x"].points
    assert after is not before
    assert after[0] is one
    assert [point.attributes["a"] for point in after] == ["1", "2"]
    assert before == [one]


def test_values_are_those_of_now(told) -> None:
    provider, read, _ = told
    counter = provider.get_meter("m").create_counter("c")
    histogram = provider.get_meter("m").create_histogram("h", explicit_bucket_boundaries_advisory=[1.0])
    for round_ in range(1, 4):
        counter.add(1, {"a": "int"})
        counter.add(0.5, {"a": "float"})
        histogram.record(round_)
        found = read()
        assert values(found["c"]) == {"int": round_, "float": 0.5 * round_}
        [point] = found["h"].points
        assert (point.count, point.sum, point.min, point.max) == (round_, sum(range(1, round_ + 1)), 1, round_)
        assert point.bucket_counts == [1, round_ - 1]
        assert point.time_unix_nano >= point.start_time_unix_nano > 0


def test_ints_beyond_all_floats_cost_no_other_series(told) -> None:
    provider, read, _ = told
    counter = provider.get_meter("m").create_counter("c")
    counter.add(1, {"a": "small"})
    for amount in (10**308, 10**308, 0.5):
        counter.add(amount, {"a": "large"})
    counter.add(2, {"a": "later"})
    for _ in range(2):
        assert values(read()["c"]) == {"small": 1, "large": 2 * 10**308, "later": 2}


def test_forgotten_series_and_instruments_are_not_kept(told) -> None:
    provider, read, current = told
    meter = provider.get_meter("m")
    counter: Any = meter.create_counter("c")
    for each in range(10):
        counter.add(1, {"a": str(each)})
    assert len(read()["c"].points) == 10
    for each in range(9):
        counter.remove({"a": str(each)})
    assert values(read()["c"]) == {"9": 1}
    counter.add(5, {"a": "0"})
    assert values(read()["c"]) == {"9": 1, "0": 5}
    held = [len(kept.series) for kept in current._readings.values()]
    assert sum(held) == 2


def test_an_instrument_that_is_read_no_longer_is_not_kept(told) -> None:
    provider, read, current = told
    source, (storage,) = object(), provider._consumer._reader_storages.values()
    instrument, stream = (
        create_instrument("counter", "c", InstrumentationScope("m"), "", ""),
        Stream("c", Kind("sum"), None, Terms()),
    )
    stream.find({}).record(1)
    view = View(instrument_name="c")
    storage.adopt(source, {instrument: lambda *made, **how: SharedMatch(view, *made, stream, **how)})
    assert "c" in read()
    assert len(current._streams) == 1
    storage.adopt(source, {})
    assert stream.matches == []
    assert read() == {}
    assert current._streams == {}
    assert current._readings == {}
