"""What a reader sees now, without the data points in between.

A data point of the SDK takes longer to make than a line of text takes to write. A reader of ours that renders or
encodes by itself is given readings instead: one object a series, kept from one time to the next, with the names a
data point has.
"""

from __future__ import annotations

from math import inf
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import Counter, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality

from otelbridge.metrics.observed import ObservedMatch
from otelbridge.metrics.readers import SharedMatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    from otelbridge.metrics.readers import Storage


class Reading:
    """A sum or a last value now. The names are those of the SDK's `NumberDataPoint`."""

    __slots__ = ("attributes", "exemplars", "start_time_unix_nano", "time_unix_nano", "value")

    def __init__(self, attributes: Any, start: int | None) -> None:
        self.attributes = attributes
        self.start_time_unix_nano = start
        self.time_unix_nano = 0
        self.value: int | float = 0
        self.exemplars: Sequence[Any] = ()


class HistogramReading:
    """A histogram now. The names are those of the SDK's `HistogramDataPoint`; ``min`` and ``max`` are lifetime ones."""

    __slots__ = (
        "attributes",
        "bucket_counts",
        "exemplars",
        "explicit_bounds",
        "max",
        "min",
        "start_time_unix_nano",
        "sum",
        "time_unix_nano",
    )

    def __init__(self, attributes: Any, start: int | None, bounds: tuple[float, ...]) -> None:
        self.attributes = attributes
        self.start_time_unix_nano = start
        self.time_unix_nano = 0
        self.explicit_bounds = bounds
        self.bucket_counts: list[int] = []
        self.sum: int | float = 0
        self.min: int | float = inf
        self.max: int | float = -inf
        self.exemplars: Sequence[Any] = ()

    @property
    def count(self) -> int:
        """How many measurements."""
        return sum(self.bucket_counts)


class CurrentStream:
    """One stream now."""

    __slots__ = ("description", "kind", "monotonic", "name", "points", "scope", "unit")

    def __init__(self, instrument: Any, match: Any, kind: str) -> None:
        self.scope: InstrumentationScope = instrument.instrumentation_scope
        self.name: str = match._name  # the SDK's match has no public name for it
        self.description: str = match._description or ""
        self.unit: str = instrument.unit or ""
        self.kind = kind
        """``sum``, ``last``, ``histogram`` or ``exponential``."""
        self.monotonic = kind == "sum" and isinstance(instrument, (Counter, ObservableCounter))
        self.points: Sequence[Any] = ()
        """Readings, or data points of the SDK."""


class Current:
    """Reads a storage again and again. Not for several threads at once."""

    def __init__(self) -> None:
        self._streams: dict[int, tuple[Any, CurrentStream]] = {}
        self._readings: dict[int, dict[int, tuple[Any, Any]]] = {}

    def read(self, storage: Storage) -> tuple[Resource, list[CurrentStream]]:
        """Read everything.

        Args:
            storage: What `MeterProvider.visit` gives.

        Returns:
            The resource, and the streams that have series. The readings in them hold until the next call.
        """
        now = time_ns()
        found: list[CurrentStream] = []
        for instrument, matches in storage.all_matches():
            for match in matches:
                _, stream = self._streams.get(id(match), (None, None))
                if stream is None:
                    stream = CurrentStream(instrument, match, _kind_of(match))
                    self._streams[id(match)] = (match, stream)
                stream.points = self._points(match, now)
                if stream.points:
                    found.append(stream)
        return storage.resource, found

    def _points(self, match: Any, now: int) -> Sequence[Any]:
        # By how series are kept: what a callback observes may be kept as a sum for a gauge, and the other way round.
        read = _READERS.get(match.stream.kind.name) if isinstance(match, (SharedMatch, ObservedMatch)) else None
        if read is None:
            return match.collect(AggregationTemporality.CUMULATIVE, now) or ()
        known = self._readings.setdefault(id(match), {})
        found = read(match, known, now)
        if len(known) > len(found):
            alive = {id(reading) for reading in found}
            self._readings[id(match)] = {key: entry for key, entry in known.items() if id(entry[1]) in alive}
        return found


def _kind_of(match: Any) -> str:
    names = {"Sum": "sum", "LastValue": "last", "ExplicitBucketHistogram": "histogram"}
    aggregation = type(match._aggregation).__name__.strip("_").removesuffix("Aggregation")
    return names.get(aggregation, "exponential" if aggregation == "ExponentialBucketHistogram" else "")


def _numbers(match: Any, known: dict[int, tuple[Any, Any]], now: int) -> list[Any]:
    start = match.start
    found: list[Any] = []
    for series in match.series():
        entry = known.get(id(series))
        reading = _meet(known, series, Reading(series.attributes, start)) if entry is None else entry[1]
        # A forgotten series that comes back begins anew.
        reading.start_time_unix_nano = series.start if start is None else start
        reading.value = series.value
        reading.time_unix_nano = now
        found.append(reading)
    return _with_exemplars(match, known, found)


def _lasts(match: Any, known: dict[int, tuple[Any, Any]], now: int) -> list[Any]:
    start = match.start
    found: list[Any] = []
    for series in match.series():
        last = series.last
        if last is None:  # it was bound, and nothing was recorded to it yet
            continue
        entry = known.get(id(series))
        reading = _meet(known, series, Reading(series.attributes, start)) if entry is None else entry[1]
        reading.start_time_unix_nano = series.start if start is None else start
        reading.value = last[0]
        reading.time_unix_nano = now
        found.append(reading)
    return _with_exemplars(match, known, found)


def _histograms(match: Any, known: dict[int, tuple[Any, Any]], now: int) -> list[Any]:
    start = match.start
    extremes = match.stream.kind.extremes
    found: list[Any] = []
    for series in match.series():
        entry = known.get(id(series))
        if entry is None:
            reading = _meet(known, series, HistogramReading(series.attributes, start, series.bounds))
        else:
            reading = entry[1]
        reading.start_time_unix_nano = series.start if start is None else start
        # In this order: what a reader of deltas takes is among the extremes of all time before it leaves the others.
        row = [*series.counts, series.sum, series.min, series.max, series.low, series.high]
        high, low, recent_high, recent_low = row.pop(), row.pop(), row.pop(), row.pop()
        if extremes:
            if recent_low <= low and high <= recent_high:  # always, where nobody takes deltas
                reading.min, reading.max = recent_low, recent_high
            else:
                reading.min, reading.max = min(low, recent_low), max(high, recent_high)
        reading.sum = row.pop()
        reading.bucket_counts = row
        reading.time_unix_nano = now
        found.append(reading)
    return _with_exemplars(match, known, found)


def _meet(known: dict[int, tuple[Any, Any]], series: Any, reading: Any) -> Any:
    known[id(series)] = (series, reading)
    return reading


def _with_exemplars(match: Any, known: dict[int, tuple[Any, Any]], found: list[Any]) -> list[Any]:
    if match.sampled:
        for series, reading in known.values():
            reading.exemplars = match.exemplars(series)
    return found


_READERS: dict[str, Callable[[Any, dict[int, tuple[Any, Any]], int], list[Any]]] = {
    "sum": _numbers,
    "last": _lasts,
    "histogram": _histograms,
}
