"""What each reader keeps of its own: which streams it reads, what it has seen, and in what temporality.

The SDK's own storage does what does not lie on the recording path: view selection, callbacks of
observable instruments of a process that is alone, aggregations of the user's making. The streams of
`otelbridge.metrics.streams` stand in it in the place of the SDK's for the rest.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from math import inf
from time import time_ns
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter, UpDownCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
)

from otelbridge.metrics._sdk import (
    Gauge,
    MetricReaderStorage,
    ViewInstrumentMatch,
    clean_attributes,
    kind_of,
    reservoir_of,
)
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
    from otelbridge.metrics.kinds import Kind
    from otelbridge.metrics.limits import Limit, Limits
    from otelbridge.metrics.observed import ObservedStream
    from otelbridge.metrics.quota import Quota
    from otelbridge.metrics.secrets import Hide
    from otelbridge.metrics.series import HistogramSeries, LastSeries, Series, SumSeries
    from otelbridge.metrics.streams import Stream

_MAX_GHOSTS = 2000
"""Forgotten series of a stream whose last delta may wait to be read."""

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
        delta: Whether the reader wants deltas of it.
    """

    def __init__(
        self, view: View, instrument: Any, aggregations: Any, stream: Stream, *, merged: bool, delta: bool
    ) -> None:
        super().__init__(view, instrument, aggregations)
        self.stream = stream
        self._merged = merged
        self._delta = delta
        self._ghosts: dict[Series, None] = {}
        stream.matches.append(self)
        self._extremes: dict[Series, tuple[float, float]] = {}
        self._seen: dict[Series, Any] = {}
        self._collected: int | None = None
        self._reservoirs: dict[Series, Any] = {}

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
        """Give this reader's points.

        Args:
            collection_aggregation_temporality: What the reader wants.
            collection_start_nanos: Time of the collection, in nanoseconds since the epoch.

        Returns:
            Data points; None when there are none.
        """
        collector = _COLLECTORS[self.stream.kind.name]
        now = max(collection_start_nanos, self.latest_start)
        if self._collected is not None:
            self._collected = min(self._collected, now)
        delta = collection_aggregation_temporality is AggregationTemporality.DELTA
        ghosts = list(self._ghosts) if delta else []
        found = [collector(self, series, delta, now) for series in (*self.series(), *ghosts)]
        self._collected = now
        self._finish(ghosts)
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

    def exemplars(self, series: Series) -> Sequence[Any]:
        """Give the exemplars this reader has for a series."""
        return self._exemplars(series)

    @property
    def behind(self) -> bool:
        """Whether the reader has so much of forgotten series left to read that it takes no more."""
        return len(self._ghosts) >= _MAX_GHOSTS

    def part(self, series: Series, ghost: Series) -> None:
        """Learn that a series is forgotten: what it has counted is in another now, whose last delta is due."""
        self._rename(series, ghost)
        if self._delta:
            self._ghosts[ghost] = None

    def take_back(self, series: Series, ghost: Series) -> None:
        """Learn that a series is not forgotten after all; see `part`."""
        self._rename(ghost, series)
        self._ghosts.pop(ghost, None)

    def go_on(self, series: Series, before: Series) -> None:
        """Learn that a series begins with what was counted, and read, before."""
        if self._delta:
            self._seen[series] = _SEEN[self.stream.kind.name](before)

    def begin(self, series: Series) -> None:
        """Learn that a forgotten series is there again: what may become an exemplar of it is of before."""
        # What else there was about it went with what it had counted, see `part`.
        self._reservoirs.pop(series, None)

    def release(self, series: Series) -> None:
        """Keep nothing about a series, unless there is something left to read."""
        if series not in self._ghosts:
            for about in (self._seen, self._extremes, self._reservoirs):
                about.pop(series, None)

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._ghosts.clear()
        self._seen.clear()
        self._reservoirs.clear()
        self._extremes.clear()
        self._collected = None

    def _rename(self, old: Series, new: Series) -> None:
        kept: tuple[dict[Series, Any], ...] = (self._seen, self._extremes, self._reservoirs)
        for about in kept:
            known = about.pop(old, None)
            if known is not None:
                about[new] = known

    def _finish(self, ghosts: Sequence[Series]) -> None:
        for ghost in ghosts:
            self._ghosts.pop(ghost, None)
            for match in self.stream.matches:
                match.release(ghost)

    def _start(self, series: Series, delta: bool) -> int:
        sharing = self.stream.sharing
        if self._merged and sharing is not None:
            return sharing.processes.started
        # A series that began since the last collection has its own beginning.
        if not delta or self._collected is None:
            return series.start
        return max(series.start, self._collected)

    def _exemplars(self, series: Series) -> Sequence[Any]:
        if not self._reservoirs:
            return []
        own = self.stream.origin(series) if self._merged else series
        reservoir = None if own is None else self._reservoirs.get(own)
        return [] if reservoir is None else [self._shown(each) for each in reservoir.collect(series.attributes)]

    def _shown(self, exemplar: Any) -> Any:
        # It has what a view leaves out of the series.
        given = exemplar.filtered_attributes
        return replace(exemplar, filtered_attributes=self.stream.hide(clean_attributes(given))) if given else exemplar

    def _sum(self, series: SumSeries, delta: bool, now: int) -> NumberDataPoint | None:
        value = series.value
        if delta:
            total, value = value, value - self._seen.get(series, 0)
            if value < 0 and isinstance(self._instrument, _MONOTONIC):
                value = total  # a counter of another client that was reset
            known = series in self._seen
            self._seen[series] = total
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
        if last is None or (delta and self._seen.get(series) is last):
            return None
        if delta:
            self._seen[series] = last
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
        low, high = self._extremes.get(series, (inf, -inf))
        if delta:
            before = self._seen.get(series)
            self._seen[series] = (counts, total)
            if before is not None:
                counts = [now_ - then for now_, then in zip(counts, before[0], strict=True)]
                total -= before[1]
            self._extremes.pop(series, None)
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
        low, high = self._extremes.get(series, (inf, -inf))
        if delta:
            before = self._seen.get(series)
            self._seen[series] = value
            if before is not None:
                value = subtract(value, before)
            self._extremes.pop(series, None)
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
        known_low, known_high = self._extremes.get(series, (inf, -inf))
        self._extremes[series] = (min(low, known_low), max(high, known_high))


_SEEN: dict[str, Callable[[Any], Any]] = {
    "sum": lambda series: series.value,
    "last": lambda series: series.last,
    "histogram": lambda series: ([*series.counts], series.sum),
    "exponential": lambda series: series.snapshot(),
}

_COLLECTORS: dict[str, Callable[..., Any]] = {
    "sum": SharedMatch._sum,  # pyright: ignore[reportPrivateUsage]
    "last": SharedMatch._last,  # pyright: ignore[reportPrivateUsage]
    "histogram": SharedMatch._histogram,  # pyright: ignore[reportPrivateUsage]
    "exponential": SharedMatch._exponential,  # pyright: ignore[reportPrivateUsage]
}


class MakeMatch(Protocol):
    """Makes the match of a stream that is not selected by views."""

    def __call__(self, instrument: Any, aggregations: Any, /, *, merged: bool, delta: bool) -> SharedMatch:
        """Make it; see `SharedMatch`."""
        ...


class Streams(Protocol):
    """Gives the streams that readers share."""

    def share(self, instrument: Any, view: View, kind: Kind, limit: Limit) -> Stream:
        """Give the stream of a synchronous instrument."""
        ...

    def observe(self, instrument: Any, view: View, kind: Kind, limit: Limit) -> ObservedStream:
        """Give the stream of an observable instrument."""
        ...

    @property
    def held(self) -> Quota:
        """How many attribute sets all streams may keep apart together."""
        ...

    @property
    def hide(self) -> Hide:
        """Hides what may not be shown of an attribute set."""
        ...


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
        streams: Streams,
        *,
        merged: bool,
    ) -> None:
        super().__init__(configuration, temporality, aggregations)
        self._limits = limits
        self._streams = streams
        self._adopted: set[Any] = set()
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

    def adopt(self, makers: Mapping[Any, MakeMatch]) -> None:
        """Read streams that come from elsewhere, and those that were adopted before no longer.

        Args:
            makers: What makes the match of each, by the instrument that stands for it.
        """
        with self._lock:
            matches = self._instrument_view_instrument_matches
            for instrument in self._adopted - makers.keys():
                for match in matches.pop(instrument):
                    match.stream.matches.remove(match)
            for instrument, make in makers.items():
                if instrument not in matches:
                    temporality = self._instrument_class_temporality[instrument.__class__]
                    delta = temporality is AggregationTemporality.DELTA
                    aggregations = self._instrument_class_aggregation
                    matches[instrument] = [make(instrument, aggregations, merged=self.merged, delta=delta)]
            self._adopted = set(makers)

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

    def forget(self, instrument: Any) -> None:
        """Read an instrument no longer."""
        with self._lock:
            self._unname(self._instrument_view_instrument_matches.pop(instrument, []))

    def create_match(self, view: View, instrument: Any) -> Any:
        """Make the match of a view and an instrument: shared where the kind of aggregation allows it."""
        aggregations = self._instrument_class_aggregation
        kind = kind_of(ViewInstrumentMatch(view, instrument, aggregations))
        limit = self._limits.of(view, instrument)
        if kind is not None and isinstance(instrument, SYNCHRONOUS):
            stream = self._streams.share(instrument, view, kind, limit)
            delta = self._instrument_class_temporality[instrument.__class__] is AggregationTemporality.DELTA
            return SharedMatch(view, instrument, aggregations, stream, merged=self.merged, delta=delta)
        if kind is not None and self.merged and kind.name in ("sum", "last"):
            stream = self._streams.observe(instrument, view, kind, limit)
            return ObservedMatch(view, instrument, aggregations, stream, gauge=kind.name == "last")
        return LimitedMatch(view, instrument, aggregations, limit.sets, self._streams.held, self._streams.hide)
