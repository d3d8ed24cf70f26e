"""What a reader of deltas has been given, so that it is given each count once."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from otelbridge.metrics.series import Series

_MAX_OWED = 2000
"""Hidden series of a stream whose last delta may wait to be read."""


class Reads:
    """The reads of one reader: each is under way until it is committed. One that an exception ended never is."""

    def __init__(self) -> None:
        self.begun = 0
        """How many were begun."""
        self.committed = 0
        """Number of the last one that came to its end."""

    def begin(self) -> None:
        """Begin one."""
        self.begun += 1

    def commit(self) -> None:
        """End it: all that it has given, of every stream, counts as given. This is one store."""
        self.committed = self.begun


class DeltaCheckpoint:
    """The totals of a stream's series at the last read of one reader."""

    def __init__(self, reads: Reads) -> None:
        self.read_at: int | None = None
        """When the last read was, in nanoseconds since the epoch; None before the first."""
        self._reads = reads
        self._totals: WeakKeyDictionary[Series, Any] = WeakKeyDictionary()
        self._extremes: WeakKeyDictionary[Series, tuple[float, float]] = WeakKeyDictionary()
        self._hidden: dict[Series, None] = {}
        # Of the read under way, or of the last one until the next begins.
        self._number = 0
        self._now = 0
        self._due: dict[Series, None] = {}
        self._given: dict[Series, Any] = {}

    @property
    def behind(self) -> bool:
        """Whether so many hidden series are left to be read that there may be no more."""
        unread = self._due if self._number > self._reads.committed else ()
        return len(self._hidden) + len(unread) >= _MAX_OWED

    def keep(self, series: Series) -> None:
        """Keep a series that is being hidden until its last delta is read."""
        self._hidden[series] = None

    def extend(self, series: Series, low: float, high: float) -> None:
        """Note the minimum and maximum of what was recorded since the last read; maybe more than once."""
        self._settle()  # or else it would go with what the last read has given
        known_low, known_high = self.extremes(series)
        self._extremes[series] = (min(low, known_low), max(high, known_high))

    def extremes(self, series: Series) -> tuple[float, float]:
        """Give minimum and maximum since the last read; infinite and the wrong way round where nothing was recorded."""
        return self._extremes.get(series, (inf, -inf))

    def begin(self, now: int) -> list[Series]:
        """Begin a read, and give the series that were hidden since the last one."""
        self._settle()
        if self.read_at is not None:
            self.read_at = min(self.read_at, now)  # after the clock was set back
        # What is hidden from here on goes into the new one.
        hidden = self._hidden
        self._hidden = {}
        self._due = {**self._due, **hidden}
        self._number = self._reads.begun
        self._now, self._given = now, {}
        return list(self._due)

    def since(self, series: Series, total: Any) -> Any:
        """Give the total of a series at the last read, and note the one the next read is given.

        Returns:
            The total before; None where it was never read, and inherited nothing.
        """
        self._given[series] = total
        return self._totals.get(series, series.inherited)

    def _settle(self) -> None:
        """Put down what the last read has given, if it came to its end."""
        if self._number > self._reads.committed:
            return
        self.read_at = self._now or None
        self._totals.update(self._given)
        for series in self._given:
            self._extremes.pop(series, None)
        self._due, self._given = {}, {}
