"""How what was counted moves between series: out of one that is forgotten, into one that returns, into the overflow.

The series may be recorded to meanwhile, by threads that take no lock. So the statements that belong together are, as on
the recording path (see `otelbridge.metrics.series`), runs without a call, a backward jump or a condition that skips;
what takes more is prepared aside and put in place only if nothing has changed. tests/metrics/test_lock_free.py looks at
what the interpreter makes of them.
"""

# pyright: reportPrivateUsage=false
# (of exponential series: what moves is all they are made of)
from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from math import copysign, inf
from typing import TYPE_CHECKING, Any

from otelbridge.cells.exponential import EMPTY, Distribution, joined, read_row, row_length
from otelbridge.metrics import series as _series
from otelbridge.metrics.exponential import ExponentialSeries, QueuedExponentialSeries
from otelbridge.metrics.scales import Exponential, buckets_of, sides_of
from otelbridge.metrics.series import LOCK_FREE, HistogramSeries, LastSeries, Series, SumSeries, Unplaced

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.cells.book import Cell

    Place = Callable[[Any], None]

_MINUS_INF = -inf


def guard(series: Series) -> AbstractContextManager[Any]:
    """Keep others from recording to a series, where the interpreter needs locks for that.

    Whoever records may have to wait for the lock of a stream, so this one is taken before that.
    """
    if LOCK_FREE:
        return nullcontext()
    return series._guard if isinstance(series, QueuedExponentialSeries) else _series._lock


def shed(series: Series, into: Series, place: Place, seen: object = None) -> bool:
    """Move everything a series has counted, and let it begin anew at its next value, as after `Series.await_cell`.

    Args:
        series: The series; its `guard` is held.
        into: A new one of the same kind, which takes it all.
        place: See `Series.await_cell`.
        seen: What `state` gave, where it is to be moved only if nothing was recorded since; None moves it anyway.

    Returns:
        Whether it was moved.
    """
    return _SHED[type(series)](series, into, place, seen)


def load(into: Series, cell: Cell) -> None:
    """Read what a cell holds into a new series that nobody else knows.

    Args:
        into: The new series.
        cell: The cell of a series of the same kind.
    """
    _LOAD[type(into)](into, cell)


def resume(series: Series, before: Series, cell: Cell | None) -> None:
    """Let a series that waits for its cell go on where it was: with what it had counted before, in the same cell.

    Args:
        series: The series; its `guard` is held. Nothing happens but publishing where it does not wait any longer.
        before: What it had counted, see `load`. It is used up.
        cell: The cell; None for no publishing at all.
    """
    _RESUME[type(series)](series, before, cell)
    series.attach(cell)


def add(series: Series, what: Series) -> None:
    """Add everything that one series has counted to another that is in use.

    Args:
        series: The one that grows; its `guard` is held, and it does not wait for a cell.
        what: One of the same kind that nobody else knows.
    """
    _ADD[type(series)](series, what)


def has_cell(series: Series) -> bool:
    """Tell whether what a series counts is published."""
    return isinstance(getattr(series, _CELLS[type(series)]), memoryview)


def state(series: Series) -> object:
    """Give something that changes with every value that is recorded; compare it by `unchanged`."""
    return _STATE[type(series)](series)


def unchanged(before: object, now: object) -> bool:
    """Tell whether nothing was recorded between two looks at `state`."""
    # A gauge that is set to the same value again has another tuple that is equal.
    return before is now or (type(before) is not tuple and before == now)


def _shed_sum(series: SumSeries, into: SumSeries, place: Place, seen: Any) -> bool:
    waiting = Unplaced(series, place)
    whole, part = seen or (0, 0)
    while True:
        if seen is None:
            whole = series.whole
            part = series.part
        # Atomic from here
        if series.whole == whole and series.part == part:
            into.whole = series.whole
            into.part = series.part
            series.whole = 0
            series.part = 0
            series.ints = waiting
            series.floats = waiting
            # to here.
            return True
        if seen is not None:
            return False


def _shed_last(series: LastSeries, into: LastSeries, place: Place, seen: Any) -> bool:
    waiting = Unplaced(series, place)
    last = seen
    while True:
        if seen is None:
            last = series.last
        # Atomic from here
        if series.last is last:
            into.last = series.last
            series.last = None
            series.marks = waiting
            # to here.
            return True
        if seen is not None:
            return False


def _shed_histogram(series: HistogramSeries, into: HistogramSeries, place: Place, seen: Any) -> bool:
    waiting = Unplaced(series, place)
    empty = into.counts
    # The list itself is always equal to itself; a copy is only as long as nothing is recorded.
    counts = series.counts if seen is None else [*series.counts]
    if seen is not None and sum(counts) != seen:
        return False
    # Atomic from here
    if series.counts == counts:
        into.counts = series.counts
        into.sum = series.sum
        into.min = series.min
        into.max = series.max
        into.low = series.low
        into.high = series.high
        series.counts = empty
        series.sum = 0
        series.min = inf
        series.max = _MINUS_INF
        series.low = inf
        series.high = _MINUS_INF
        series.ints = waiting
        series.floats = waiting
        series.lows = waiting
        # to here.
        return True
    return False


def _shed_exponential(series: ExponentialSeries, into: ExponentialSeries, place: Place, seen: Any) -> bool:
    positive, negative, zero = sides_of(Distribution(series._max_scale, 0, EMPTY, EMPTY), series.max_size, 0)
    # As in `ExponentialSeries.await_cell`: without a range every amount asks for a place first.
    waiting = positive, negative, zero.widened(0, 0)
    count = seen
    while True:
        if seen is None:
            count = series.count
        # Atomic from here
        if series.count == count:
            into._sides = series._sides
            into.count = series.count
            into.sum = series.sum
            into.min = series.min
            into.max = series.max
            into.low = series.low
            into.high = series.high
            series._sides = waiting
            series._place = place
            series._row = None
            series._totals = None
            series._lows = None
            series.count = 0
            series.sum = 0
            series.min = inf
            series.max = _MINUS_INF
            series.low = inf
            series.high = _MINUS_INF
            # to here.
            return True
        if seen is not None:
            return False


def _load_sum(into: SumSeries, cell: Cell) -> None:
    into.whole = cell.counts[cell.counts_at]
    part = cell.totals[cell.totals_at]
    if part or copysign(1.0, part) > 0:  # minus zero says that there never was a float
        into.part = part


def _load_last(into: LastSeries, cell: Cell) -> None:
    """Nothing: a last value does not go on, the next one replaces it."""


def _load_histogram(into: HistogramSeries, cell: Cell) -> None:
    into.counts = cell.counts[cell.counts_at : cell.counts_at + len(into.counts)].tolist()
    into.sum = cell.totals[cell.totals_at]
    lows = cell.lows[cell.lows_at : cell.lows_at + 4]
    into.low, into.high = min(lows[0], lows[2]), max(-lows[1], -lows[3])


def _load_exponential(into: ExponentialSeries, cell: Cell) -> None:
    row = cell.raw[cell.raw_at : cell.raw_at + row_length(into.max_size)].tolist()
    low, high = cell.lows[cell.lows_at], -cell.lows[cell.lows_at + 1]
    held = _at_a_scale(read_row(row), into)
    into.replace(Exponential.of(held, cell.totals[cell.totals_at], low, high))
    into.low, into.high = inf, _MINUS_INF  # those of an interval that readers have had


def _at_a_scale(distribution: Distribution, series: ExponentialSeries) -> Distribution:
    """Let what has no buckets begin with the highest scale there may be, as a new series does."""
    if distribution.positive.counts or distribution.negative.counts:
        return distribution
    return distribution._replace(scale=series._max_scale)


def _resume_sum(series: SumSeries, before: SumSeries, cell: Cell | None) -> None:
    waiting = series.ints
    if type(waiting) is not Unplaced:
        return
    ints, ints_at = (None, 0) if cell is None else (cell.counts, cell.counts_at)
    floats, floats_at = (None, 0) if cell is None else (cell.totals, cell.totals_at)
    # Atomic from here
    if series.ints is waiting:
        series.whole = series.whole + before.whole
        series.part = series.part + before.part
        series.ints_at = ints_at
        series.floats_at = floats_at
        series.ints = ints
        series.floats = floats
    # to here.


def _resume_last(series: LastSeries, before: LastSeries, _cell: Cell | None) -> None:
    if series.last is None:
        series.last = before.last


def _resume_histogram(series: HistogramSeries, before: HistogramSeries, cell: Cell | None) -> None:
    # Without a cell nobody looks at the others.
    ints, ints_at = (None, 0) if cell is None else (cell.counts, cell.counts_at)
    floats, floats_at = (None, 0) if cell is None else (cell.totals, cell.totals_at)
    lows, lows_at = (None, 0) if cell is None else (cell.lows, cell.lows_at)
    while True:
        waiting = series.ints
        if type(waiting) is not Unplaced:
            return
        since = [*series.counts]
        both = [one + other for one, other in zip(before.counts, since, strict=True)]
        # Atomic from here
        if series.ints is waiting and series.counts == since:
            series.counts = both
            series.sum = series.sum + before.sum
            series.ints_at = ints_at
            series.floats_at = floats_at
            series.lows_at = lows_at
            series.ints = ints
            series.floats = floats
            series.lows = lows
            # to here.
            break
    if lows is None:
        series.attach(None)
    # Readers of deltas have had these.
    series._keep(before.low, before.high)


def _resume_exponential(series: ExponentialSeries, before: ExponentialSeries, _cell: Cell | None) -> None:
    # Nothing can have been recorded while it waited: there was no range. It takes over the other's sides.
    # Atomic from here
    if series._place is not None:
        series._sides = before._sides
        series._place = None
        series.count = before.count
        series.sum = before.sum
        series.min = before.min
        series.max = before.max
        series.low = before.low
        series.high = before.high
    # to here.


def _add_sum(series: SumSeries, what: SumSeries) -> None:
    if what.whole:
        series.record(what.whole)
    if type(what.part) is float:
        series.record(what.part)


def _add_last(series: LastSeries, what: LastSeries) -> None:
    if what.last is not None:
        series.record(what.last[0])


def _add_histogram(series: HistogramSeries, what: HistogramSeries) -> None:
    low, high = min(what.min, what.low), max(what.max, what.high)
    while True:
        least, most = series.min, series.max
        extremes = min(low, least), max(high, most)
        before = [*series.counts]
        both = [one + other for one, other in zip(before, what.counts, strict=True)]
        # Atomic from here
        if series.min is least and series.max is most and series.counts == before:
            series.counts = both
            series.sum = series.sum + what.sum
            series.min = extremes[0]
            series.max = extremes[1]
            # to here.
            break
    series.publish()


def _add_exponential(series: ExponentialSeries, what: ExponentialSeries) -> None:
    value = what.snapshot()
    while True:
        sides = series._sides
        count = series.count
        both = _at_a_scale(joined((buckets_of(sides), value.distribution), series.max_size), series)
        new, slots, area = series._plan(both, series._row, series._row_at)
        # A measurement changes the count; who reads changes the two of the interval.
        low, high = series.low, series.high
        recent = min(low, value.min), max(high, value.max)
        all_time = min(series.min, value.min), max(series.max, value.max)
        # Atomic from here
        if series._sides is sides and series.count == count and series.low is low and series.high is high:
            series._sides = new
            series.count = count + value.count
            series.sum = series.sum + value.sum
            series.low = recent[0]
            series.high = recent[1]
            series.min = all_time[0]
            series.max = all_time[1]
            if series._row is not None:
                series._row[slots] = area
                series._row[series._row_at] += 1
                series._totals[series._totals_at] = series.sum
                series._lows[series._lows_at] = series.min
                series._lows[series._lows_at + 1] = -series.max
            # to here.
            break


def _state_sum(series: SumSeries) -> object:
    return [series.whole, series.part]


def _state_last(series: LastSeries) -> object:
    return series.last


def _state_histogram(series: HistogramSeries) -> object:
    return sum(series.counts)


def _state_exponential(series: ExponentialSeries) -> object:
    return series.count


def _by_class(of_sum: Any, of_last: Any, of_histogram: Any, of_exponential: Any) -> dict[type[Series], Any]:
    return {
        SumSeries: of_sum,
        LastSeries: of_last,
        HistogramSeries: of_histogram,
        ExponentialSeries: of_exponential,
        QueuedExponentialSeries: of_exponential,
    }


_SHED = _by_class(_shed_sum, _shed_last, _shed_histogram, _shed_exponential)
_LOAD = _by_class(_load_sum, _load_last, _load_histogram, _load_exponential)
_RESUME = _by_class(_resume_sum, _resume_last, _resume_histogram, _resume_exponential)
_ADD = _by_class(_add_sum, _add_last, _add_histogram, _add_exponential)
_STATE = _by_class(_state_sum, _state_last, _state_histogram, _state_exponential)
_CELLS = _by_class("ints", "marks", "ints", "_row")
