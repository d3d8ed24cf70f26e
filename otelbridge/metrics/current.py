"""What a reader sees now, without the data points in between.

A data point of the SDK takes longer to make than a line of text takes to write. A reader of ours that renders or
encodes by itself is given readings instead: one object a series, kept from one time to the next, with the names a
data point has.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import Counter, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality

from otelbridge.metrics.identity import key_of
from otelbridge.metrics.observed import ObservedMatch
from otelbridge.metrics.readers import SharedMatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    from otelbridge.metrics.foreign import Foreign
    from otelbridge.metrics.readers import Storage
    from otelbridge.metrics.streams import Sharing


@dataclass(slots=True, eq=False)
class Reading:
    """A sum or a last value now. The names are those of the SDK's `NumberDataPoint`."""

    attributes: Any
    start_time_unix_nano: int | None
    time_unix_nano: int = 0
    value: int | float = 0
    exemplars: Sequence[Any] = ()


@dataclass(slots=True, eq=False)
class HistogramReading:
    """A histogram now. The names are those of the SDK's `HistogramDataPoint`; ``min`` and ``max`` are lifetime ones."""

    attributes: Any
    start_time_unix_nano: int | None
    explicit_bounds: tuple[float, ...]
    time_unix_nano: int = 0
    bucket_counts: Sequence[int] = ()
    sum: int | float = 0
    min: int | float = inf
    max: int | float = -inf
    exemplars: Sequence[Any] = ()

    @property
    def count(self) -> int:
        """How many measurements."""
        return sum(self.bucket_counts)


@dataclass(slots=True, eq=False)
class SummaryReading:
    """A summary now, with the names OTLP has."""

    attributes: Any
    start_time_unix_nano: int | None
    time_unix_nano: int = 0
    count: int = 0
    sum: int | float = 0
    quantiles: Sequence[tuple[float, float]] = ()
    """Quantiles with their values."""
    exemplars: Sequence[Any] = ()


class CurrentStream:
    """One stream now."""

    __slots__ = (
        "created",
        "description",
        "foreign",
        "instrument",
        "key",
        "kind",
        "lasting",
        "monotonic",
        "name",
        "points",
        "scope",
        "temporality",
        "unit",
    )

    def __init__(self, instrument: Any, match: Any, kind: str) -> None:
        self.instrument = instrument
        """Whose stream it is."""
        sharing: Sharing | None = getattr(getattr(match, "stream", None), "sharing", None)
        self.key = b"" if sharing is None else key_of(sharing.identity)
        """The stream as all processes of the group know it; empty where it is this one's alone."""
        self.temporality = AggregationTemporality.CUMULATIVE
        """What the values of the points are: totals, unless somebody made deltas of them."""
        self.scope: InstrumentationScope = instrument.instrumentation_scope
        self.name: str = match._name  # the SDK's match has no public name for it
        self.description: str = match._description or ""
        self.unit: str = instrument.unit or ""
        self.foreign: Foreign | None = getattr(match, "foreign", None)
        """What another client calls it, where it comes from one."""
        self.kind = kind if self.foreign is None or self.foreign.type != "summary" else "summary"
        """``sum``, ``last``, ``histogram``, ``exponential`` or ``summary``."""
        self.monotonic = kind == "sum" and isinstance(instrument, (Counter, ObservableCounter))
        self.created = False
        """Whether the other client itself says since when its series count."""
        self.points: Sequence[Any] = ()
        """Readings, or data points of the SDK."""
        self.lasting = False
        """Whether ``points`` is the same list as before as long as it is of the same series."""


class Current:
    """Reads a storage again and again. Not for several threads at once.

    Args:
        keep_exemplars: Whether an exemplar stays until its series has a newer one. Otherwise each is given once, as the
            SDK does.
    """

    def __init__(self, *, keep_exemplars: bool = False) -> None:
        self._keep_exemplars = keep_exemplars
        self._streams: dict[int, tuple[Any, CurrentStream]] = {}
        self._readings: dict[int, _Kept] = {}

    def read(self, storage: Storage) -> tuple[Resource, list[CurrentStream]]:
        """Read everything.

        Returns:
            The resource, and the streams that have series. The readings in them hold until the next call.
        """
        now = time_ns()
        found: list[CurrentStream] = []
        alive: set[int] = set()
        for instrument, matches in storage.all_matches():
            for match in matches:
                alive.add(id(match))
                _, stream = self._streams.get(id(match), (None, None))
                if stream is None:
                    stream = CurrentStream(instrument, match, _kind_of(match))
                    self._streams[id(match)] = (match, stream)
                stream.points, stream.lasting = self._points(match, now)
                stream.created = getattr(match, "created", False)
                if stream.points:
                    found.append(stream)
        if len(self._streams) > len(alive):  # instruments may be removed
            self._streams = {key: known for key, known in self._streams.items() if key in alive}
            self._readings = {key: kept for key, kept in self._readings.items() if key in alive}
        return storage.resource, found

    def _points(self, match: Any, now: int) -> tuple[Sequence[Any], bool]:
        # By how series are kept: what a callback observes may be kept as a sum for a gauge, and the other way round.
        read = _READERS.get(_form_of(match)) if isinstance(match, (SharedMatch, ObservedMatch)) else None
        if read is None:
            return match.collect(AggregationTemporality.CUMULATIVE, now) or (), False
        kept = self._readings.get(id(match))
        if kept is None:
            kept = self._readings[id(match)] = _Kept(self._keep_exemplars)
        return read(match, kept, max(now, match.latest_start)), True


class _Kept:
    """The readings of a stream, series by series, from one time to the next."""

    __slots__ = ("keep_exemplars", "readings", "series", "start")

    def __init__(self, keep_exemplars: bool) -> None:
        self.keep_exemplars = keep_exemplars
        self.series: list[Any] = []
        self.readings: list[Any] = []
        self.start: int | None = None

    def align(self, series: list[Any], new: Callable[[Any], Any]) -> list[Any]:
        """Give the reading of each series in the same order: the same list as before while it is the same series."""
        if series != self.series:
            known = dict(zip(map(id, self.series), self.readings, strict=True))
            self.readings = [known.get(id(each)) or new(each) for each in series]
            self.series = series
        return self.readings


def _form_of(match: Any) -> str:
    foreign: Foreign | None = getattr(match, "foreign", None)
    return "summary" if foreign is not None and foreign.type == "summary" else match.stream.kind.name


def _kind_of(match: Any) -> str:
    names = {"Sum": "sum", "LastValue": "last", "ExplicitBucketHistogram": "histogram"}
    aggregation = type(match._aggregation).__name__.strip("_").removesuffix("Aggregation")
    return names.get(aggregation, "exponential" if aggregation == "ExponentialBucketHistogram" else "")


def _numbers(match: Any, kept: _Kept, now: int) -> list[Any]:
    start = match.start
    found = kept.align(match.series(), lambda each: Reading(each.attributes, start))
    try:
        # This loop is most of what reading costs, so it does what `SumSeries.value` does without the call.
        for series, reading in zip(kept.series, found, strict=True):
            reading.value = series.whole + series.part
            reading.time_unix_nano = now
    except OverflowError:
        for series, reading in zip(kept.series, found, strict=True):
            reading.value = series.value
            reading.time_unix_nano = now
    return _finished(match, kept, start)


def _lasts(match: Any, kept: _Kept, now: int) -> list[Any]:
    start = match.start
    # What was bound, and nothing was recorded to it yet, has no last value.
    lasts = [(series, last) for series in match.series() if (last := series.last) is not None]
    found = kept.align([series for series, _ in lasts], lambda each: Reading(each.attributes, start))
    for (_, last), reading in zip(lasts, found, strict=True):
        reading.value = last[0]
        reading.time_unix_nano = now
    return _finished(match, kept, start)


def _histograms(match: Any, kept: _Kept, now: int) -> list[Any]:
    start = match.start
    extremes = match.stream.kind.extremes
    found = kept.align(match.series(), lambda each: HistogramReading(each.attributes, start, each.bounds))
    for series, reading in zip(kept.series, found, strict=True):
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
    return _finished(match, kept, start)


def _summaries(match: Any, kept: _Kept, now: int) -> list[Any]:
    found = kept.align(match.series(), lambda each: SummaryReading(each.attributes, 0))
    for series, reading in zip(kept.series, found, strict=True):
        reading.start_time_unix_nano = series.start
        (reading.count,), reading.sum = series.counts, series.sum
        reading.quantiles = match.quantiles(series)
        reading.time_unix_nano = now
    return found


def _finished(match: Any, kept: _Kept, start: int | None) -> list[Any]:
    found = kept.readings
    if start is None:  # a forgotten series that comes back begins anew
        for series, reading in zip(kept.series, found, strict=True):
            reading.start_time_unix_nano = series.start
    elif start != kept.start:
        for reading in found:
            reading.start_time_unix_nano = start
    kept.start = start
    if match.sampled:
        for series, reading in zip(kept.series, found, strict=True):
            fresh = match.exemplars(series)
            if fresh or not kept.keep_exemplars:
                reading.exemplars = fresh
    return found


_READERS: dict[str, Callable[[Any, _Kept, int], list[Any]]] = {
    "sum": _numbers,
    "last": _lasts,
    "histogram": _histograms,
    "summary": _summaries,
}
