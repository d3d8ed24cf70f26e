"""The same script played to the SDK's provider and to another one must give the same data.

The SDK plays against itself first: that shows the comparison holds where it should. What is left out of
the scripts because the providers differ on purpose: integers beyond 2**53 (cells are doubles), attribute
sets beyond the limit, amounts that are no numbers, readers added after the first measurement (they read
what was recorded before, since there is one store), observable counters that fall or are below zero, and the same
observable once more (its callbacks are added).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from opentelemetry.metrics import Observation
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    Gauge,
    Histogram,
    InMemoryMetricReader,
    Sum,
)
from opentelemetry.sdk.metrics.view import (
    DefaultAggregation,
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource

from otelbridge.metrics._sdk import Gauge as SdkGauge
from otelbridge.metrics.provider import MeterProvider

TYPES = {
    "counter": sdk.Counter,
    "up_down_counter": sdk.UpDownCounter,
    "histogram": sdk.Histogram,
    "gauge": SdkGauge,
    "observable_counter": sdk.ObservableCounter,
    "observable_up_down_counter": sdk.ObservableUpDownCounter,
    "observable_gauge": sdk.ObservableGauge,
}
RECORDING = {"counter": "add", "up_down_counter": "add", "histogram": "record", "gauge": "set"}
# Observables have their own rule for the start of a delta, so their streams are told by the name.
OBSERVED = ".observed"

NAMES = ["m1", "M1", "m2", "req.total", "x_y"]
UNITS = ["", "s", "By"]
DESCRIPTIONS = ["", "One.", "Two."]
SCOPES = [
    ("lib", None, None, None),
    ("lib", "1.0", None, None),
    ("other", "1.0", "https://schema.test/1", {"scope.key": "v"}),
]

# Eighths add up without rounding, so a wrong sum cannot hide behind the tolerance.
_eighths = st.integers(-800, 8000).map(lambda n: n / 8)
_whole = st.one_of(st.integers(-5, 20), st.integers(-1000, 10**9))
_rare = st.sampled_from([True, False, 0, 0.0, math.nan, math.inf, -math.inf, 0.1, 3.3, 1e-9, 5e-324, 1e9])
amounts = st.one_of(_whole, _eighths, _whole.map(abs), _eighths.map(abs), _rare)

_values = st.one_of(
    st.sampled_from(["x", "y", "1", "True", "", "é", True, False, 1, 0, 1.0, 0.0, 2.5, None, b"1"]),
    st.sampled_from([["x"], ["x", "y"], ("x", "y"), [1], [1.0], [True], [], [True, False], {"k": 1}, {"k": True}]),
)
_keys = st.sampled_from(["a", "b", "c.d", "e", "a_b", "", 5])
attribute_sets = st.one_of(
    st.none(),
    st.lists(st.tuples(_keys, _values), max_size=3, unique_by=lambda pair: pair[0]).map(dict),
    st.sampled_from([{"a": "x"}, {"a": 1}, {"a": 1.0}, {"a": True}, {"a": "x", "b": "y"}, {"b": "y", "a": "x"}]),
)
observation_lists = st.lists(st.tuples(amounts, attribute_sets), max_size=4)

aggregations = st.one_of(
    st.builds(DefaultAggregation),
    st.builds(SumAggregation),
    st.builds(LastValueAggregation),
    st.builds(DropAggregation),
    st.builds(
        ExplicitBucketHistogramAggregation,
        st.sampled_from([None, (), (0,), (1, 2.5, 10), (-5.0, 0.0, 5.0), (0.1, 3.3)]),
        st.booleans(),
    ),
    st.builds(
        ExponentialBucketHistogramAggregation,
        st.sampled_from([2, 4, 20, 160]),
        st.sampled_from([20, 3, 0, -2]),
        st.booleans(),
    ),
)


@st.composite
def views(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of a `View`, so that each provider gets its own."""
    selectors = {
        "instrument_name": st.sampled_from(["*", "m?", "m1", "M1", "req.*", "x_y", "none", "m1.observed", "M2*d"]),
        "instrument_type": st.sampled_from(list(TYPES.values())),
        "instrument_unit": st.sampled_from(["s", "By", "*"]),
        "meter_name": st.sampled_from(["lib", "other"]),
        "meter_version": st.just("1.0"),
        "meter_schema_url": st.just("https://schema.test/1"),
    }
    chosen = draw(st.sets(st.sampled_from(["instrument_name", *selectors]), min_size=1, max_size=2))
    arguments = {name: draw(selectors[name]) for name in sorted(chosen)}
    if not any(wild in arguments.get("instrument_name", "") for wild in "*?"):
        arguments["name"] = draw(st.sampled_from([None, None, "renamed", "m2", "Upper.Case"]))
    arguments["description"] = draw(st.sampled_from([None, None, "", "Of the view."]))
    arguments["attribute_keys"] = draw(st.sampled_from([None, None, set(), {"a"}, {"a", "c.d"}, {"b", "5"}]))
    arguments["aggregation"] = draw(aggregations)
    return arguments


_temporalities = st.sampled_from([AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE])
readers = st.fixed_dictionaries(
    {
        "preferred_temporality": st.one_of(
            st.none(),
            st.just(dict.fromkeys(TYPES.values(), AggregationTemporality.DELTA)),
            st.dictionaries(st.sampled_from(list(TYPES.values())), _temporalities),
        ),
        "preferred_aggregation": st.one_of(
            st.none(), st.dictionaries(st.sampled_from(list(TYPES.values())), aggregations, max_size=3)
        ),
    }
)


def freeze(value: Any) -> Any:
    """A hashable form that keeps apart what Python takes for equal: 1, 1.0, True."""
    if isinstance(value, Mapping):
        return ("mapping", tuple(sorted((key, freeze(one)) for key, one in value.items())))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return ("sequence", tuple(freeze(one) for one in value))
    return (type(value).__name__, value)


def number_like(left: Any, right: Any) -> bool:
    """Both are the same kind of number, about equal. A bool counts as the integer it is."""
    return isinstance(left, int) == isinstance(right, int) and same_float(left, right)


def same_float(left: Any, right: Any) -> bool:
    return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-6)


def same_extreme(left: float | None, right: float | None) -> bool:
    """A minimum or maximum nobody recorded is an infinity in the SDK; None says the same."""
    absent = [one is None or math.isinf(one) for one in (left, right)]
    return all(absent) if any(absent) else math.isclose(left or 0, right or 0)


def same_number(left: Any, right: Any) -> bool:
    return number_like(left.value, right.value)


def same_histogram(left: Any, right: Any) -> bool:
    return (
        left.count == right.count
        and same_float(left.sum, right.sum)
        and tuple(left.bucket_counts) == tuple(right.bucket_counts)
        and tuple(left.explicit_bounds) == tuple(right.explicit_bounds)
        and same_extreme(left.min, right.min)
        and same_extreme(left.max, right.max)
    )


def bucket_map(buckets: Any, shift: int) -> dict[int, int]:
    """Counts by index, `shift` scales coarser."""
    counts: dict[int, int] = {}
    for position, count in enumerate(buckets.bucket_counts):
        if count:
            index = (buckets.offset + position) >> shift
            counts[index] = counts.get(index, 0) + count
    return counts


def same_exponential(left: Any, right: Any) -> bool:
    """Compared at the coarser of the two scales.

    A reader of deltas that shares its cells with a cumulative one has the scale of the whole life of
    the series, the SDK's has that of the interval.
    """
    scale = min(left.scale, right.scale)
    return (
        left.count == right.count
        and left.zero_count == right.zero_count
        and same_float(left.sum, right.sum)
        and all(
            bucket_map(getattr(left, side), left.scale - scale) == bucket_map(getattr(right, side), right.scale - scale)
            for side in ("positive", "negative")
        )
        and same_extreme(left.min, right.min)
        and same_extreme(left.max, right.max)
    )


SAME = {Sum: same_number, Gauge: same_number, Histogram: same_histogram, ExponentialHistogram: same_exponential}


def identity(scope: Any, metric: Any) -> tuple[Any, ...]:
    """What makes a stream, without its points."""
    return (
        freeze((scope.name, scope.version, scope.schema_url, dict(scope.attributes or {}))),
        metric.name,
        metric.unit,
        metric.description,
        type(metric.data),
        getattr(metric.data, "aggregation_temporality", None),
        getattr(metric.data, "is_monotonic", None),
    )


def streams(data: Any) -> list[tuple[tuple[Any, ...], dict[Any, Any]]]:
    """Every metric as (identity, points by attributes)."""
    found = []
    for resource_metrics in data.resource_metrics if data else ():
        assert resource_metrics.resource.attributes["service.name"] == "differential"
        for scope_metrics in resource_metrics.scope_metrics:
            assert scope_metrics.schema_url == scope_metrics.scope.schema_url
            for metric in scope_metrics.metrics:
                points = {freeze(dict(point.attributes)): point for point in metric.data.data_points}
                assert len(points) == len(metric.data.data_points), f"{metric.name} repeats an attribute set"
                found.append((identity(scope_metrics.scope, metric), points))
    return found


def telling(listed: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Leave out the deltas of nothing.

    One store cannot tell a zero from silence, nor see what a double's running total has swallowed.
    """
    found = []
    for name, points in listed:
        if name[4] is Sum and name[5] == AggregationTemporality.DELTA:
            points = {key: point for key, point in points.items() if abs(point.value) > 1e-6}  # noqa: PLW2901
        if points:
            found.append((name, points))
    return found


def same_growth(left: Any, right: Any) -> bool:
    """As `same_number`, but once a series has had a float, one store makes its later deltas floats too."""
    return same_float(left.value, right.value) and isinstance(left.value, int) >= isinstance(right.value, int)


def same_stream(left: tuple[Any, Any], right: tuple[Any, Any]) -> bool:
    delta_sum = left[0][4] is Sum and left[0][5] == AggregationTemporality.DELTA
    same = same_growth if delta_sum else SAME[left[0][4]]
    return (
        left[0] == right[0]
        and left[1].keys() == right[1].keys()
        and all(same(point, right[1][key]) for key, point in left[1].items())
    )


def unmatched(expected: list[Any], actual: list[Any]) -> tuple[list[Any], list[Any]]:
    """What one side has and the other has not, as multisets."""
    missing, spare = [], list(actual)
    for stream in expected:
        partner = next((index for index, other in enumerate(spare) if same_stream(stream, other)), None)
        if partner is None:
            missing.append(stream)
        else:
            del spare[partner]
    return missing, spare


class Clock:
    """Checks that the intervals of one reader's points follow on one another.

    A point's time lies in the collection that gave it. A cumulative start never moves. A delta begins
    where the interval before ended: for a synchronous instrument that is the last collection, for an
    observable the last one that the series was observed in. Starts are left alone where several
    streams share one name, since nothing then tells whose point it is.
    """

    def __init__(self) -> None:
        self._born = time.time_ns()
        self._starts: dict[Any, int] = {}
        self._reported: dict[Any, tuple[int, int]] = {}
        self._last = (0, 0)

    def check(self, data: Any, began: int, ended: int, shared_names: set[str]) -> None:
        listed = streams(data)
        identities = [name for name, _ in listed]
        for name, points in listed:
            for key, point in points.items():
                assert began <= point.time_unix_nano <= ended
                if name[4] is Gauge:
                    assert point.start_time_unix_nano is None
                    continue
                assert self._born <= point.start_time_unix_nano <= point.time_unix_nano
                if name[1] not in shared_names and identities.count(name) == 1:
                    self._check_start((name, key), point, observable=name[1].endswith(OBSERVED))
                    self._reported[name, key] = (began, ended)
        self._last = (began, ended)

    def _check_start(self, series: Any, point: Any, *, observable: bool) -> None:
        if series[0][5] == AggregationTemporality.CUMULATIVE:
            assert self._starts.setdefault(series, point.start_time_unix_nano) == point.start_time_unix_nano
        elif series in self._reported:
            began, ended = self._reported[series] if observable else self._last
            assert began <= point.start_time_unix_nano <= ended, "an interval does not follow on the one before"


class Side:
    """One provider with its readers and instruments."""

    def __init__(self, provider_class: type[SdkMeterProvider], reader_arguments: list[Any], view_arguments: list[Any]):
        self.readers = [InMemoryMetricReader(**arguments) for arguments in reader_arguments]
        self.clocks = [Clock() for _ in self.readers]
        self.provider = provider_class(
            self.readers,
            resource=Resource({"service.name": "differential"}),
            exemplar_filter=AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
            views=[View(**arguments) for arguments in view_arguments],
        )
        self.instruments: list[Any] = []
        self._handles: dict[Any, Any] = {}

    def create(self, scope: tuple[Any, ...], kind: str, name: str, **arguments: Any) -> None:
        meter = self.provider.get_meter(*scope)
        self.instruments.append(getattr(meter, f"create_{kind}")(name, **arguments))

    def record(self, index: int, method: str, amount: float, attributes: Any, *, bound: bool) -> None:
        instrument = self.instruments[index]
        mine = None if attributes is None else dict(attributes)
        if bound and hasattr(instrument, "bind"):
            key = (index, repr(attributes))
            if key not in self._handles:
                self._handles[key] = instrument.bind(mine)
            getattr(self._handles[key], method)(amount)
        else:
            getattr(instrument, method)(amount, mine)
        if mine is not None:
            mine.clear()  # a caller may reuse its dict at once

    def add_reader(self, arguments: dict[str, Any]) -> None:
        self.readers.append(InMemoryMetricReader(**arguments))
        self.clocks.append(Clock())
        self.provider.add_metric_reader(self.readers[-1])

    def collect(self, index: int, shared_names: set[str]) -> Any:
        began = time.time_ns()
        data = self.readers[index].get_metrics_data()
        self.clocks[index].check(data, began, time.time_ns(), shared_names)
        return data


class Differential(RuleBasedStateMachine):
    """Plays one script to both providers and compares what every reader gets."""

    def __init__(self, provider_class: type[SdkMeterProvider]) -> None:
        super().__init__()
        self._provider_class = provider_class
        self._kinds: list[str] = []
        self._scripts: list[list[tuple[float, Any]]] = []
        self._instruments: set[tuple[Any, ...]] = set()
        self._renamed: set[str] = set()
        self._sides: list[Side] = []
        self._over = False
        self._recorded = False

    @initialize(readers=st.lists(readers, min_size=1, max_size=3), views=st.lists(views(), max_size=4))
    def start(self, readers: list[Any], views: list[Any]) -> None:
        self._sides = [
            Side(provider_class, readers, views) for provider_class in (SdkMeterProvider, self._provider_class)
        ]
        self._readers = len(readers)
        self._renamed = {view["name"] for view in views if view.get("name")}

    @rule(
        scope=st.sampled_from(SCOPES),
        kind=st.sampled_from(list(RECORDING)),
        name=st.sampled_from(NAMES),
        unit=st.sampled_from(UNITS),
        description=st.sampled_from(DESCRIPTIONS),
        boundaries=st.sampled_from([None, None, [], [1, 5], [0.5, 2.5, 100.0]]),
    )
    def create(self, scope: Any, kind: str, name: str, unit: str, description: str, boundaries: Any) -> None:
        advice = {"explicit_bucket_boundaries_advisory": boundaries} if kind == "histogram" else {}
        for side in self._sides:
            side.create(scope, kind, name, unit=unit, description=description, **advice)
        self._kinds.append(kind)
        self._instruments.add((name.lower(), scope[:2], kind, unit, description))

    @rule(
        scope=st.sampled_from(SCOPES),
        kind=st.sampled_from([kind for kind in TYPES if kind not in RECORDING]),
        name=st.sampled_from(NAMES),
        unit=st.sampled_from(UNITS),
        first=observation_lists,
        callbacks=st.integers(1, 2),
    )
    def create_observable(self, scope: Any, kind: str, name: str, unit: str, first: list[Any], callbacks: int) -> None:
        name += OBSERVED
        identity = (name.lower(), scope[:2], kind, unit)
        if identity in self._instruments:
            return
        grows = kind == "observable_counter"
        scripts: list[Any] = [_Growing() if grows else [] for _ in range(callbacks)]
        scripts[0][:] = first
        self._scripts.extend(scripts)
        self._instruments.add(identity)
        for side in self._sides:
            side.create(scope, kind, name, callbacks=[_player(script) for script in scripts], unit=unit)
        self._kinds.append(kind)

    @precondition(lambda self: self._scripts)
    @rule(data=st.data(), observations=observation_lists)
    def rewrite(self, data: st.DataObject, observations: list[Any]) -> None:
        data.draw(st.sampled_from(self._scripts))[:] = observations

    @precondition(lambda self: any(kind in RECORDING for kind in self._kinds))
    @rule(
        data=st.data(),
        measurements=st.lists(st.tuples(amounts, attribute_sets, st.booleans()), min_size=1, max_size=8),
    )
    def record(self, data: st.DataObject, measurements: list[Any]) -> None:
        index = data.draw(st.sampled_from([index for index, kind in enumerate(self._kinds) if kind in RECORDING]))
        self._recorded = True
        for amount, attributes, bound in measurements:
            for side in self._sides:
                side.record(index, RECORDING[self._kinds[index]], amount, attributes, bound=bound)

    @precondition(lambda self: self._readers < 4 and not self._recorded)
    @rule(arguments=readers)
    def add_reader(self, arguments: dict[str, Any]) -> None:
        for side in self._sides:
            side.add_reader(arguments)
        self._readers += 1

    @rule(data=st.data())
    def collect(self, data: st.DataObject) -> None:
        self._compare(data.draw(st.integers(0, self._readers - 1)))

    def teardown(self) -> None:
        if self._sides:
            for index in range(self._readers):
                self._compare(index)
            for side in self._sides:
                side.provider.shutdown()

    def _compare(self, index: int) -> None:
        if self._over:
            return
        self._over = True
        names = [name for name, *_ in self._instruments]
        shared = {name for name in names if names.count(name) > 1} | self._renamed
        try:
            expected, actual = (side.collect(index, shared) for side in self._sides)
        except Exception as error:
            # A defect of the SDK's exponential histogram (an interval of zeros, then a value that needs another
            # scale) fails the whole collection. There is nothing to compare with from then on.
            if "Incorrect merge scale" in str(error):
                return
            raise
        assert unmatched(telling(streams(expected)), telling(streams(actual))) == ([], [])
        self._over = False


class _Growing(list[Any]):
    """Observations of what can only grow: new ones come on top of those before."""

    def __setitem__(self, _all: slice, observations: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.extend((abs(amount), attributes) for amount, attributes in observations)


def _player(script: list[tuple[float, Any]]) -> Any:
    def observe(options: Any) -> list[Observation]:
        return [Observation(amount, None if attributes is None else dict(attributes)) for amount, attributes in script]

    return observe


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("provider_class", "examples"), [(SdkMeterProvider, 50), (MeterProvider, 250)], ids=["sdk", "otelbridge"]
)
def test_same_script_same_data(provider_class: type[SdkMeterProvider], examples: int) -> None:
    run_state_machine_as_test(
        lambda: Differential(provider_class),
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
