"""Attributes are what they say to a reader: on every way out, whoever comes first, and read once."""

from __future__ import annotations

import enum
from collections import UserDict
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter
from opentelemetry.sdk.metrics._internal.aggregation import _SumAggregation
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import SumAggregation, View

from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics._sdk import clean_attributes
from otelbridge.metrics.identity import encode_attributes
from otelbridge.metrics.kinds import Kind
from otelbridge.metrics.limits import Terms
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.streams import Stream
from otelbridge.metrics.writers import create_writer
from otelbridge.prometheus.reader import PrometheusReader
from tests.metrics.group import simplified

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class State(str, enum.Enum):
    DONE = "completed"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Share(float):
    def __repr__(self) -> str:
        return "something else"


class Raising:
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Changed(UserDict[str, Any]):
    def __iter__(self) -> Any:
        raise RuntimeError("dictionary changed size during iteration")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (State.DONE, "completed"),
        (Text("x"), "x"),
        (Level.HIGH, 3),
        (Share(0.5), 0.5),
        (True, True),
        (None, None),
        (-0.0, 0.0),
        (bytearray(b"ab"), (97, 98)),
        ([State.DONE, Level.HIGH, -0.0, ["\ud800"]], ("completed", 3, 0.0, ("?",))),
        ({State.DONE: State.DONE}, {"completed": "completed"}),
        (Raising(), None),
        (object(), None),
        (1 + 2j, "(1+2j)"),
    ],
    ids=repr,
)
def test_what_a_value_becomes(value, shown) -> None:
    found = clean_attributes({"k": value})["k"]
    assert (repr(found), type(found)) == (repr(shown), type(shown))


@pytest.mark.parametrize("given", [Changed(), 3, [("a", "b")], "text"], ids=repr)
def test_what_cannot_be_read_is_left_out_with_a_word(given, caplog) -> None:
    forget_warnings()
    assert clean_attributes(given) == {}
    assert "left out" in caplog.text


def test_keys_become_texts_and_do_not_displace_one() -> None:
    for items in permutations([(1, "number"), ("1", "text"), (State.DONE, "state")]):
        cleaned = clean_attributes(dict(items))
        assert cleaned == {"1": "text", "completed": "state"}
        assert {type(key) for key in cleaned} == {str}


_ODD = [0.0, -0.0, 0, False, 1, 1.0, True, "1", "completed", State.DONE, Level.HIGH, 3, 3.0, Share(3), Text("1"), b"1"]
_SETS = st.dictionaries(
    st.sampled_from(["a", "b", State.DONE, "completed", 1, True, 1.0, "1"]), st.sampled_from(_ODD), min_size=1
)


@example([{"a": 0.0}, {"a": -0.0}])
@example([{1: "x"}, {True: "x"}, {1.0: "x"}, {"1": "x"}])
@given(st.lists(_SETS, max_size=30))
def test_who_comes_first_decides_nothing(sets) -> None:
    stream = Stream("s", Kind("sum"), None, Terms(2000))
    write = create_writer(stream, "s", signed=False, watch=None, offer=_offer_nothing)
    for attributes in [*sets, *reversed(sets)]:
        before = stream.find(attributes).value
        write(1, attributes)
        assert stream.find(attributes).value == before + 1
        assert encode_attributes(stream.find(attributes).attributes) == encode_attributes(clean_attributes(attributes))
    assert sum(series.value for series in stream.all()) == 2 * len(sets)


def test_another_thread_that_changes_a_dictionary_leads_nobody_else_astray() -> None:
    shared = {"k": "first"}

    class Changing(Stream):
        def find(self, attributes: Any) -> Any:
            found = super().find(attributes)
            shared["k"] = "second"  # as a thread would that runs in between
            return found

    stream = Changing("s", Kind("sum"), None, Terms(2000))
    write = create_writer(stream, "s", signed=False, watch=None, offer=_offer_nothing)
    write(1, shared)
    for value in ("first", "second"):
        before = stream.find({"k": value}).value
        write(1, {"k": value})
        assert stream.find({"k": value}).value == before + 1


def _offer_nothing(*_: Any) -> None:
    pass


# Every way out

_SAME = ({"state": State.DONE}, {"state": "completed"}, {"state": Text("completed")})


class _OwnSum(SumAggregation):
    """An aggregation only the SDK can run."""

    def _create_aggregation(self, *arguments: Any) -> Any:
        made = super()._create_aggregation(*arguments)
        made.__class__ = type("_SumAggregation", (_SumAggregation,), {})
        return made


_DELTAS = dict.fromkeys((Counter, Histogram, ObservableCounter), AggregationTemporality.DELTA)


@pytest.fixture(params=["alone", "grouped"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made: list[Any] = []

    def build(**arguments: Any) -> tuple[Any, list[Any]]:
        readers = [InMemoryMetricReader(), InMemoryMetricReader(_DELTAS), PrometheusReader()]
        processes = Processes("attributes", tmp_path) if request.param == "grouped" else None
        made.append(MeterProvider(readers, processes=processes, shutdown_on_exit=False, **arguments))
        return made[-1], readers

    yield build
    for provider in made:
        provider.shutdown()


def _shown_once(readers: list[Any], name: str, text: str) -> None:
    for reader in readers[:2]:
        ((key, *_),) = simplified(reader.get_metrics_data())[name]
        assert key == ("state", "completed")
        assert type(key[1]) is str
    lines = [line for line in readers[2].render().body.decode().splitlines() if line.startswith(name)]

    assert any('{otel_scope_name="lib",state="completed"}' in line and line.endswith(text) for line in lines)
    assert not any("DONE" in line or "something" in line for line in lines)


@pytest.mark.parametrize("aggregation", [None, _OwnSum()], ids=["ours", "of the user"])
def test_recorded_texts_are_one_series(build, aggregation) -> None:
    provider, readers = build(views=[View(instrument_name="*", aggregation=aggregation)] if aggregation else ())
    counter = provider.get_meter("lib").create_counter("c")
    for attributes in _SAME:
        counter.add(1, attributes)
        counter.bind(attributes).add(1)
    _shown_once(readers, "c", " 6")


def test_observed_texts_are_one_series(build) -> None:
    provider, readers = build()
    provider.get_meter("lib").create_observable_counter("c", [lambda _: [Observation(1, each) for each in _SAME]])
    _shown_once(readers, "c", " 3")


@pytest.mark.parametrize("first", [0.0, -0.0])
def test_zeros_are_one_series_whichever_comes_first(build, first) -> None:
    provider, readers = build()
    meter = provider.get_meter("lib")
    counter = meter.create_counter("recorded")
    sets = [{"k": first}, {"k": -first}, {"k": 0}]
    meter.create_observable_counter("observed", [lambda _: [Observation(1, each) for each in sets]])
    for attributes in sets:
        counter.add(1, attributes)
    for reader in readers[:2]:
        found = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        for metric in found:
            shown = sorted((repr(point.attributes["k"]), point.value) for point in metric.data.data_points)
            assert shown == [("0", 1), ("0.0", 2)]


def test_scopes_and_exemplars_show_texts(build) -> None:
    provider, readers = build(views=[View(instrument_name="*", attribute_keys={"kept"})])
    counter = provider.get_meter("lib", attributes={"state": State.DONE, "level": Level.HIGH}).create_counter("c")
    attributes = {"state": State.DONE}
    span = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1)))
    with trace.use_span(span):
        counter.add(1, attributes)
    attributes["state"] = State.DONE.name  # the caller's own, which may be used again
    (scope,) = readers[0].get_metrics_data().resource_metrics[0].scope_metrics
    assert [type(each) for each in scope.scope.attributes.values()] == [str, int]
    (exemplar,) = scope.metrics[0].data.data_points[0].exemplars
    assert [(type(value), value) for value in exemplar.filtered_attributes.values()] == [(str, "completed")]
    page = readers[2].render("application/openmetrics-text").body.decode()
    assert 'otel_scope_level="3"' in page
    assert 'otel_scope_state="completed"' in page
    assert 'span_id="0000000000000002",state="completed"' in page
