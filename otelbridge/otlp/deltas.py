"""Deltas of a whole group: what was counted since the totals a destination has acknowledged.

Source: metrics data model, "Temporality", "Resets and Gaps"; metrics SDK specification, "MetricReader".

- A point covers the time from the acknowledged totals to now.
- A series that has not changed is left out.
- A sum of what callbacks observe that went backwards began anew, so that the whole of it is new. The total of any
  other monotonic sum cannot fall; where a part of it is out of sight, nothing is sent until more is counted.
- Extremes are those of all time, and nobody can subtract them: deltas go without, as the protocol allows.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from operator import add, sub
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.sdk.metrics import ObservableCounter, ObservableUpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, ExponentialHistogramDataPoint
from opentelemetry.sdk.metrics.export import Buckets as SdkBuckets

from otelbridge.cells.exponential import Buckets, Distribution, coarser
from otelbridge.metrics.current import HistogramReading, Reading
from otelbridge.metrics.identity import encode_attributes
from otelbridge.metrics.scales import Exponential, subtract
from otelbridge.metrics.variants import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from otelbridge.metrics.current import CurrentStream

Seen = Any
"""The value of a series: a number; the sum and the counts of a histogram; of an exponential one scale, zeros, first
index and counts above zero, the same below, and the sum. Lists, texts and numbers alone, so that JSON can hold it."""

_OBSERVED = (ObservableCounter, ObservableUpDownCounter)


@dataclass
class Vector:
    """The totals of a group at one time."""

    time: int
    """When they were read, in nanoseconds since the epoch."""

    streams: dict[str, dict[str, Seen]] = field(default_factory=dict[str, dict[str, Seen]])
    """The values of each series by the key of its stream and the code of its attributes, as
    `otelbridge.metrics.identity` writes them."""

    bounds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """The bucket boundaries of histograms, by the key of the stream."""


class Change(NamedTuple):
    """What there is to send, and what will have been sent then."""

    streams: list[CurrentStream]
    """The streams: deltas of those a destination wants deltas of, totals of the others."""

    vector: Vector
    """The totals that the receiver has counted when all of it has arrived."""

    points: int
    """How many points are deltas."""


class Deltas:
    """Computes what was counted since. Not for several threads at once.

    Args:
        temporality: What the destination prefers, by class of instrument.
    """

    def __init__(self, temporality: Mapping[type, AggregationTemporality]) -> None:
        self._wanted = tuple(kind for kind, wanted in temporality.items() if wanted is AggregationTemporality.DELTA)
        self._codes: dict[int, tuple[Any, str]] = {}

    def since(self, before: Vector, streams: Iterable[CurrentStream]) -> Change:
        """Compare totals with those of before.

        Args:
            before: What the destination has acknowledged.
            streams: The totals now, as `otelbridge.metrics.current.Current` gives them.

        Returns:
            The change.
        """
        found: list[CurrentStream] = []
        # What is not shown now may be shown again: it was sent all the same.
        seen, bounds = dict(before.streams), dict(before.bounds)
        codes: dict[int, tuple[Any, str]] = {}
        points, now = 0, before.time
        for stream in streams:
            if not self._wants(stream):
                found.append(stream)
                continue
            key = stream.key.decode()
            known = seen[key] = dict(seen.get(key, {}))
            moved = False
            if stream.kind == "histogram":
                # Another process, which has other boundaries, may have sent what was before.
                moved = _move(known, bounds.get(key), stream.points[0].explicit_bounds)
                bounds[key] = [*stream.points[0].explicit_bounds]
            changed = self._changed(stream, known, before.time, codes, moved=moved)
            now = max(now, stream.points[0].time_unix_nano)
            if changed:
                points += len(changed)
                found.append(_with(stream, changed))
        self._codes = codes
        return Change(found, Vector(now, seen, bounds), points)

    def anew(self, streams: Iterable[CurrentStream]) -> Change:
        """Begin with totals as if all of them had been sent.

        Args:
            streams: See `since`.

        Returns:
            What is not sent as deltas, and the totals.
        """
        change = self.since(Vector(0), streams)
        totals = [stream for stream in change.streams if stream.temporality is AggregationTemporality.CUMULATIVE]
        return Change(totals, change.vector, 0)

    def _wants(self, stream: CurrentStream) -> bool:
        return bool(stream.key) and stream.kind in _SUBTRACT and isinstance(stream.instrument, self._wanted)

    def _changed(
        self,
        stream: CurrentStream,
        known: dict[str, Seen],
        since: int,
        codes: dict[int, tuple[Any, str]],
        *,
        moved: bool,
    ) -> list[Any]:
        read, counted, difference = _READ[stream.kind], _COUNTED[stream.kind], _SUBTRACT[stream.kind]
        if moved:
            difference = _moved_histogram
        observed = isinstance(stream.instrument, _OBSERVED)
        changed: list[Any] = []
        for point in stream.points:
            entry = self._codes.get(id(point.attributes))
            if entry is None or entry[0] is not point.attributes:
                entry = (point.attributes, encode_attributes(point.attributes).decode())
            codes[id(point.attributes)] = entry
            code = entry[1]
            before, now = known.get(code), read(point)
            if before is not None and counted(before) == counted(now):
                continue
            start = min(since, point.time_unix_nano)
            delta = difference(point, before, now, start, stream.monotonic, observed)
            if delta is not None:
                changed.append(delta)
            if delta is not None or before is not None:
                known[code] = now
        return changed


def _with(stream: CurrentStream, points: Sequence[Any]) -> CurrentStream:
    other = copy(stream)
    other.points, other.lasting = points, False
    other.temporality = AggregationTemporality.DELTA
    return other


def _number(point: Any, before: Seen, now: Seen, start: int, monotonic: bool, observed: bool) -> Reading | None:
    value = now if before is None else now - before
    if monotonic and value < 0:
        if not observed:
            return None
        value = now
    delta = Reading(point.attributes, start)
    delta.time_unix_nano = point.time_unix_nano
    delta.value = value
    delta.exemplars = point.exemplars
    return delta


def _move(known: dict[str, Seen], before: Sequence[float] | None, now: Sequence[float]) -> bool:
    """Put what was counted between some boundaries into the buckets of others; tell whether they are others."""
    to = None if before is None else spread(before, now)
    if to is None:
        return False
    for code, (total, *counts) in known.items():
        moved = [0] * (len(now) + 1)
        for at, count in zip(to, counts, strict=False):
            moved[at] += count
        known[code] = [total, *moved]
    return True


def _moved_histogram(
    point: Any, before: Seen, now: Seen, start: int, monotonic: bool, observed: bool
) -> HistogramReading | None:
    """Give the change of a histogram whose earlier counts lie in higher buckets than they would today."""
    if before is not None:
        # Up to a boundary that both have the change is exact, and up to another one it is no more than up to the next.
        change = list(accumulate(map(sub, now[1:], before[1:])))
        exact = [*accumulate(reversed(change), min)][::-1]
        steps = map(sub, exact, [0, *exact])
        now = [now[0], *map(add, before[1:], steps)]
    return _histogram(point, before, now, start, monotonic, observed)


def _histogram(
    point: Any, before: Seen, now: Seen, start: int, _monotonic: bool, _observed: bool
) -> HistogramReading | None:
    total, *counts = now
    if before is not None and len(before) == len(now):
        total -= before[0]
        counts = list(map(sub, counts, before[1:]))
    if min(counts) < 0 or not any(counts):
        return None
    delta = HistogramReading(point.attributes, start, point.explicit_bounds)
    delta.time_unix_nano = point.time_unix_nano
    delta.bucket_counts, delta.sum = counts, total
    delta.exemplars = point.exemplars
    return delta


def _exponential(
    point: Any, before: Seen, now: Seen, start: int, _monotonic: bool, _observed: bool
) -> ExponentialHistogramDataPoint | None:
    after = _as_exponential(now)
    known = None if before is None else _as_exponential(before)
    if known is not None and _has_buckets(known) and known.scale < after.scale:
        after = _coarser(after, known.scale)  # another process, with room for fewer buckets, has sent what was before
    change = after if known is None else subtract(after, known)
    # It gives the later one whole where there is less in it than there was.
    if not change.count or (known is not None and known.count and change is after):
        return None
    return ExponentialHistogramDataPoint(
        attributes=point.attributes,
        start_time_unix_nano=start,
        time_unix_nano=point.time_unix_nano,
        count=change.count,
        sum=change.sum,
        scale=change.scale,
        zero_count=change.zero_count,
        positive=SdkBuckets(change.positive.offset, list(change.positive.counts)),
        negative=SdkBuckets(change.negative.offset, list(change.negative.counts)),
        flags=0,
        min=inf,
        max=-inf,
        exemplars=point.exemplars,
    )


def _has_buckets(value: Exponential) -> bool:
    return bool(value.positive.counts or value.negative.counts)


def _coarser(value: Exponential, scale: int) -> Exponential:
    change = value.scale - scale
    sides = coarser(value.positive, change), coarser(value.negative, change)
    return Exponential.of(Distribution(scale, value.zero_count, *sides), value.sum, value.min, value.max)


def _as_exponential(seen: Seen) -> Exponential:
    scale, zeros, above, positive, below, negative, total = seen
    buckets = Distribution(scale, zeros, Buckets(above, tuple(positive)), Buckets(below, tuple(negative)))
    return Exponential.of(buckets, total, inf, -inf)


def _read_exponential(point: Any) -> Seen:
    above, below = point.positive, point.negative
    return [
        *(point.scale, point.zero_count, above.offset, [*above.bucket_counts], below.offset, [*below.bucket_counts]),
        point.sum,
    ]


_READ: dict[str, Callable[[Any], Seen]] = {
    "sum": lambda point: point.value,
    "histogram": lambda point: [point.sum, *point.bucket_counts],
    "exponential": _read_exponential,
}
# A sum without its count is half of a measurement, which another process is just storing: both go next time.
_COUNTED: dict[str, Callable[[Seen], Seen]] = {
    "sum": lambda seen: seen,
    "histogram": lambda seen: seen[1:],
    "exponential": lambda seen: seen[:-1],
}
_SUBTRACT: dict[str, Callable[..., Any]] = {
    "sum": _number,
    "histogram": _histogram,
    "exponential": _exponential,
}
