"""What each reader keeps of its own: which streams it reads, what it has seen, and in what temporality.

The SDK's own storage does what does not lie on the recording path: view selection, callbacks of
observable instruments, exponential histograms and aggregations of the user's making. The streams of
`otelbridge.metrics.streams` stand in it in the place of the SDK's for the rest.
"""

from __future__ import annotations

import threading
from math import inf
from time import time_ns
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.sdk.metrics import Counter, Histogram, UpDownCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
)

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
from otelbridge.metrics.observed import ObservedMatch
from otelbridge.metrics.points import transportable
from otelbridge.metrics.scales import subtract
from otelbridge.metrics.streams import OVERFLOW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.util.types import Attributes

    from otelbridge.metrics.exponential import ExponentialSeries
    from otelbridge.metrics.kinds import Kind
    from otelbridge.metrics.observed import ObservedStream
    from otelbridge.metrics.series import HistogramSeries, LastSeries, Series, SumSeries
    from otelbridge.metrics.streams import Stream

_OVERFLOW_KEY = attribute_key(OVERFLOW)

SYNCHRONOUS = (Counter, UpDownCounter, Histogram, Gauge)


class SharedMatch(ViewInstrumentMatch):
    """A shared stream as one reader sees it.

    Args:
        view: The view that selected the instrument.
        instrument: The instrument.
        aggregations: The reader's preferred aggregations.
        stream: The stream.
        merged: Whether the reader is given the values of all processes together.
    """

    def __init__(self, view: View, instrument: Any, aggregations: Any, stream: Stream, *, merged: bool) -> None:
        super().__init__(view, instrument, aggregations)
        self.stream = stream
        self._merged = merged
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
        listed = self.stream.merged() if self._merged else self.stream.all()
        found = [collector(self, series, delta, now) for series in listed]
        self._collected = now
        return [point for point in found if point is not None] or None

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._seen.clear()
        self._reservoirs.clear()
        self._extremes.clear()
        self._collected = None

    def _start(self, series: Series, delta: bool) -> int:
        sharing = self.stream.sharing
        if self._merged and sharing is not None:
            return sharing.processes.started
        # A series that began since the last collection has its own beginning.
        if not delta or self._collected is None:
            return series.start
        return max(series.start, self._collected)

    def _exemplars(self, series: Series) -> Sequence[Any]:
        reservoir = self._reservoirs.get(id(self.stream.origin(series)))
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
            value=transportable(value),
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
            value=transportable(last[0]),
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

    def _exponential(self, series: ExponentialSeries, delta: bool, now: int) -> ExponentialHistogramDataPoint | None:
        value, low, high = series.take()
        if low <= high:
            for match in self.stream.matches:
                match._extend(series, low, high)
        low, high = self._extremes.get(id(series), (inf, -inf))
        if delta:
            before = self._seen.get(id(series))
            self._seen[id(series)] = value
            if before is not None:
                value = subtract(value, before)
            self._extremes.pop(id(series), None)
        if delta and value.count == 0:
            return None
        extremes = self.stream.kind.extremes
        return ExponentialHistogramDataPoint(
            attributes=series.attributes,
            exemplars=self._exemplars(series),
            start_time_unix_nano=self._start(series, delta),
            time_unix_nano=now,
            count=value.count,
            sum=value.sum,
            scale=value.scale,
            zero_count=value.zero_count,
            positive=Buckets(value.positive.offset, list(value.positive.counts)),
            negative=Buckets(value.negative.offset, list(value.negative.counts)),
            flags=0,
            min=low if extremes else inf,
            max=high if extremes else -inf,
        )

    def _extend(self, series: Series, low: float, high: float) -> None:
        known_low, known_high = self._extremes.get(id(series), (inf, -inf))
        self._extremes[id(series)] = (min(low, known_low), max(high, known_high))


_COLLECTORS: dict[str, Callable[..., Any]] = {
    "sum": SharedMatch._sum,  # pyright: ignore[reportPrivateUsage]
    "last": SharedMatch._last,  # pyright: ignore[reportPrivateUsage]
    "histogram": SharedMatch._histogram,  # pyright: ignore[reportPrivateUsage]
    "exponential": SharedMatch._exponential,  # pyright: ignore[reportPrivateUsage]
}


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


class Streams(Protocol):
    """Gives the streams that readers share."""

    def share(self, instrument: Any, view: View, kind: Kind, limit: int) -> Stream:
        """Give the stream of a synchronous instrument."""
        ...

    def observe(self, instrument: Any, view: View, kind: Kind, limit: int) -> ObservedStream:
        """Give the stream of an observable instrument."""
        ...


class Storage(MetricReaderStorage):
    """What one reader reads.

    Args:
        configuration: The SDK's configuration: resource, views, exemplar filter.
        temporality: The reader's temporality by instrument class.
        aggregations: The reader's preferred aggregations by instrument class.
        limit: Cardinality limit of a stream.
        streams: Gives the streams shared with the other readers.
        merged: Whether the reader is given the values of all processes together.
    """

    def __init__(
        self,
        configuration: Any,
        temporality: Any,
        aggregations: Any,
        limit: int,
        streams: Streams,
        *,
        merged: bool,
    ) -> None:
        super().__init__(configuration, temporality, aggregations)
        self._limit = limit
        self._streams = streams
        self.merged = merged

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._lock = threading.RLock()
        for matches in self._instrument_view_instrument_matches.values():
            for match in matches:
                match.after_fork()

    def matches(self, instrument: Any) -> list[Any]:
        """Give the matches of an instrument, making them the first time."""
        return self._get_or_init_view_instrument_match(instrument)

    def forget(self, instrument: Any) -> None:
        """Read an instrument no longer."""
        with self._lock:
            self._instrument_view_instrument_matches.pop(instrument, None)

    def create_match(self, view: View, instrument: Any) -> Any:
        """Make the match of a view and an instrument: shared where the kind of aggregation allows it."""
        aggregations = self._instrument_class_aggregation
        kind = kind_of(ViewInstrumentMatch(view, instrument, aggregations))
        if kind is not None and isinstance(instrument, SYNCHRONOUS):
            stream = self._streams.share(instrument, view, kind, self._limit)
            return SharedMatch(view, instrument, aggregations, stream, merged=self.merged)
        if kind is not None and self.merged and kind.name in ("sum", "last"):
            stream = self._streams.observe(instrument, view, kind, self._limit)
            return ObservedMatch(view, instrument, aggregations, stream, gauge=kind.name == "last")
        return LimitedMatch(view, instrument, aggregations, self._limit)
