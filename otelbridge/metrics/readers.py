"""What each reader keeps of its own: which streams it reads, what it has seen, and in what temporality.

The SDK's own storage does what does not lie on the recording path: view selection, callbacks of
observable instruments, exponential histograms and aggregations of the user's making. The streams of
`otelbridge.metrics.streams` stand in it in the place of the SDK's for the rest.
"""

from __future__ import annotations

import threading
from math import inf
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import Counter, Histogram, UpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, HistogramDataPoint, NumberDataPoint

from otelbridge.diagnostics import warn_once
from otelbridge.metrics._sdk import (
    Gauge,
    MetricReaderStorage,
    ViewInstrumentMatch,
    attribute_key,
    create_aggregation,
    kind_of,
    reservoir_of,
    view_keys,
)
from otelbridge.metrics.streams import OVERFLOW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.util.types import Attributes

    from otelbridge.metrics.series import HistogramSeries, LastSeries, Series, SumSeries
    from otelbridge.metrics.streams import Stream

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1

_OVERFLOW_KEY = attribute_key(OVERFLOW)

SYNCHRONOUS = (Counter, UpDownCounter, Histogram, Gauge)


class SharedMatch(ViewInstrumentMatch):
    """A shared stream as one reader sees it.

    Args:
        view: The view that selected the instrument.
        instrument: The instrument.
        aggregations: The reader's preferred aggregations.
        stream: The stream.
    """

    def __init__(self, view: View, instrument: Any, aggregations: Any, stream: Stream) -> None:
        super().__init__(view, instrument, aggregations)
        self.stream = stream
        stream.matches.append(self)
        self._extremes: dict[int, tuple[float, float]] = {}
        self._seen: dict[int, Any] = {}
        self._collected: int | None = None
        self._reservoirs: dict[int, Any] = {}

    def consume_measurement(self, measurement: Any, should_sample_exemplar: bool = True) -> None:
        """Do nothing: instruments write to the stream directly."""

    def offer(self, amount: float, attributes: Attributes, context: Context, series: Series) -> None:
        """Take a measurement that may become an exemplar for this reader."""
        reservoir = self._reservoirs.get(id(series))
        if reservoir is None:
            reservoir = self._reservoirs.setdefault(id(series), reservoir_of(self))
        reservoir.offer(amount, time_ns(), attributes or {}, context)

    def collect(
        self, collection_aggregation_temporality: AggregationTemporality, collection_start_nanos: int
    ) -> Sequence[Any] | None:
        """Give this reader's points.

        Args:
            collection_aggregation_temporality: What the reader wants.
            collection_start_nanos: Time of the collection, in nanoseconds since the epoch.

        Returns:
            Data points; None when there are none.
        """
        collector = _COLLECTORS[self.stream.kind.name]
        now = collection_start_nanos
        delta = collection_aggregation_temporality is AggregationTemporality.DELTA
        found = [collector(self, series, delta, now) for series in self.stream.all()]
        self._collected = now
        return [point for point in found if point is not None] or None

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._seen.clear()
        self._reservoirs.clear()
        self._extremes.clear()
        self._collected = None

    def _start(self, series: Series, delta: bool) -> int:
        # A series that began since the last collection has its own beginning.
        if not delta or self._collected is None:
            return series.start
        return max(series.start, self._collected)

    def _exemplars(self, series: Series) -> Sequence[Any]:
        reservoir = self._reservoirs.get(id(series))
        return [] if reservoir is None else reservoir.collect(series.attributes)

    def _sum(self, series: SumSeries, delta: bool, now: int) -> NumberDataPoint | None:
        value = series.value
        if delta:
            total, value = value, value - self._seen.get(id(series), 0)
            known = id(series) in self._seen
            self._seen[id(series)] = total
            if known and value == 0:
                return None
        return NumberDataPoint(
            attributes=series.attributes,
            start_time_unix_nano=self._start(series, delta),
            time_unix_nano=now,
            value=_transportable(value),
            exemplars=self._exemplars(series),
        )

    def _last(self, series: LastSeries, delta: bool, now: int) -> NumberDataPoint | None:
        last = series.last
        if last is None or (delta and self._seen.get(id(series)) is last):
            return None
        self._seen[id(series)] = last
        return NumberDataPoint(
            attributes=series.attributes,
            start_time_unix_nano=None,  # pyright: ignore[reportArgumentType]  # as the SDK's gauges have it
            time_unix_nano=now,
            value=_transportable(last[0]),
            exemplars=self._exemplars(series),
        )

    def _histogram(self, series: HistogramSeries, delta: bool, now: int) -> HistogramDataPoint | None:
        counts, total, low, high = series.take()
        if low <= high:
            for match in self.stream.matches:
                match._extend(series, low, high)
        low, high = self._extremes.get(id(series), (inf, -inf))
        if delta:
            before = self._seen.get(id(series))
            self._seen[id(series)] = (counts, total)
            if before is not None:
                counts = [now_ - then for now_, then in zip(counts, before[0], strict=True)]
                total -= before[1]
            self._extremes.pop(id(series), None)
        count = sum(counts)
        if delta and count == 0:
            return None
        extremes = self.stream.kind.extremes
        return HistogramDataPoint(
            attributes=series.attributes,
            start_time_unix_nano=self._start(series, delta),
            time_unix_nano=now,
            count=count,
            sum=total,
            bucket_counts=tuple(counts),
            explicit_bounds=series.bounds,
            min=low if extremes else inf,
            max=high if extremes else -inf,
            exemplars=self._exemplars(series),
        )

    def _extend(self, series: HistogramSeries, low: float, high: float) -> None:
        known_low, known_high = self._extremes.get(id(series), (inf, -inf))
        self._extremes[id(series)] = (min(low, known_low), max(high, known_high))


_COLLECTORS: dict[str, Callable[..., Any]] = {
    "sum": SharedMatch._sum,  # pyright: ignore[reportPrivateUsage]
    "last": SharedMatch._last,  # pyright: ignore[reportPrivateUsage]
    "histogram": SharedMatch._histogram,  # pyright: ignore[reportPrivateUsage]
}


def _transportable(value: int | float) -> int | float:
    # OTLP's integers have 64 bits; one larger would make the whole export fail.
    return value if isinstance(value, float) or _INT64_MIN <= value <= _INT64_MAX else float(value)


class LimitedMatch(ViewInstrumentMatch):
    """A stream the SDK aggregates, within the cardinality limit."""

    def __init__(self, view: View, instrument: Any, aggregations: Any, limit: int) -> None:
        super().__init__(view, instrument, aggregations)
        self._limit = limit

    def consume_measurement(self, measurement: Any, should_sample_exemplar: bool = True) -> None:
        """Aggregate a measurement; over the limit under the attributes of the overflow."""
        if len(self._attributes_aggregation) < self._limit or self._knows(measurement):
            super().consume_measurement(measurement, should_sample_exemplar)
            return
        with self._lock:
            overflow = self._attributes_aggregation.get(_OVERFLOW_KEY)
            if overflow is None:
                # Not by the SDK, whose filter of the view would take the overflow's own attribute away.
                overflow = self._attributes_aggregation[_OVERFLOW_KEY] = create_aggregation(self, OVERFLOW)
        overflow.aggregate(measurement, should_sample_exemplar)

    def collect(
        self, collection_aggregation_temporality: AggregationTemporality, collection_start_nanos: int
    ) -> Sequence[Any] | None:
        """Give the reader's points; what the SDK's aggregation cannot merge costs this stream alone."""
        try:
            return super().collect(collection_aggregation_temporality, collection_start_nanos)
        except Exception as error:  # the SDK's exponential histogram fails on some scales
            warn_once((self._name, "collect"), "Collecting %s raised %r; it is left out this time.", self._name, error)
            return None

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._lock = threading.Lock()
        self._attributes_aggregation.clear()

    def _knows(self, measurement: Any) -> bool:
        keep = view_keys(self._view)
        attributes: dict[str, Any] = dict(measurement.attributes or {})
        kept = attributes if keep is None else {key: value for key, value in attributes.items() if key in keep}
        return attribute_key(kept) in self._attributes_aggregation


class Storage(MetricReaderStorage):
    """What one reader reads.

    Args:
        configuration: The SDK's configuration: resource, views, exemplar filter.
        temporality: The reader's temporality by instrument class.
        aggregations: The reader's preferred aggregations by instrument class.
        limit: Cardinality limit of a stream.
        share: Gives the stream of an instrument, view and kind, shared with the other readers.
    """

    def __init__(
        self, configuration: Any, temporality: Any, aggregations: Any, limit: int, share: Callable[..., Stream]
    ) -> None:
        super().__init__(configuration, temporality, aggregations)
        self._limit = limit
        self._share = share

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._lock = threading.RLock()
        for matches in self._instrument_view_instrument_matches.values():
            for match in matches:
                match.after_fork()

    def matches(self, instrument: Any) -> list[Any]:
        """Give the matches of an instrument, making them the first time."""
        return self._get_or_init_view_instrument_match(instrument)

    def create_match(self, view: View, instrument: Any) -> Any:
        """Make the match of a view and an instrument: shared where the kind of aggregation allows it."""
        aggregations = self._instrument_class_aggregation
        kind = kind_of(ViewInstrumentMatch(view, instrument, aggregations))
        if kind is None or not isinstance(instrument, SYNCHRONOUS):
            return LimitedMatch(view, instrument, aggregations, self._limit)
        return SharedMatch(view, instrument, aggregations, self._share(instrument, view, kind))
