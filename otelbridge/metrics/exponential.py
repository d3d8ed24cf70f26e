"""The series of a base-2 exponential histogram.

Recording takes no lock, for the reason `otelbridge.metrics.series` gives. It serves twice here.

A measurement inside the range of buckets is added by a run of statements without a call, a backward jump or a new
container (which may begin a garbage collection), so nothing can come between them. (CPython 3.10 may switch at every
jump it takes, so a condition between two stores that belong together must be one that falls through where it holds.)

A measurement outside needs other buckets, which take calls to make, and meanwhile anything may be recorded: by another
thread, or by a signal handler or finalizer in the middle. So the new buckets are made aside while the old ones stay in
use, and are put in their place by such a run of statements again, which first compares: the buckets are the same ones
still, and nothing was counted since. Else the new ones are thrown away and made again. Nobody waits: who has to begin
again does so because somebody else got ahead, and there are only 31 scales and `max_size` buckets to get ahead by.

The row in the cell is written in the same runs of statements, so within the process it never differs from the series.
Why each single store leaves a row that others can read says `otelbridge.cells.exponential`.
"""

from __future__ import annotations

from array import array
from math import inf
from typing import TYPE_CHECKING, Any

from otelbridge.cells.exponential import (
    EMPTY,
    MAX_SCALE,
    MIN_SCALE,
    Distribution,
    area_of,
    area_start,
    coarser,
    excess,
    read_row,
    row_length,
    trimmed,
    unrolled,
    wider,
)
from otelbridge.errors import ConfigError
from otelbridge.metrics.scales import Exponential, Sides, buckets_of, finest_index, sides_of
from otelbridge.metrics.series import Series, Unplaced

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.util.types import AnyValue

    from otelbridge.cells.book import Cell
    from otelbridge.metrics.series import Place

_MINUS_INF = -inf
_MIN_SIZE, _MAX_SIZE = 2, 16_384
# That of 2**63. Sums of ints beyond could outgrow what a float holds, and then raise.
_LARGE = (63 << MAX_SCALE) - 1
_POSITIVE, _NEGATIVE, _ZERO = range(3)


class ExponentialSeries(Series):
    """An exponential histogram whose scale follows the measurements.

    Args:
        attributes: See `Series`.
        start: See `Series`.
        max_size: The most buckets above zero, and below; 2 to 16384.
        max_scale: The scale it begins with; -10 to 20.

    Raises:
        ConfigError: If one of the two lies outside. The SDK refuses such a view before there is a series.
    """

    __slots__ = (
        "_max_scale",
        "_sides",
        "count",
        "high",
        "low",
        "max",
        "max_size",
        "min",
        "sum",
    )

    def __init__(
        self, attributes: Mapping[str, AnyValue], start: int, max_size: int = 160, max_scale: int = MAX_SCALE
    ) -> None:
        super().__init__(attributes, start)
        if not _MIN_SIZE <= max_size <= _MAX_SIZE:
            raise ConfigError(f"max_size is {max_size}", f"Give {_MIN_SIZE} to {_MAX_SIZE} buckets.")
        if not MIN_SCALE <= max_scale <= MAX_SCALE:
            raise ConfigError(f"max_scale is {max_scale}", f"Give a scale of {MIN_SCALE} to {MAX_SCALE}.")
        self.max_size = max_size
        self._max_scale = max_scale
        self._begin()

    def _begin(self) -> None:
        fresh = sides_of(Distribution(self._max_scale, 0, EMPTY, EMPTY), self.max_size)
        # Atomic from here
        self.cell = None
        self._sides = fresh
        self.count = 0
        self.sum: int | float = 0
        self.min: int | float = inf
        """The lowest of all."""
        self.max: int | float = _MINUS_INF
        """The highest of all."""
        self.low: int | float = inf
        """The lowest since the last `take`."""
        self.high: int | float = _MINUS_INF
        """The highest since the last `take`."""
        # to here.

    def total(self) -> Exponential:
        """See `Series.total`."""
        return self.snapshot()

    def state(self) -> object:
        """See `Series.state`."""
        return self.count

    def clear(self, start: int) -> None:
        """See `Series.clear`. It lets go of the cell, which is the parent's, without writing to it."""
        super().clear(start)
        self._begin()

    def _put(self, amount: int | float) -> None:  # written out without calls, see above
        if amount > 0:
            which, index = _POSITIVE, finest_index(amount)
        elif amount < 0:
            which, index = _NEGATIVE, finest_index(-amount)
        else:
            which, index = _ZERO, 0
        if index > _LARGE:
            amount = float(amount)
        while True:
            # Atomic from here
            side = self._sides[which]
            at = index >> side.shift
            if side.start <= at < side.stop:
                if self.low <= amount <= self.high:
                    at %= side.size
                    side.counts[at] += 1
                    self.count += 1
                    self.sum += amount
                    cell = side.cell
                    if cell is not None:
                        cell.raw[side.counts_at + at] = side.counts[at]
                        cell.totals[cell.totals_at] = self.sum
                    # to here.
                    return
                if self._stretch(which, index, amount):
                    return
            else:
                self._make_room(which, index)

    def _stretch(self, which: int, index: int, amount: int | float) -> bool:
        """Add a measurement that is lower or higher than all since the last `take`; in vain if others get ahead.

        Count and extremes belong together, see `otelbridge.metrics.series.HistogramSeries.widen`.
        """
        low, high, least, most = self.low, self.high, self.min, self.max
        recent = min(low, amount), max(high, amount)
        all_time = min(least, amount), max(most, amount)
        # Atomic from here
        side = self._sides[which]
        at = index >> side.shift
        if (
            self.low is low
            and self.high is high
            and self.min is least
            and self.max is most
            and side.start <= at < side.stop
        ):
            at %= side.size
            side.counts[at] += 1
            self.count += 1
            self.sum += amount
            self.low = recent[0]
            self.high = recent[1]
            self.min = all_time[0]
            self.max = all_time[1]
            cell = side.cell
            if cell is not None:
                cell.raw[side.counts_at + at] = side.counts[at]
                cell.totals[cell.totals_at] = self.sum
                cell.lows[cell.lows_at] = self.min
                cell.lows[cell.lows_at + 1] = -self.max
            # to here.
            return True
        return False

    def snapshot(self) -> Exponential:
        """Give everything since the beginning."""
        with self.guard():
            # One display without a call, so that nothing can be recorded in between. It begins with the list, whose
            # allocation could run a garbage collection, and with it any callback.
            # Atomic from here
            row = [
                *self._sides[_POSITIVE].counts,
                *self._sides[_NEGATIVE].counts,
                self._sides[_ZERO].counts[0],
                self._sides,
                self.sum,
                self.min,
                self.max,
            ]
            # to here.
        return _read(row)

    def take(self, tell: Callable[[int | float, int | float], None]) -> Exponential:
        """Read everything at one moment, and begin new extremes of the interval.

        Args:
            tell: See `otelbridge.metrics.series.HistogramSeries.take`.

        Returns:
            The histogram since the beginning, with its own extremes.
        """
        with self.guard():
            while True:
                low, high = self.low, self.high
                if low <= high:
                    tell(low, high)
                # As in `snapshot`.
                # Atomic from here
                row = [
                    *self._sides[_POSITIVE].counts,
                    *self._sides[_NEGATIVE].counts,
                    self._sides[_ZERO].counts[0],
                    self._sides,
                    self.sum,
                    self.min,
                    self.max,
                ]
                if self.low is low and self.high is high:
                    self.low = inf
                    self.high = _MINUS_INF
                    # to here.
                    return _read(row)

    def replace(self, value: Exponential) -> None:
        """Hold a histogram that was made elsewhere, for instance of those of several processes.

        Args:
            value: The histogram, with at most `max_size` buckets a side. `take` gives its extremes, too.
        """
        with self.guard():
            sides = sides_of(value.distribution, self.max_size)
            # Atomic from here
            self._sides = sides
            self.count = value.count
            self.sum = value.sum
            self.min = self.low = value.min
            self.max = self.high = value.max
            # to here.

    def await_cell(self, place: Place, seen: Any = None) -> bool:
        """See `Series.await_cell`."""
        with self.guard():
            waiting = Unplaced(self, place)
            while True:
                sides = self._sides
                count = self.count
                if seen is not None and count != seen:
                    return False
                # Without a range every amount, zero too, makes room first.
                closed = sides[_POSITIVE].closed(), sides[_NEGATIVE].closed(), sides[_ZERO].closed()
                # Atomic from here
                if self._sides is sides and self.count == count:
                    self._sides = closed
                    self.cell = waiting
                    # to here.
                    return True

    def load(self, cell: Cell) -> None:
        """See `Series.load`."""
        row = cell.raw[cell.raw_at : cell.raw_at + row_length(self.max_size)].tolist()
        held = read_row(row)
        if not (held.positive.counts or held.negative.counts):
            held = held._replace(scale=self._max_scale)  # as a new series begins
        low, high = cell.lows[cell.lows_at], -cell.lows[cell.lows_at + 1]
        self.replace(Exponential.of(held, cell.totals[cell.totals_at], low, high))
        self.low, self.high = inf, _MINUS_INF  # those of an interval that readers have had

    def publish(self) -> None:
        """See `Series.publish`."""
        if self.has_cell:
            self.attach(self.cell)

    def attach(self, cell: Cell | None) -> None:
        """See `Series.attach`. What the cell held before is replaced.

        Args:
            cell: Has `row_length` raw slots, one total (the sum), two lows (the minimum and the negated maximum); None
                for no publishing at all.
        """
        with self.guard():
            while True:
                sides = self._sides
                count = self.count
                new, slots, area = self._plan(buckets_of(sides), cell)
                # Minus zero is how a cell says that nothing was stored.
                total = self.sum if count else -0.0
                # Atomic from here
                if self._sides is sides and self.count == count:
                    self._sides = new
                    self.cell = cell
                    if cell is not None:
                        cell.raw[slots] = area
                        cell.raw[cell.raw_at] += 1
                        cell.totals[cell.totals_at] = total
                        cell.lows[cell.lows_at] = self.min
                        cell.lows[cell.lows_at + 1] = -self.max
                    # to here.
                    return

    def _make_room(self, which: int, index: int) -> None:
        """Extend the range of a side to an index, or lower the scale until it fits; in vain if others get ahead."""
        waiting = self.cell
        if type(waiting) is Unplaced:
            waiting.counts[0] = 0
            if self.cell is waiting:
                self.attach(None)
            return
        sides = self._sides
        count = self.count
        if not sides[_ZERO].stop:  # closed since
            return
        side = sides[which]
        at = index >> side.shift
        change = 0
        if side.size:
            start, stop = min(side.start, at), max(side.stop, at + 1)
            change = excess(start, stop - 1, self.max_size)
            if not change:
                self._widen(sides, which, start, stop)
                return
        buckets = buckets_of(sides)
        both = [coarser(each, change) for each in buckets[2:]]
        both[which] = wider(both[which], at >> change)
        lower = Distribution(buckets.scale - change, buckets.zero_count, *both)
        cell = side.cell
        new, slots, area = self._plan(lower, cell)
        # The row comes after the sides, because who has none jumps over it.
        # Atomic from here
        if self._sides is sides and self.count == count:
            self._sides = new
            if cell is not None:
                cell.raw[slots] = area
                cell.raw[cell.raw_at] += 1
        # to here.

    def _widen(self, sides: Sides, which: int, start: int, stop: int) -> None:
        side = sides[which].widened(start, stop)
        cell = side.cell
        new: Any = (*sides[:which], side, *sides[which + 1 :])
        # As in `_make_room`. Whatever was counted meanwhile does no harm, since the list of counts is the same.
        # Atomic from here
        if self._sides is sides:
            self._sides = new
            if cell is not None:
                cell.raw[side.range_at] = start
                cell.raw[side.range_at + 1] = stop
        # to here.

    def _plan(self, buckets: Distribution, cell: Cell | None) -> tuple[Sides, slice, Any]:
        """Prepare what puts buckets into use, without doing so.

        Returns:
            The sides; the part of the cell's row that is not valid now, and what shall stand there.
        """
        if cell is None:
            return sides_of(buckets, self.max_size), slice(0), None
        at = cell.raw_at + area_start(cell.raw[cell.raw_at] + 1, self.max_size)
        area = array("q", area_of(buckets, self.max_size))
        return sides_of(buckets, self.max_size, cell, at), slice(at, at + len(area)), area


def _read(row: list[Any]) -> Exponential:
    *counts, zeros, sides, total, low, high = row
    positive, negative, _ = sides
    above = trimmed(unrolled(counts[: positive.size], *positive.range))
    below = trimmed(unrolled(counts[positive.size :], *negative.range))
    scale = MAX_SCALE - positive.shift if above.counts or below.counts else 0
    return Exponential.of(Distribution(scale, zeros, above, below), total, low, high)
