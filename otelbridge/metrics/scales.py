"""The mathematics of exponential histograms: the bucket of a value, and how histograms are merged and subtracted.

Metrics data model, "ExponentialHistogram". The arithmetic of buckets is in `otelbridge.cells.exponential`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, frexp, inf, ldexp, log
from operator import sub
from typing import TYPE_CHECKING

from otelbridge.cells.exponential import (
    HEAD,
    LOWEST,
    MAX_SCALE,
    RANGES,
    ZEROS,
    Buckets,
    Distribution,
    coarser,
    joined,
    rolled,
    trimmed,
    unrolled,
)

if TYPE_CHECKING:
    from typing_extensions import Self

    from otelbridge.cells.book import Cell

_PER_E = ldexp(1 / log(2), MAX_SCALE)
_OCTAVE = (1 << MAX_SCALE) - 1


def finest_index(amount: int | float) -> int:
    """Give the bucket of a positive amount at the highest scale; shifted right by n, it is the one at a scale n lower.

    Between powers of two it is the nearest the logarithm comes to, which may be off by one as the data model allows; no
    value is ever on the wrong side of a power of two. The smallest normal double and everything below it share a
    bucket.
    """
    index = floor(log(amount) * _PER_E)
    # The logarithm is off by far less than a bucket, so only the buckets beside a power of two can be mistaken.
    if (index + 1) & _OCTAVE > 1 and index > LOWEST:
        return index
    fraction, exponent = frexp(amount)
    first = (exponent - 1) << MAX_SCALE
    found = first - 1 if fraction == 0.5 else min(max(index, first), first + _OCTAVE)  # noqa: PLR2004  # a power of two
    return max(found, LOWEST)


@dataclass(frozen=True)
class Exponential:
    """An exponential histogram at one moment."""

    scale: int
    """The scale; 0 where there are no buckets, as the SDK has it."""

    zero_count: int
    """How many measurements were exactly zero."""

    positive: Buckets
    """Buckets above zero, offset and counts; neither the first nor the last is empty, and (0, ()) is none."""

    negative: Buckets
    """Buckets below zero, by absolute value; likewise."""

    sum: int | float
    """The sum of all measurements."""

    min: int | float
    """The lowest; infinite where it is not known, or there is none."""

    max: int | float
    """The highest; minus infinity likewise."""

    count: int
    """How many measurements there were."""

    @classmethod
    def of(cls, distribution: Distribution, total: int | float, low: int | float, high: int | float) -> Self:
        """Make one of its buckets."""
        count = distribution.zero_count + sum(distribution.positive.counts) + sum(distribution.negative.counts)
        return cls(*distribution, total, low, high, count)

    @property
    def distribution(self) -> Distribution:
        """The buckets alone."""
        return Distribution(self.scale, self.zero_count, self.positive, self.negative)


def merge(a: Exponential, b: Exponential, max_size: int) -> Exponential:
    """Add two histograms. The counts are those of one that had recorded everything."""
    both = joined((a.distribution, b.distribution), max_size)
    return Exponential.of(both, a.sum + b.sum, min(a.min, b.min), max(a.max, b.max))


def subtract(now: Exponential, before: Exponential) -> Exponential:
    """Give what was recorded between two readings of one series.

    Extremes cannot be subtracted, so those of the result are unknown unless it is `now` itself. Who needs them keeps
    what `ExponentialSeries.take` hands over.

    Args:
        now: The later one.
        before: The earlier one, at the same scale or a higher one.

    Returns:
        The difference, at the scale of `now`. `now` itself where `before` was empty, or where there is less in `now`
        than there was, since the series began anew then.
    """
    change = before.scale - now.scale if before.positive.counts or before.negative.counts else 0
    if not before.count or change < 0:
        return now
    positive = _less(now.positive, coarser(before.positive, change))
    negative = _less(now.negative, coarser(before.negative, change))
    zeros = now.zero_count - before.zero_count
    if positive is None or negative is None or zeros < 0:
        return now
    scale = now.scale if positive.counts or negative.counts else 0
    return Exponential.of(Distribution(scale, zeros, positive, negative), now.sum - before.sum, inf, -inf)


def _less(now: Buckets, before: Buckets) -> Buckets | None:
    """Subtract; None if anything would be negative."""
    if not before.counts:
        return now
    first, stop = before.offset - now.offset, before.offset - now.offset + len(before.counts)
    if first < 0 or stop > len(now.counts):
        return None
    left = [*now.counts[:first], *map(sub, now.counts[first:stop], before.counts), *now.counts[stop:]]
    return None if min(left) < 0 else trimmed(Buckets(now.offset, tuple(left)))


class Side:
    """What a series counts in: the buckets above zero, those below, or the one of zeros.

    All of it stays as it is but for the content of `counts`.

    Args:
        shift: How much lower than the highest the scale is.
        start: First index of the range.
        stop: The one after its last.
        counts: The count of an index lies at its remainder; empty where there is no range yet.
    """

    __slots__ = ("cell", "counts", "counts_at", "range", "range_at", "shift", "size", "start", "stop")

    def __init__(self, shift: int, start: int, stop: int, counts: list[int]) -> None:
        self.shift = shift
        self.start = start
        self.stop = stop
        self.range = start, stop
        """The two, also while the side is `closed`."""
        self.counts = counts
        self.size = len(counts)
        self.cell: Cell | None = None
        """Where it is published, if anywhere."""
        self.counts_at = 0
        """Position of the counts in the memory of the cell."""
        self.range_at = 0
        """Position of the range, likewise."""

    def widened(self, start: int, stop: int) -> Side:
        """Give the same counts under another range."""
        side = Side(self.shift, start, stop, self.counts)
        side.cell, side.counts_at, side.range_at = self.cell, self.counts_at, self.range_at
        return side

    def closed(self) -> Side:
        """Give the same counts, in which no index is counted any longer."""
        side = self.widened(0, 0)
        side.range = self.range
        return side


Sides = tuple[Side, Side, Side]
"""Above zero, below zero, zero."""


def sides_of(buckets: Distribution, max_size: int, cell: Cell | None = None, area: int = 0) -> Sides:
    """Make what a series counts in.

    Args:
        buckets: What was counted until now; empty buckets at the ends of a side belong to its range.
        max_size: The most buckets a side may have.
        cell: Where it is published, if anywhere.
        area: Position of the valid area in the memory of the cell.
    """
    shift = MAX_SCALE - buckets.scale
    positive, negative = (
        Side(shift, side.offset, side.offset + len(side.counts), rolled(side, max_size)) for side in buckets[2:]
    )
    zero = Side(shift, 0, 1, [buckets.zero_count])
    positive.counts_at, negative.counts_at = area + HEAD, area + HEAD + max_size
    positive.range_at, negative.range_at = area + RANGES[0], area + RANGES[1]
    zero.counts_at = area + ZEROS
    positive.cell = negative.cell = zero.cell = cell
    return positive, negative, zero


def buckets_of(sides: Sides) -> Distribution:
    """Give what was counted; the inverse of `sides_of`."""
    positive, negative, zero = sides
    return Distribution(
        MAX_SCALE - positive.shift,
        zero.counts[0],
        unrolled(positive.counts, *positive.range),
        unrolled(negative.counts, *negative.range),
    )
