"""Exponential histograms: the SDK's is the oracle, and what it gets wrong is checked against the definition."""

from __future__ import annotations

import math
import sys
from array import array
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider, UpDownCounter
from opentelemetry.sdk.metrics._internal.exponential_histogram.mapping.exponent_mapping import ExponentMapping
from opentelemetry.sdk.metrics._internal.exponential_histogram.mapping.logarithm_mapping import LogarithmMapping
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from otelbridge.cells.exponential import EMPTY, Buckets, coarser, read_row, row_length, trimmed
from otelbridge.errors import ConfigError
from otelbridge.metrics.exponential import ExponentialSeries
from otelbridge.metrics.scales import Exponential, finest_index, merge, subtract
from tests.metrics.taking import take

CLASSES = [ExponentialSeries]
SMALLEST, LARGEST = sys.float_info.min, sys.float_info.max


def consistent(amount: float) -> bool:
    """Whether the SDK's own mappings agree on the amount: its logarithm may put it beyond a power of two."""
    value = abs(amount)
    return value == 0 or LogarithmMapping(20).map_to_index(value) >> 20 == ExponentMapping(0).map_to_index(value)


WILD = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63)
TAME = st.floats(0.001, 1000) | st.integers(0, 1000)
CLOSE = st.floats(1, 1.001) | st.floats(-1.001, -1)
EDGES = st.sampled_from(
    [
        0,
        0.0,
        -0.0,
        1,
        2.0,
        0.5,
        2**63,
        2**63 - 1,
        2.0**-1022,
        2.0**1023,
        SMALLEST,
        LARGEST,
        5e-324,
        SMALLEST / 3,
        -1,
        -0.5,
    ]
)
AMOUNTS = st.one_of(
    st.lists(kind.filter(consistent), max_size=40) for kind in (WILD, TAME, CLOSE, TAME | CLOSE | EDGES, EDGES)
)
POSITIVE = st.lists(
    (st.floats(1e-300, 1e300) | TAME | st.floats(1, 1.001)).filter(lambda amount: amount > 0 and consistent(amount)),
    min_size=1,
    max_size=20,
)
SIZES = st.sampled_from([2, 3, 4, 5, 20, 160])
SCALES = st.sampled_from([20, 20, 20, 5, 0, -3, -10])


class Sdk:
    """The SDK's histogram of one attribute set, over what takes negative amounts too."""

    def __init__(self, max_size: int = 160, max_scale: int = 20, *, delta: bool = False) -> None:
        temporality = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
        self.reader = InMemoryMetricReader({UpDownCounter: temporality})
        view = View(
            instrument_name="*",
            aggregation=ExponentialBucketHistogramAggregation(max_size=max_size, max_scale=max_scale),
        )
        self.provider = MeterProvider([self.reader], views=[view], shutdown_on_exit=False)
        self.add = self.provider.get_meter("test").create_up_down_counter("amounts").add

    def collect(self) -> Any:
        data = self.reader.get_metrics_data()
        if data is None or not data.resource_metrics:
            return None
        (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        return point


def sdk_point(amounts: list[float], max_size: int = 160, max_scale: int = 20) -> Any:
    sdk = Sdk(max_size, max_scale)
    for amount in amounts:
        sdk.add(amount)
    return sdk.collect()


def buckets(point_buckets: Any) -> Buckets:
    """The SDK pads the end with empty buckets, as many as its array once grew to."""
    return trimmed(Buckets(point_buckets.offset, tuple(point_buckets.bucket_counts)))


def lowered(found: Exponential, scale: int) -> Exponential:
    if not found.positive.counts and not found.negative.counts:
        return replace(found, scale=scale)
    change = found.scale - scale
    return replace(
        found, scale=scale, positive=coarser(found.positive, change), negative=coarser(found.negative, change)
    )


def series(amounts: list[float], max_size: int = 160, max_scale: int = 20, cls: Any = ExponentialSeries) -> Any:
    made = cls({}, 0, max_size, max_scale)
    for amount in amounts:
        made.record(amount)
    return made


@dataclass
class Cell:
    max_size: int = 160
    raw: Any = field(init=False)
    raw_at: int = 3
    totals: Any = field(default_factory=lambda: memoryview(array("d", [-0.0] * 3)))
    totals_at: int = 2
    lows: Any = field(default_factory=lambda: memoryview(array("d", [math.inf] * 5)))
    lows_at: int = 1

    def __post_init__(self) -> None:
        self.raw = memoryview(array("q", [0] * (row_length(self.max_size) + 9)))

    def read(self) -> Exponential:
        row = self.raw[self.raw_at : self.raw_at + row_length(self.max_size)].tolist()
        low, negated = self.lows[self.lows_at : self.lows_at + 2].tolist()
        return Exponential.of(read_row(row), self.totals[self.totals_at], low, -negated)

    def untouched_around(self) -> bool:
        row = self.raw.tolist()
        around = [*row[: self.raw_at], *row[self.raw_at + row_length(self.max_size) :]]
        totals, lows = self.totals.tolist(), self.lows.tolist()
        return not any(around) and totals[:2] == [0, 0] and [lows[0], *lows[3:]] == [math.inf] * 3


def assert_same(ours: Exponential, point: Any) -> None:
    assert ours.scale == point.scale
    assert ours.zero_count == point.zero_count
    assert ours.positive == buckets(point.positive)
    assert ours.negative == buckets(point.negative)
    assert ours.count == point.count
    assert ours.sum == point.sum or (math.isnan(ours.sum) and math.isnan(point.sum))
    assert (ours.min, ours.max) == (point.min, point.max)


@pytest.mark.parametrize("cls", CLASSES)
@given(st.lists(AMOUNTS, min_size=1, max_size=4), SIZES, SCALES)
def test_the_sdk_agrees_after_every_window(cls, windows, max_size, max_scale) -> None:
    made, cell, so_far = cls({}, 0, max_size, max_scale), Cell(max_size), []
    made.attach(cell)
    for window in windows:
        for amount in window:
            made.record(amount)
        so_far += window
        if so_far:
            # What it has collected once: over several collections it goes wrong, see below.
            assert_same(made.snapshot(), sdk_point(so_far, max_size, max_scale))
        published, ours = cell.read(), made.snapshot()
        assert published.distribution == ours.distribution
        assert [published.sum, published.min, published.max] == pytest.approx(
            [ours.sum, ours.min, ours.max], nan_ok=True
        )
        assert cell.untouched_around()


@given(st.lists(POSITIVE, min_size=1, max_size=4), SIZES)
def test_the_sdk_agrees_over_several_cumulative_collections(windows, max_size) -> None:
    sdk, made = Sdk(max_size), ExponentialSeries({}, 0, max_size)
    for window in windows:
        for amount in window:
            sdk.add(amount)
            made.record(amount)
        point, ours = sdk.collect(), made.snapshot()
        assert math.isclose(ours.sum, point.sum)
        assert_same(replace(ours, sum=point.sum), point)


@given(st.lists(AMOUNTS, min_size=1, max_size=4), SIZES, SCALES)
def test_the_sdk_agrees_on_deltas(windows, max_size, max_scale) -> None:
    sdk, made, before = Sdk(max_size, max_scale, delta=True), series([], max_size, max_scale), series([]).snapshot()
    magnitude = 0.0
    for window in windows:
        for amount in window:
            sdk.add(amount)
            made.record(amount)
        now, low, high = take(made)
        ours, before, point = subtract(now, before), now, sdk.collect()
        if not window:
            assert point is None
            assert ours.count == 0
            continue
        # A delta has the scale that everything until now needs, which may be lower than its own amounts'.
        theirs = lowered(
            Exponential(
                point.scale,
                point.zero_count,
                buckets(point.positive),
                buckets(point.negative),
                0,
                point.min,
                point.max,
                point.count,
            ),
            ours.scale,
        )
        assert replace(ours, sum=0, min=low, max=high) == theirs
        assert (low, high) == (min(window), max(window))
        magnitude += sum(map(abs, window))
        assert math.isclose(ours.sum, point.sum, abs_tol=1e-9 * magnitude) or not math.isfinite(ours.sum)


@given(st.lists(st.floats(1e-9, 1e9), min_size=2, max_size=60), st.data())
def test_a_delta_is_what_was_recorded_in_between(amounts, data) -> None:
    cut = data.draw(st.integers(0, len(amounts)))
    made = series(amounts[:cut])
    before = made.snapshot()
    for amount in amounts[cut:]:
        made.record(amount)
    difference = subtract(made.snapshot(), before)
    alone = lowered(series(amounts[cut:]).snapshot(), difference.scale)
    assert (difference.positive, difference.count) == (alone.positive, alone.count)
    assert math.isclose(difference.sum, alone.sum, rel_tol=1e-6, abs_tol=1e-6)
    if 0 < cut < len(amounts):
        assert (difference.min, difference.max) == (math.inf, -math.inf)
    elif cut == 0:
        assert difference == made.snapshot()


def test_a_series_that_began_anew_gives_all_it_has() -> None:
    before = series([1.0, 2.0, 1000.0, 0, -1]).snapshot()
    for amounts in ([1.0], [2.0, 2.0], [1e-30, 1000.0], [0] * 4, [-1.0], [1.5] * 9, [1000.0, 1e9]):
        now = series(amounts).snapshot()
        assert subtract(now, before) == now
    nothing = series([]).snapshot()
    assert subtract(nothing, before) == nothing
    fewer, more = series([1.0, 1000.0, 1000.0]).snapshot(), series([1.0, 1.0, 1000.0]).snapshot()
    assert subtract(fewer, more) == fewer


@given(AMOUNTS, AMOUNTS, SIZES, SCALES)
def test_merging_is_as_if_one_had_recorded_everything(here, there, max_size, max_scale) -> None:
    both = merge(series(here, max_size, max_scale).snapshot(), series(there, max_size, max_scale).snapshot(), max_size)
    everything = series(here + there, max_size, max_scale).snapshot()
    assert both.distribution == everything.distribution
    assert (both.count, both.min, both.max) == (everything.count, everything.min, everything.max)


def test_merging_adds_sums() -> None:
    both = merge(series([1, 2]).snapshot(), series([0.5]).snapshot(), 160)
    assert (both.sum, both.min, both.max) == (3.5, 0.5, 2)


class TestWhatTheSdkGetsWrong:
    """Found by running the tests above over everything; each is right here."""

    def test_a_first_window_of_zeros_does_not_lower_the_scale_for_ever(self) -> None:
        made = series([0])
        assert made.snapshot().scale == 0
        for amount in (1.0, 1.1, 1.2):
            made.record(amount)
        assert made.snapshot().scale == series([1.0, 1.1, 1.2]).snapshot().scale > 0

    def test_a_later_window_of_zeros_does_not_either(self) -> None:
        made = series([1.0, 1.1])
        before = take(made)[0]
        made.record(0)
        assert take(made)[0] == replace(before, zero_count=1, count=3, min=0)

    def test_a_first_window_of_zeros_does_not_break_the_next(self) -> None:
        made = series([0])
        take(made)
        made.record(1e-300)
        assert made.snapshot().count == 2

    def test_a_side_that_was_empty_may_be_used_later(self) -> None:
        made = series([1.0])
        take(made)
        made.record(-1e-200)
        assert made.snapshot().negative == (finest_index(1e-200), (1,))

    @pytest.mark.parametrize("power", [-1022, -700, -1, 0, 1, 10, 52, 700, 1023])
    def test_beside_a_power_of_two_every_amount_is_on_its_side(self, power) -> None:
        exact = 2.0**power
        assert finest_index(exact) == (power << 20) - 1
        assert finest_index(math.nextafter(exact, math.inf) if power > -1022 else exact) >> 20 == (
            power if power > -1022 else -1023
        )
        assert finest_index(math.nextafter(exact, 0)) == max((power << 20) - 1, (-1022 << 20) - 1)


PRECISE = Context(prec=60)


@given(st.floats(SMALLEST, LARGEST))
@example(math.nextafter(1.0, 2))
@example(math.nextafter(1.0, 0))
@example(1.5)
@example(LARGEST)
def test_an_index_is_off_by_one_at_most(amount) -> None:
    exact = PRECISE.divide(PRECISE.ln(Decimal(amount)), PRECISE.ln(Decimal(2))) * 2**20
    assert abs(finest_index(amount) - (math.ceil(exact) - 1)) <= 1


@given(st.floats(SMALLEST, LARGEST), st.floats(SMALLEST, LARGEST))
def test_a_larger_amount_has_no_lower_index(one, other) -> None:
    low, high = sorted((one, other))
    assert finest_index(low) <= finest_index(high)


@given(st.floats(5e-324, SMALLEST))
def test_the_smallest_amounts_share_a_bucket(amount) -> None:
    assert finest_index(amount) == finest_index(SMALLEST) == (-1022 << 20) - 1


def test_the_largest_amount_is_in_the_last_bucket() -> None:
    assert finest_index(LARGEST) == (1024 << 20) - 1


@given(st.integers(1, 2**63))
def test_an_int_has_the_bucket_of_its_float(amount) -> None:
    assert finest_index(amount) == finest_index(float(amount))


def test_ints_stay_exact() -> None:
    found = series([2**63, 2**63 - 1, 1]).snapshot()
    assert (found.sum, found.max, found.min) == (2**64, 2**63, 1)
    assert type(found.sum) is int


def test_a_sum_of_huge_ints_is_infinite_and_raises_nothing() -> None:
    cell = Cell()
    made = ExponentialSeries({}, 0)
    made.attach(cell)
    for amount in (10**308, 10**308, 1, 0.5):
        made.record(amount)
    assert made.snapshot().count == cell.read().count == 4
    assert made.snapshot().sum == cell.read().sum == math.inf


def test_nothing_recorded_is_an_empty_histogram() -> None:
    assert series([]).snapshot() == Exponential(0, 0, EMPTY, EMPTY, 0, math.inf, -math.inf, 0)


def test_zeros_of_either_sign_are_counted_apart() -> None:
    assert series([0, 0.0, -0.0]).snapshot() == Exponential(0, 3, EMPTY, EMPTY, 0, 0, 0, 3)


@pytest.mark.parametrize("settings_", [(1, 20), (16_385, 20), (160, 21), (160, -11)])
def test_settings_that_cannot_work_are_refused(settings_) -> None:
    with pytest.raises(ConfigError, match="Give "):
        ExponentialSeries({}, 0, *settings_)


@pytest.mark.parametrize("cls", CLASSES)
class TestReading:
    def test_take_gives_extremes_of_the_interval_and_of_all(self, cls) -> None:
        made = series([5.0, 7.0], cls=cls)
        assert take(made)[1:] == (5.0, 7.0)
        made.record(6.0)
        now, low, high = take(made)
        assert (low, high, now.min, now.max, now.count) == (6.0, 6.0, 5.0, 7.0, 3)
        assert take(made)[1:] == (math.inf, -math.inf)

    def test_a_snapshot_leaves_the_interval_alone(self, cls) -> None:
        made = series([5.0], cls=cls)
        assert made.snapshot().max == 5.0
        assert take(made)[1:] == (5.0, 5.0)

    def test_replace_shows_what_was_made_elsewhere(self, cls) -> None:
        value = merge(series([1.0, -4, 0]).snapshot(), series([1e9]).snapshot(), 20)
        made = cls({}, 0, 20)
        made.replace(value)
        assert made.snapshot() == value
        assert take(made) == (value, -4, 1e9)


@pytest.mark.parametrize("cls", CLASSES)
class TestPublishing:
    def test_attaching_publishes_what_there_is(self, cls) -> None:
        made, cell = series([1.0, 3.0, -2.0, 0.0], cls=cls), Cell()
        made.attach(cell)
        assert cell.read() == made.snapshot()

    def test_an_empty_series_says_that_nothing_was_stored(self, cls) -> None:
        cell = Cell()
        cls({}, 0).attach(cell)
        assert math.copysign(1, cell.totals[cell.totals_at]) == -1
        assert cell.read().count == 0

    @settings(max_examples=20)
    @given(st.lists(TAME, max_size=30), st.lists(TAME, max_size=30))
    def test_a_cell_used_before_is_taken_over(self, cls, former, latter) -> None:
        cell = Cell()
        for amounts in (former, latter):
            made = series([], cls=cls)
            made.attach(cell)
            for amount in amounts:
                made.record(amount)
        assert cell.read().distribution == made.snapshot().distribution

    def test_moving_to_another_cell_leaves_the_first_alone(self, cls) -> None:
        made, first, second = cls({}, 0), Cell(), Cell()
        made.attach(first)
        made.record(1.0)
        left = first.read()
        made.attach(second)
        made.record(1000.0)
        assert first.read() == left
        assert second.read() == made.snapshot()

    def test_detached_it_counts_on_for_itself(self, cls) -> None:
        made, cell = cls({}, 0), Cell()
        made.attach(cell)
        made.record(1.0)
        made.attach(None)
        made.record(2.0)
        assert cell.read().count == 1
        assert made.snapshot().count == 2

    def test_clear_begins_anew_without_touching_the_parents_cell(self, cls) -> None:
        made, cell = cls({}, 7), Cell()
        made.attach(cell)
        for amount in (1.0, -3.0, 0):
            made.record(amount)
        left, slots = cell.read(), cell.raw.tolist()
        made.clear(9)
        made.record(5.0)
        assert made.start == 9
        assert made.snapshot() == series([5.0]).snapshot()
        assert (cell.read(), cell.raw.tolist()) == (left, slots)

    @pytest.mark.parametrize("amount", [0, 2.5, -1])
    def test_the_first_value_makes_the_cell(self, cls, amount) -> None:
        made, cell, placed = cls({}, 0), Cell(), []

        def place(waiting: Any) -> None:
            placed.append(waiting)
            waiting.attach(cell)

        made.await_cell(place)
        assert made.silent
        made.record(amount)
        made.record(amount)
        assert placed == [made]
        assert not made.silent
        assert cell.read() == made.snapshot()
        assert made.snapshot().count == 2

    @pytest.mark.parametrize("place", [lambda waiting: waiting.attach(None), lambda waiting: None])
    def test_without_a_cell_to_be_had_it_counts_for_itself(self, cls, place) -> None:
        made = cls({}, 0)
        made.await_cell(place)
        made.record(3)
        assert (made.silent, made.snapshot().count) == (False, 1)
