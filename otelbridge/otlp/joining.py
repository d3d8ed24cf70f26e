"""Streams that a receiver would take for one: their points are added up.

Source: metrics data model, "Single-Writer". Two versions of a program may measure one thing in two ways that differ in
nothing a receiver can tell: a view keeps other attributes, the values of processes are made one by another rule.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import Buckets as SdkBuckets
from opentelemetry.sdk.metrics.export import ExponentialHistogramDataPoint

from otelbridge.cells.exponential import Buckets, Distribution
from otelbridge.metrics.current import CurrentStream, HistogramReading, Reading
from otelbridge.metrics.identity import encode_attributes
from otelbridge.metrics.scales import Exponential, merge
from otelbridge.metrics.variants import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_LEAST = 2
"""Buckets that any two histograms fit into."""


def joined(streams: Iterable[CurrentStream]) -> list[CurrentStream]:
    """Make one stream of those that a receiver would take for one.

    Args:
        streams: The streams of a scope.

    Returns:
        The same ones, in their order, but for those that are alike.
    """
    alike: dict[object, list[CurrentStream]] = {}
    for stream in streams:
        key = (stream.name, stream.unit, stream.kind, stream.temporality, stream.monotonic)
        alike.setdefault(key, []).append(stream)
    found: list[CurrentStream] = []
    for group in alike.values():
        join = _JOIN.get(group[0].kind)
        found += group if len(group) == 1 or join is None else [_one(group, join)]
    return found


def _one(streams: Sequence[CurrentStream], join: Callable[[Any, Any], Any]) -> CurrentStream:
    points: dict[bytes, Any] = {}
    for stream in streams:
        for point in stream.points:
            code = encode_attributes(point.attributes or {})
            known = points.get(code)
            points[code] = point if known is None else join(known, point)
    whole = copy(streams[0])
    whole.points, whole.lasting = list(points.values()), False
    return whole


def _around(reading: Any, one: Any, two: Any) -> Any:
    reading.start_time_unix_nano = min(one.start_time_unix_nano or 0, two.start_time_unix_nano or 0)
    reading.time_unix_nano = max(one.time_unix_nano, two.time_unix_nano)
    reading.exemplars = [*one.exemplars, *two.exemplars]
    return reading


def _sums(one: Any, two: Any) -> Any:
    whole = Reading(one.attributes, None)
    whole.value = one.value + two.value
    return _around(whole, one, two)


def _lasts(one: Any, two: Any) -> Any:
    # Of one moment the first: what this process itself has stands before what only other processes have.
    return two if two.time_unix_nano > one.time_unix_nano else one


def _histograms(one: Any, two: Any) -> Any:
    whole = HistogramReading(one.attributes, None, one.explicit_bounds)
    whole.bucket_counts = [*one.bucket_counts]
    to = spread(two.explicit_bounds, one.explicit_bounds) or range(len(two.bucket_counts))
    for at, count in zip(to, two.bucket_counts, strict=True):
        whole.bucket_counts[at] += count
    whole.sum, whole.min, whole.max = one.sum + two.sum, min(one.min, two.min), max(one.max, two.max)
    return _around(whole, one, two)


def _exponentials(one: Any, two: Any) -> Any:
    size = max(_LEAST, *(len(side.bucket_counts) for each in (one, two) for side in (each.positive, each.negative)))
    whole = merge(_exponential(one), _exponential(two), size)
    start = min(one.start_time_unix_nano or 0, two.start_time_unix_nano or 0)
    return ExponentialHistogramDataPoint(
        attributes=one.attributes,
        start_time_unix_nano=start,
        time_unix_nano=max(one.time_unix_nano, two.time_unix_nano),
        count=whole.count,
        sum=whole.sum,
        scale=whole.scale,
        zero_count=whole.zero_count,
        positive=SdkBuckets(whole.positive.offset, list(whole.positive.counts)),
        negative=SdkBuckets(whole.negative.offset, list(whole.negative.counts)),
        flags=0,
        min=whole.min,
        max=whole.max,
        exemplars=[*one.exemplars, *two.exemplars],
    )


def _exponential(point: Any) -> Exponential:
    sides = (Buckets(side.offset, tuple(side.bucket_counts)) for side in (point.positive, point.negative))
    return Exponential.of(Distribution(point.scale, point.zero_count, *sides), point.sum, point.min, point.max)


_JOIN: dict[str, Callable[[Any, Any], Any]] = {
    "sum": _sums,
    "last": _lasts,
    "histogram": _histograms,
    "exponential": _exponentials,
}
