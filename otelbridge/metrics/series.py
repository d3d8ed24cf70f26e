"""A series: the values of one attribute set, shared by every reader.

Recording takes no lock. CPython with a global interpreter lock switches threads, and runs signal handlers
and finalizers, only at function entries, after calls and at backward jumps. The statements that write
(`series.value += amount`, `series.counts[i] += 1` and what follows it) contain none of these between their
load and their store, so each is atomic, and a reader's one display expression sees a consistent
histogram. `LOCK_FREE` is False where the interpreter promises no such thing; a lock takes over there.
docs/decisions/0005-an-own-recording-path.md has the reasoning, tests/metrics/test_lock_free.py the guard.
"""

from __future__ import annotations

import sys
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AnyValue

_MINUS_INF = -inf

LOCK_FREE = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether recording needs no lock on this interpreter."""


class Series:
    """What every series has.

    Args:
        attributes: The attribute set, after cleaning and the view's filter.
        start: When it began, in nanoseconds since the epoch.
    """

    __slots__ = ("attributes", "start")

    def __init__(self, attributes: Mapping[str, AnyValue], start: int) -> None:
        self.attributes = attributes
        self.start = start

    def clear(self, start: int) -> None:
        """Begin anew, as a forked child does.

        Args:
            start: The new beginning, in nanoseconds since the epoch.
        """
        self.start = start


class SumSeries(Series):
    """A running total: exact for ints of any size, and for floats as floats are."""

    __slots__ = ("value",)

    def __init__(self, attributes: Mapping[str, AnyValue], start: int) -> None:
        super().__init__(attributes, start)
        self.value: int | float = 0

    def clear(self, start: int) -> None:
        """See `Series.clear`."""
        super().clear(start)
        self.value = 0


class LastSeries(Series):
    """The last value. Each measurement is a new tuple, so that a reader can tell it from an equal earlier one."""

    __slots__ = ("last",)

    def __init__(self, attributes: Mapping[str, AnyValue], start: int) -> None:
        super().__init__(attributes, start)
        self.last: tuple[int | float] | None = None

    def clear(self, start: int) -> None:
        """See `Series.clear`."""
        super().clear(start)
        self.last = None


class HistogramSeries(Series):
    """Explicit buckets. The count is the sum of the buckets, so that the two cannot disagree.

    Args:
        attributes: See `Series`.
        start: See `Series`.
        bounds: Upper bounds, ascending, inclusive.
    """

    __slots__ = ("bounds", "counts", "max", "min", "sum")

    def __init__(self, attributes: Mapping[str, AnyValue], start: int, bounds: tuple[float, ...]) -> None:
        super().__init__(attributes, start)
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: int | float = 0
        self.min: int | float = inf
        self.max: int | float = -inf

    def clear(self, start: int) -> None:
        """See `Series.clear`."""
        super().clear(start)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum, self.min, self.max = 0, inf, -inf

    def take(self) -> tuple[list[int], int | float, int | float, int | float]:
        """Read everything at one moment, and begin new extremes.

        Extremes cannot be subtracted, so they are handed over to the readers, each of which keeps its own.

        Returns:
            Bucket counts and sum since the beginning; minimum and maximum since the last call, infinite
            and the wrong way round where nothing was recorded.
        """
        # No call, and after the list itself no allocation (which could run a garbage collection, and with it
        # anybody's callback), from here to the last store: nothing can be recorded in between.
        row = [*self.counts, self.sum]
        low = self.min
        high = self.max
        self.min = inf
        self.max = _MINUS_INF
        return row[:-1], row[-1], low, high  # pyright: ignore[reportReturnType]
