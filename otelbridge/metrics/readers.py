"""What each reader keeps of its own: which streams it reads, what it has seen, and in what temporality.

The SDK's own storage does what does not lie on the recording path: view selection, callbacks of
observable instruments of a process that is alone, aggregations of the user's making. The streams of
`otelbridge.metrics.streams` stand in it in the place of the SDK's for the rest.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import inf
from time import time_ns
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter, UpDownCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
)

from otelbridge.concurrency import forks
from otelbridge.metrics._sdk import (
    Gauge,
    MetricReaderStorage,
    ViewInstrumentMatch,
    clean_attributes,
    default_view,
    kind_of,
    reservoir_of,
)
from otelbridge.metrics.deltas import DeltaCheckpoint, Reads
from otelbridge.metrics.limited import LimitedMatch
from otelbridge.metrics.observed import ObservedMatch
from otelbridge.metrics.points import transportable
from otelbridge.metrics.scales import subtract

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.util.types import Attributes

    from otelbridge.metrics.exponential import ExponentialSeries
    from otelbridge.metrics.limits import Limits
    from otelbridge.metrics.registry import StreamRegistry
    from otelbridge.metrics.series import HistogramSeries, LastSeries, Series, SumSeries
    from otelbridge.metrics.streams import Stream

_MONOTONIC = (Counter, ObservableCounter)
SYNCHRONOUS = (Counter, UpDownCounter, Histogram, Gauge)


class SharedMatch(ViewInstrumentMatch):
    """A shared stream as one reader sees it.

    Args:
        view: The view that selected the instrument.
        instrument: The instrument.
        aggregations: The reader's preferred aggregations.
        stream: The stream.
        merged: Whether the reader is given the values of all processes together.
        reads: The reads of the reader, where it wants deltas of the stream; else None.
    """

    def __init__(
        self, view: View, instrument: Any, aggregations: Any, stream: Stream, *, merged: bool, reads: Reads | None
    ) -> None:
        super().__init__(view, instrument, aggregations)
        self.stream = stream
        self._merged = merged
        self._reads = reads
        self._checkpoint = None if reads is None else DeltaCheckpoint(reads)
        self._reservoirs: WeakKeyDictionary[Series, Any] = WeakKeyDictionary()
        stream.matches.append(self)

    def consume_measurement(self, measurement: Any, should_sample_exemplar: bool = True) -> None:
        """Do nothing: instruments write to the stream directly."""

    def offer(self, amount: float, attributes: Attributes, context: Context, series: Series) -> None:
        """Take a measurement that may become an exemplar for this reader."""
        reservoir = self._reservoirs.get(series)
        if reservoir is None:
            reservoir = self._reservoirs.setdefault(series, reservoir_of(self))
        reservoir.offer(amount, time_ns(), attributes or {}, context)

    def collect(
        self, collection_aggregation_temporality: AggregationTemporality, collection_start_nanos: int
    ) -> Sequence[Any] | None:
        """Give this reader's points; None when there are none."""
        del collection_aggregation_temporality  # known since the match was made
        point_of = _POINTS[self.stream.kind.name]
        now = max(collection_start_nanos, self.latest_start)
        checkpoint = self._checkpoint
        # In this order: what is hidden in between is among the former.
        shown = self.series()
        hidden = () if checkpoint is None else checkpoint.begin(now)
        found = [point_of(self, series, checkpoint, now) for series in dict.fromkeys((*shown, *hidden))]
        return [point for point in found if point is not None] or None

    def series(self) -> list[Any]:
        """Give the series this reader sees now."""
        return self.stream.merged() if self._merged else self.stream.all()

    @property
    def start(self) -> int | None:
        """When the series of all processes began; None where each has a beginning of its own."""
        return self.stream.sharing.processes.started if self._merged and self.stream.sharing is not None else None

    @property
    def latest_start(self) -> int:
        """When the youngest of its series began, or all together: no point may end before that."""
        return self.start or self.stream.latest_start

    @property
    def sampled(self) -> bool:
        """Whether there may be exemplars."""
        return bool(self._reservoirs)

    @property
    def behind(self) -> bool:
        """Whether the reader has so much of hidden series left to read that it takes no more."""
        return self._checkpoint is not None and self._checkpoint.behind

    def part(self, series: Series) -> None:
        """Learn that a series is being hidden: its last delta is due, and its exemplars go."""
        self._reservoirs.pop(series, None)
        if self._checkpoint is not None:
            self._checkpoint.keep(series)

    def extend(self, series: Series, low: float, high: float) -> None:
        """Learn of the minimum and maximum of what was recorded since a reader of deltas last asked."""
        if self._checkpoint is not None:
            self._checkpoint.extend(series, low, high)

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._reservoirs.clear()
        self._checkpoint = None if self._reads is None else DeltaCheckpoint(self._reads)

    def exemplars(self, series: Series) -> Sequence[Any]:
        """Give the exemplars this reader has for a series."""
        if not self._reservoirs:
            return []
        own = self.stream.origin(series) if self._merged else series
        reservoir = None if own is None else self._reservoirs.get(own)
        return [] if reservoir is None else [self._shown(each) for each in reservoir.collect(series.attributes)]

    def _shown(self, exemplar: Any) -> Any:
        # It has what a view leaves out of the series.
        given = exemplar.filtered_attributes
        return replace(exemplar, filtered_attributes=self.stream.hide(clean_attributes(given))) if given else exemplar

    def _start(self, series: Series, checkpoint: DeltaCheckpoint | None) -> int:
        if self.start is not None:
            return self.start
        # A series that began since the last collection has its own beginning.
        read_at = None if checkpoint is None else checkpoint.read_at
        return series.start if read_at is None else max(series.start, read_at)

    def _sum(self, series: SumSeries, checkpoint: DeltaCheckpoint | None, now: int) -> NumberDataPoint | None:
        value = series.value
        if checkpoint is not None:
            before = checkpoint.since(series, value)
            total, value = value, value - (before or 0)
            if value < 0 and isinstance(self._instrument, _MONOTONIC):
                value = total  # a counter of another client that was reset
            if before is not None and value == 0:
                return None
        return NumberDataPoint(
            attributes=series.attributes,
            start_time_unix_nano=self._start(series, checkpoint),
            time_unix_nano=now,
            value=transportable(value),
            exemplars=self.exemplars(series),
        )

    def _last(self, series: LastSeries, checkpoint: DeltaCheckpoint | None, now: int) -> NumberDataPoint | None:
        last = series.last
        if last is None or (checkpoint is not None and checkpoint.since(series, last) is last):
            return None
        return NumberDataPoint(
            attributes=series.attributes,
            start_time_unix_nano=None,  # pyright: ignore[reportArgumentType]  # as the SDK's gauges have it
            time_unix_nano=now,
            value=transportable(last[0]),
            exemplars=self.exemplars(series),
        )

    def _histogram(
        self, series: HistogramSeries, checkpoint: DeltaCheckpoint | None, now: int
    ) -> HistogramDataPoint | None:
        counts: list[int]
        if checkpoint is None:
            counts, total, low, high = series.snapshot()
        else:
            counts, total = series.take(partial(self._tell, series))
            low, high = checkpoint.extremes(series)
            before = checkpoint.since(series, (counts, total))
            if before is not None:
                counts = [now_ - then for now_, then in zip(counts, before[0], strict=True)]
                total -= before[1]
        count = sum(counts)
        if checkpoint is not None and count == 0:
            return None
        extremes = self.stream.kind.extremes
        return HistogramDataPoint(
            attributes=series.attributes,
            start_time_unix_nano=self._start(series, checkpoint),
            time_unix_nano=now,
            count=count,
            sum=total,
            bucket_counts=tuple(counts),
            explicit_bounds=series.bounds,
            min=low if extremes else inf,
            max=high if extremes else -inf,
            exemplars=self.exemplars(series),
        )

    def _exponential(
        self, series: ExponentialSeries, checkpoint: DeltaCheckpoint | None, now: int
    ) -> ExponentialHistogramDataPoint | None:
        if checkpoint is None:
            value = series.snapshot()
            low, high = value.min, value.max
        else:
            value = series.take(partial(self._tell, series))
            low, high = checkpoint.extremes(series)
            before = checkpoint.since(series, value)
            if before is not None:
                value = subtract(value, before)
        if checkpoint is not None and value.count == 0:
            return None
        extremes = self.stream.kind.extremes
        return ExponentialHistogramDataPoint(
            attributes=series.attributes,
            exemplars=self.exemplars(series),
            start_time_unix_nano=self._start(series, checkpoint),
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

    def _tell(self, series: Series, low: float, high: float) -> None:
        for match in self.stream.matches:
            match.extend(series, low, high)


_POINTS: dict[str, Callable[..., Any]] = {
    "sum": SharedMatch._sum,  # pyright: ignore[reportPrivateUsage]
    "last": SharedMatch._last,  # pyright: ignore[reportPrivateUsage]
    "histogram": SharedMatch._histogram,  # pyright: ignore[reportPrivateUsage]
    "exponential": SharedMatch._exponential,  # pyright: ignore[reportPrivateUsage]
}


class Storage(MetricReaderStorage):
    """What one reader reads.

    Args:
        configuration: The SDK's configuration: resource, views, exemplar filter.
        temporality: The reader's temporality by instrument class.
        aggregations: The reader's preferred aggregations by instrument class.
        limits: How many attribute sets each stream keeps apart.
        streams: Gives the streams shared with the other readers.
        merged: Whether the reader is given the values of all processes together.
    """

    def __init__(
        self,
        configuration: Any,
        temporality: Any,
        aggregations: Any,
        limits: Limits,
        streams: StreamRegistry,
        *,
        merged: bool,
    ) -> None:
        super().__init__(configuration, temporality, aggregations)
        self._lock = forks.lock()
        self._limits = limits
        self._streams = streams
        self._reads = Reads()
        self._adopted: dict[object, set[Any]] = {}
        self.merged = merged

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        for matches in self._instrument_view_instrument_matches.values():
            for match in matches:
                match.after_fork()

    def collect(self) -> Any:
        """Give everything; an exception leaves all of it to the next call."""
        self._reads.begin()
        data = super().collect()
        self._reads.commit()
        return data

    def matches(self, instrument: Any) -> list[Any]:
        """Give the matches of an instrument, making them the first time."""
        return self._get_or_init_view_instrument_match(instrument)

    def adopt(self, source: object, makers: Mapping[Any, Callable[..., SharedMatch]]) -> None:
        """Read streams that come from elsewhere, and those that were adopted before no longer.

        Args:
            source: Where they come from.
            makers: What makes the match of each, by the instrument that stands for it.
        """
        with self._lock:
            matches = self._instrument_view_instrument_matches
            for instrument in self._adopted.get(source, set()) - makers.keys():
                for match in matches.pop(instrument, ()):
                    if isinstance(match, SharedMatch):
                        match.stream.matches.remove(match)
            self._adopted[source] = set(makers)
            for instrument, make in makers.items():
                if instrument not in matches:
                    aggregations, reads = self._instrument_class_aggregation, self._reads_of(instrument)
                    matches[instrument] = [make(instrument, aggregations, merged=self.merged, reads=reads)]

    def release(self) -> None:
        """Read what comes from elsewhere no longer."""
        for source in list(self._adopted):
            self.adopt(source, {})

    def preference(self, instrument: Any) -> tuple[str, int]:
        """Tell what the reader makes of an instrument that no view selects.

        Returns:
            The name of its kind of aggregation, and how many attribute sets are kept apart where that is its own.
        """
        view = default_view()
        kind = kind_of(ViewInstrumentMatch(view, instrument, self._instrument_class_aggregation))
        return ("" if kind is None else kind.name), self._limits.of(view, instrument).apart

    def tidy(self) -> None:
        """Drop what was not observed for long, so that there is room for what is observed now."""
        for match in self.limited():
            match.forget()

    def limited(self) -> list[LimitedMatch]:
        """Give the matches whose streams the SDK aggregates."""
        matches = [match for _, matches in self.all_matches() for match in matches]
        return [match for match in matches if isinstance(match, LimitedMatch)]

    def all_matches(self) -> list[tuple[Any, list[Any]]]:
        """Give every instrument that is read, with its matches."""
        with self._lock:
            return list(self._instrument_view_instrument_matches.items())

    @property
    def resource(self) -> Resource:
        """Whose measurements these are."""
        return self._sdk_config.resource

    def create_match(self, view: View, instrument: Any) -> Any:
        """Make the match of a view and an instrument: shared where the kind of aggregation allows it."""
        aggregations = self._instrument_class_aggregation
        kind = kind_of(ViewInstrumentMatch(view, instrument, aggregations))
        limit = self._limits.of(view, instrument)
        if kind is not None and isinstance(instrument, SYNCHRONOUS):
            stream, reads = self._streams.share(instrument, view, kind, limit), self._reads_of(instrument)
            return SharedMatch(view, instrument, aggregations, stream, merged=self.merged, reads=reads)
        if kind is not None and self.merged and kind.name in ("sum", "last"):
            stream = self._streams.observe(instrument, view, kind, limit)
            return ObservedMatch(view, instrument, aggregations, stream, gauge=kind.name == "last")
        return LimitedMatch(view, instrument, aggregations, limit.sets, self._streams.held, self._streams.hide_of(view))

    def _reads_of(self, instrument: Any) -> Reads | None:
        delta = self._instrument_class_temporality[instrument.__class__] is AggregationTemporality.DELTA
        return self._reads if delta else None
