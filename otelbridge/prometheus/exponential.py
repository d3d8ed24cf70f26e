"""Exponential histograms: folded into classic buckets, merged, or made native ones.

A bucket with index ``i`` at scale ``s`` holds what lies above ``2**(i * 2**-s)``, up to and including
``2**((i + 1) * 2**-s)``; OpenTelemetry specification, "Metrics Data Model", section "ExponentialHistogram".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import ExponentialHistogramDataPoint

if TYPE_CHECKING:
    from collections.abc import Iterable

HIGHEST_SCHEMA = 8
"""The finest buckets of Prometheus' native histograms."""

LOWEST_SCHEMA = -4
"""The coarsest buckets of Prometheus' native histograms."""


@dataclass(slots=True)
class Exponential:
    """An exponential histogram with the populated buckets only."""

    scale: int
    """How fine the buckets are: ``2**scale`` of them between a power of two and the next."""

    positive: dict[int, int]
    """Counts by the index of the bucket, for values above zero."""

    negative: dict[int, int]
    """The same for values below zero, by their amount."""

    zero_count: int
    """How many values were (nearly) zero."""

    sum: int | float
    """Sum of all values."""

    zero_threshold: float = 0.0
    """How far from zero the values of `zero_count` may be."""

    start_time_unix_nano: int = 0
    """Since when, in nanoseconds since the epoch; 0 where nobody knows."""

    exemplars: list[Any] = field(default_factory=list[Any])
    """Exemplars of the SDK."""

    @property
    def count(self) -> int:
        """How many values there were: the sum of all buckets, so that the two cannot disagree."""
        return sum(self.positive.values()) + sum(self.negative.values()) + self.zero_count

    @classmethod
    def of(cls, point: Any) -> Exponential:
        """Read a data point of the SDK.

        Args:
            point: An `ExponentialHistogramDataPoint`, or what was made of one already.

        Returns:
            The same, with the populated buckets only.
        """
        if isinstance(point, Exponential):
            return point
        return cls(
            scale=point.scale,
            positive=_populated(point.positive),
            negative=_populated(point.negative),
            zero_count=point.zero_count,
            sum=point.sum,
            zero_threshold=getattr(point, "zero_threshold", 0.0),
            start_time_unix_nano=point.start_time_unix_nano or 0,
            exemplars=list(point.exemplars or ()),
        )

    def at_scale(self, scale: int) -> Exponential:
        """Make the buckets coarser.

        Args:
            scale: The new scale, not above the present one.

        Returns:
            The same values in buckets of that scale.
        """
        shift = self.scale - scale
        return Exponential(
            scale=scale,
            positive=_coarser(self.positive.items(), shift),
            negative=_coarser(self.negative.items(), shift),
            zero_count=self.zero_count,
            sum=self.sum,
            zero_threshold=self.zero_threshold,
            start_time_unix_nano=self.start_time_unix_nano,
            exemplars=self.exemplars,
        )

    def __add__(self, other: Exponential) -> Exponential:
        """Put the values of two histograms into one, at the coarser of the two scales."""
        scale = min(self.scale, other.scale)
        one, two = self.at_scale(scale), other.at_scale(scale)
        return Exponential(
            scale=scale,
            positive=_coarser((*one.positive.items(), *two.positive.items()), 0),
            negative=_coarser((*one.negative.items(), *two.negative.items()), 0),
            zero_count=one.zero_count + two.zero_count,
            sum=one.sum + two.sum,
            zero_threshold=max(one.zero_threshold, two.zero_threshold),
            start_time_unix_nano=min(one.start_time_unix_nano, two.start_time_unix_nano),
            exemplars=[*one.exemplars, *two.exemplars],
        )

    def fold(self) -> tuple[list[float], list[int]]:
        """Give classic buckets: one for each populated one, and the rest in one above all bounds.

        Returns:
            Upper bounds, ascending, and the counts, which are one more.
        """
        bounds: list[float] = []
        counts: list[int] = []
        carried = 0
        for bound, count in self._ascending():
            carried += count
            if not isfinite(bound):  # no float lies there; what is said to counts with the next bucket
                continue
            if bounds and bounds[-1] == bound:  # near the smallest floats, neighbours can be equal
                counts[-1] += carried
            else:
                bounds.append(bound)
                counts.append(carried)
            carried = 0
        return bounds, [*counts, carried]

    def _ascending(self) -> Iterable[tuple[float, int]]:
        for index in sorted(self.negative, reverse=True):
            yield -_bound(index, self.scale) + 0.0, self.negative[index]  # plus zero, so that it is not minus zero
        if self.zero_count:
            yield self.zero_threshold, self.zero_count
        for index in sorted(self.positive):
            yield _bound(index + 1, self.scale), self.positive[index]


def is_exponential(point: object) -> bool:
    """Tell an exponential histogram from one with explicit bounds."""
    return isinstance(point, _EXPONENTIAL)


def spans(buckets: dict[int, int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Lay out buckets as native histograms do.

    Args:
        buckets: Counts by index, as OpenTelemetry counts: by the lower bound.

    Returns:
        Spans, each with its distance from the one before (the first one from zero; Prometheus counts by the
        upper bound) and its length; and the counts, each as the difference from the one before.
    """
    found: list[tuple[int, int]] = []
    deltas: list[int] = []
    following: int | None = None
    before = 0
    for index in sorted(buckets):
        at = index + 1
        if following is not None and at == following:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((at - (following or 0), 1))
        following = at + 1
        deltas.append(buckets[index] - before)
        before = buckets[index]
    return found, deltas


_EXPONENTIAL = (ExponentialHistogramDataPoint, Exponential)


def _populated(buckets: Any) -> dict[int, int]:
    return {at: int(count) for at, count in enumerate(buckets.bucket_counts, buckets.offset) if count}


def _coarser(items: Iterable[tuple[int, int]], shift: int) -> dict[int, int]:
    found: dict[int, int] = {}
    for index, count in items:
        found[index >> shift] = found.get(index >> shift, 0) + count
    return found


def _bound(index: int, scale: int) -> float:
    try:
        return float(2.0 ** (index * 2.0**-scale))
    except OverflowError:
        return inf
