"""A series: the values of one attribute set, shared by every reader.

Recording takes no lock. CPython with a global interpreter lock switches threads, and runs signal handlers
and finalizers, only at function entries, after calls and at backward jumps (3.10: at any jump that is taken,
which the common path has none of). The statements that write (those between the two comments) contain none of these
between their load and their last store, so each run of them is atomic, and a reader's one display expression sees a
consistent histogram. `LOCK_FREE` is False where the interpreter promises no such thing; a lock takes over there.
docs/decisions/0005-an-own-recording-path.md has the reasoning, tests/metrics/test_lock_free.py the guard.

Where several processes are to be seen as one, a series also has a cell: the value that was just written is
stored there once more, in the same atomic run, for the other processes to read.
docs/decisions/0006-many-processes-as-one.md has that reasoning.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from contextlib import AbstractContextManager, nullcontext
from math import copysign, inf
from time import monotonic
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from otelbridge.concurrency import forks
from otelbridge.metrics.points import transportable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.util.types import AnyValue

    from otelbridge.cells.book import Cell

    Place = Callable[[Any], None]

_MINUS_INF = -inf

LOCK_FREE = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether recording needs no lock on this interpreter."""

# Where it does, all series share one. A finalizer may record to any series while another is recorded to, so two
# threads that held two locks could wait for each other. Reentrant, for signal handlers and such finalizers.
_lock = forks.lock()
_unlocked = nullcontext()


class Unplaced:
    """Stands where a cell will be: the first value that is stored asks the stream for it.

    So a series that records nothing needs no cell, and one that is hidden is shown again by its next value.

    Args:
        series: Whose cell it will be.
        place: Attaches the series to its cell, or to none.
    """

    __slots__ = ("_place", "_series")

    counts_at = totals_at = lows_at = marks_at = 0
    counts = totals = lows = marks = property(lambda self: self)

    def __init__(self, series: Series, place: Place) -> None:
        self._series = ref(series)  # which refers to this: a series is freed as soon as nothing else refers to it
        self._place = place

    def __setitem__(self, at: int, value: object) -> None:
        # What is to be stored is left aside: attaching publishes what the series has by then.
        series = self._series()
        if series is not None and series.cell is self:
            self._place(series)


class Series:
    """What every series has.

    Args:
        attributes: The attribute set, after cleaning and the view's filter.
        start: When it began, in nanoseconds since the epoch.
    """

    __slots__ = ("__weakref__", "attributes", "cell", "code", "inherited", "start")

    def __init__(self, attributes: Mapping[str, AnyValue], start: int) -> None:
        self.attributes = attributes
        self.start = start
        self.cell: Any = None
        """The `Cell` it is published in, or what stands for it; None for neither."""
        self.code: bytes = b""
        """The attribute set as other processes know it; empty while it has no cell."""
        self.inherited: Any = None
        """The `total` it began with, which an earlier series of the same attributes had counted; None for nothing."""

    @property
    def silent(self) -> bool:
        """Whether its next value asks for a cell."""
        return type(self.cell) is Unplaced

    @property
    def has_cell(self) -> bool:
        """Whether what it counts is published."""
        return self.cell is not None and not self.silent

    def guard(self) -> AbstractContextManager[Any]:
        """Give the lock that keeps others from recording to it; none where recording takes no lock.

        Recording may have to wait for the lock of a stream, so this one is taken before that.
        """
        return _unlocked if LOCK_FREE else cast("AbstractContextManager[Any]", _lock)

    def record(self, amount: int | float) -> None:
        """Take a measurement. `otelbridge.metrics.writers` does the same without the calls."""
        if LOCK_FREE:
            self._put(amount)
            return
        with _lock:
            self._put(amount)

    def _put(self, amount: int | float) -> None:
        raise NotImplementedError

    def total(self) -> Any:
        """Give everything it has counted, as a reader of deltas remembers it."""
        raise NotImplementedError

    def state(self) -> object:
        """Give something that changes with every value that is recorded; compare it by `unchanged`."""
        raise NotImplementedError

    def observe(self, value: int | float | None) -> None:
        """Replace the value by what a callback observed; by None when it is no longer observed."""
        raise NotImplementedError

    def clear(self, start: int) -> None:
        """Begin anew, as a forked child does."""
        self.start = start
        self.inherited = None

    def await_cell(self, place: Place, seen: object = None) -> bool:
        """Let the next value ask for a cell. What was counted stays.

        Args:
            place: Attaches the series to its cell, or to none.
            seen: What `state` gave, where nothing may have been recorded since; None for no such condition.

        Returns:
            Whether it waits now; not when something was recorded since.
        """
        waiting = Unplaced(self, place)
        if seen is not None:
            return self._await(waiting, seen)
        self.cell = waiting
        return True

    def _await(self, waiting: Unplaced, seen: Any) -> bool:
        raise NotImplementedError

    def load(self, cell: Cell) -> None:
        """Count what a cell holds. The series is new, and nothing else knows it."""
        raise NotImplementedError

    def attach(self, cell: Cell | None) -> None:
        """Publish in a cell from now on, what is there now included; None for no publishing at all."""
        self.cell = cell
        self.publish()

    def publish(self) -> None:
        """Write everything into the cell again, if there is one. What is recorded meanwhile stores its own."""
        raise NotImplementedError


class SumSeries(Series):
    """A running total: exact for ints of any size, and for floats as floats are.

    Ints and floats are summed apart, so that a float does not cost the ints their exactness.
    """

    __slots__ = ("part", "whole")

    def __init__(self, attributes: Mapping[str, AnyValue], start: int) -> None:
        super().__init__(attributes, start)
        self.whole = 0
        """The sum of the ints."""
        self.part: int | float = 0
        """The sum of the floats; an int while there was none."""

    @property
    def value(self) -> int | float:
        """The total."""
        try:
            return self.whole + self.part
        except OverflowError:  # the ints alone are more than a float can hold
            return self.whole

    def total(self) -> int | float:
        """See `Series.total`."""
        return self.value

    def state(self) -> object:
        """See `Series.state`."""
        return [self.whole, self.part]

    def clear(self, start: int) -> None:
        """See `Series.clear`."""
        super().clear(start)
        self.whole = self.part = 0

    def _await(self, waiting: Unplaced, seen: Any) -> bool:
        whole, part = seen
        # Atomic from here
        if self.whole == whole and self.part == part:
            self.cell = waiting
            # to here.
            return True
        return False

    def load(self, cell: Cell) -> None:
        """See `Series.load`."""
        self.whole = cell.counts[cell.counts_at]
        part = cell.totals[cell.totals_at]
        if part or copysign(1.0, part) > 0:  # minus zero says that there never was a float
            self.part = part

    def publish(self) -> None:
        """See `Series.publish`."""
        cell = self.cell
        if cell is None or type(cell) is Unplaced:
            return
        if type(self.part) is float:
            cell.totals[cell.totals_at] = self.part
        try:
            cell.counts[cell.counts_at] = self.whole
        except ValueError:
            self.spill()

    def _put(self, amount: int | float) -> None:
        if isinstance(amount, int):
            self.add_int(amount)
        else:
            self.add_float(amount)

    def add_int(self, amount: int) -> None:
        """Add to the ints. The recording paths have these statements without the call."""
        # Atomic from here
        self.whole = value = self.whole + amount
        cell = self.cell
        if cell is not None:
            try:
                cell.counts[cell.counts_at] = value
            except ValueError:  # beyond 64 bits
                self.spill()
        # to here.

    def add_float(self, amount: float) -> None:
        """Add to the floats; likewise."""
        # Atomic from here
        self.part = value = self.part + amount
        cell = self.cell
        if cell is not None:
            cell.totals[cell.totals_at] = value
        # to here.

    def observe(self, value: int | float | None) -> None:
        """See `Series.observe`."""
        total = 0 if value is None else transportable(value)
        self.whole, self.part = (0, total) if isinstance(total, float) else (total, 0)
        if self.silent:
            self.cell.counts[0] = 0  # which attaches a cell, if there is one to be had
        cell = self.cell
        if cell is not None:
            cell.counts[cell.counts_at] = self.whole
            cell.totals[cell.totals_at] = self.part if type(self.part) is float else -0.0
            cell.counts[cell.counts_at + 1] = int(value is not None)

    def spill(self) -> None:
        """Count the ints with the floats: their sum no longer fits 64 bits."""
        self.part, self.whole = float(self.part + self.whole), 0
        self.publish()


class LastSeries(Series):
    """The last value. Each measurement is a new tuple, so that a reader can tell it from an equal earlier one."""

    __slots__ = ("last",)

    def __init__(self, attributes: Mapping[str, AnyValue], start: int) -> None:
        super().__init__(attributes, start)
        self.last: tuple[int | float] | None = None

    @property
    def value(self) -> int | float:
        """The last value; 0 where there is none."""
        return 0 if self.last is None else self.last[0]

    def total(self) -> tuple[int | float] | None:
        """See `Series.total`."""
        return self.last

    def state(self) -> object:
        """See `Series.state`."""
        return self.last

    def clear(self, start: int) -> None:
        """See `Series.clear`."""
        super().clear(start)
        self.last = None

    def _await(self, waiting: Unplaced, seen: Any) -> bool:
        # Atomic from here
        if self.last is seen:
            self.cell = waiting
            # to here.
            return True
        return False

    def load(self, cell: Cell) -> None:
        """See `Series.load`. A last value does not go on: the next one replaces it."""

    def observe(self, value: int | float | None) -> None:
        """See `Series.observe`."""
        self.last = None if value is None else (value,)
        self.store()

    def _put(self, amount: int | float) -> None:
        self.last = (amount,)
        self.store()

    def store(self) -> None:
        """Publish the last value, which was recorded now."""
        cell = self.cell  # the same throughout: the series may be hidden or shown in between
        if cell is not None:
            self._store(cell, monotonic())

    def attach(self, cell: Cell | None) -> None:
        """See `Series.attach`. A value stays as old as it was in another cell."""
        old, self.cell = self.cell, cell
        if cell is not None and not cell.marks[cell.marks_at + 1]:
            known: Any = None if type(old) is Unplaced else old
            self._store(cell, abs(known.marks[known.marks_at + 1]) if known else monotonic())
        self.publish()

    def publish(self) -> None:
        """See `Series.publish`. What is there already stays as old as it is."""
        cell = self.cell
        if cell is None or type(cell) is Unplaced:
            return
        if self.last is None or not cell.marks[cell.marks_at + 1] or cell.marks[cell.marks_at] != self.last[0]:
            self._store(cell, monotonic())

    def _store(self, cell: Any, time: float) -> None:
        if self.last is None:
            cell.marks[cell.marks_at + 1] = 0.0
            return
        (value,) = self.last
        cell.marks[cell.marks_at] = value
        # The sign tells an int from a float. The time is by the clock that all processes share.
        cell.marks[cell.marks_at + 1] = time if type(value) is float else -time


class HistogramSeries(Series):
    """Explicit buckets. The count is the sum of the buckets, so that the two cannot disagree.

    Args:
        attributes: See `Series`.
        start: See `Series`.
        bounds: Upper bounds, ascending, inclusive.
    """

    __slots__ = ("bounds", "counts", "high", "low", "max", "min", "sum")

    def __init__(self, attributes: Mapping[str, AnyValue], start: int, bounds: tuple[float, ...]) -> None:
        super().__init__(attributes, start)
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: int | float = 0
        self.min: int | float = inf
        """The lowest since the last `take`."""
        self.max: int | float = -inf
        """The highest since the last `take`."""
        self.low: int | float = inf
        """The lowest of those taken."""
        self.high: int | float = -inf
        """The highest of those taken."""

    def total(self) -> tuple[list[int], int | float]:
        """See `Series.total`."""
        # One display, so that nothing can be recorded in between.
        *counts, total = [*self.counts, self.sum]
        return cast("list[int]", counts), total

    def snapshot(self) -> tuple[list[int], int | float, int | float, int | float]:
        """Give bucket counts, sum, minimum and maximum since the beginning, of one moment."""
        # In this order: what a reader of deltas takes is among the extremes of all time before it leaves the others.
        row: list[Any] = [*self.counts, self.sum, self.min, self.max, self.low, self.high]
        *counts, total, low, high, taken_low, taken_high = row
        return counts, total, min(low, taken_low), max(high, taken_high)

    def state(self) -> object:
        """See `Series.state`."""
        return sum(self.counts)

    def clear(self, start: int) -> None:
        """See `Series.clear`."""
        super().clear(start)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0
        self.min = self.low = inf
        self.max = self.high = -inf

    def _await(self, waiting: Unplaced, seen: Any) -> bool:
        counts = [*self.counts]
        if sum(counts) != seen:
            return False
        # Atomic from here
        if self.counts == counts:
            self.cell = waiting
            # to here.
            return True
        return False

    def load(self, cell: Cell) -> None:
        """See `Series.load`."""
        self.counts = cell.counts[cell.counts_at : cell.counts_at + len(self.counts)].tolist()
        self.sum = cell.totals[cell.totals_at]
        lows = cell.lows[cell.lows_at : cell.lows_at + 4]
        self.low, self.high = min(lows[0], lows[2]), max(-lows[1], -lows[3])

    def publish(self) -> None:
        """See `Series.publish`."""
        cell = self.cell
        if cell is None or type(cell) is Unplaced:
            return
        for at in range(len(self.counts)):
            cell.counts[cell.counts_at + at] = self.counts[at]
        cell.totals[cell.totals_at] = self.sum
        cell.lows[cell.lows_at] = self.min
        cell.lows[cell.lows_at + 1] = -self.max
        self._publish_extremes()

    def _put(self, amount: int | float) -> None:
        at = bisect_left(self.bounds, amount)
        if self.min <= amount and amount <= self.max:
            self.add_between(at, amount)
        else:
            self.widen(at, amount)

    def add_between(self, at: int, amount: int | float) -> None:
        """Add to a bucket what is not beyond the extremes. The recording paths have these statements without the call.

        They stand behind the comparison, with nothing in between that could let a reader take the extremes.
        """
        # Atomic from here
        counts = self.counts
        counts[at] = count = counts[at] + 1
        self.sum += amount
        cell = self.cell
        if cell is not None:
            cell.counts[cell.counts_at + at] = count
            cell.totals[cell.totals_at] = self.sum
        # to here.

    def widen(self, at: int, amount: int | float) -> None:
        """Take a measurement that is lower or higher than all since the last `take`.

        Count and extremes are stored together: a reader that saw one without the other would give a point without
        extremes. A condition between two of the stores would let others run in between (where it jumps, on CPython
        3.10), so all is made ready first, and put in place unless something has changed.

        Args:
            at: Its bucket.
            amount: An exact int or float.
        """
        while True:
            least, most = self.min, self.max
            low = min(least, amount)
            high = max(most, amount)
            # Atomic from here
            if self.min is least and self.max is most:
                counts = self.counts
                counts[at] = count = counts[at] + 1
                self.sum += amount
                self.min = low
                self.max = high
                cell = self.cell
                if cell is not None:
                    cell.counts[cell.counts_at + at] = count
                    cell.totals[cell.totals_at] = self.sum
                    cell.lows[cell.lows_at] = self.min
                    cell.lows[cell.lows_at + 1] = -self.max
                # to here.
                return

    def take(self, tell: Callable[[int | float, int | float], None]) -> tuple[list[int], int | float]:
        """Read everything at one moment, and begin new extremes.

        Extremes cannot be subtracted, so they are handed over to the readers of deltas, each of which keeps its own.

        Args:
            tell: Is given minimum and maximum since the last call, if anything was recorded. Maybe more than once: an
                interrupted reading hands over nothing twice and leaves nothing out.

        Returns:
            Bucket counts and sum since the beginning.
        """
        with self.guard():
            while True:
                least, most = self.min, self.max
                if least <= most:
                    tell(least, most)
                    # Before they go, and after, since the cell's own are overwritten by the first measurement since.
                    self._keep(least, most)
                # No call, and after the list itself no allocation (which could run a garbage collection, and with it
                # any callback), up to the last store: nothing can be recorded in between.
                # Atomic from here
                row = [*self.counts, self.sum]
                if self.min is least and self.max is most:
                    self.min = inf
                    self.max = _MINUS_INF
                    # to here.
                    self._keep(least, most)
                    total = row.pop()
                    return cast("list[int]", row), total

    def _keep(self, low: int | float, high: int | float) -> None:
        while low < self.low or high > self.high:
            least, most = self.low, self.high
            both = min(low, least), max(high, most)
            # Atomic from here
            if self.low is least and self.high is most:
                self.low = both[0]
                self.high = both[1]
                # to here.
                self._publish_extremes()

    def _publish_extremes(self) -> None:
        cell = self.cell
        if cell is not None and type(cell) is not Unplaced:
            cell.lows[cell.lows_at + 2] = self.low
            cell.lows[cell.lows_at + 3] = -self.high


def unchanged(before: object, now: object) -> bool:
    """Tell whether nothing was recorded between two looks at `Series.state`."""
    # A gauge that is set to the same value again has another tuple that is equal.
    return before is now or (type(before) is not tuple and before == now)
