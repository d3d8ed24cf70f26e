"""Exponential histograms as rows of 64-bit slots: their layout, and the arithmetic of their buckets.

The buckets are those of the metrics data model ("ExponentialHistogram"): at a scale, the bucket `index` holds what lies
in (base**index, base**(index + 1)], where base = 2**(2**-scale). One scale lower, the buckets 2i and 2i + 1 are the
bucket i, so histograms of different scales are merged without error at the lower one.

A row belongs to one process, which writes it with 8-byte stores. Others read it at any time, also after the process was
killed between any two stores. It has a version and two areas, of which the one at ``version & 1`` is valid:

| slot | content |
| --- | --- |
| 0 | version: how many times the valid area changed |
| 1 | area 0: scale |
| 2 | zero count |
| 3, 4 | positive range: its first index, and the one after its last |
| 5, 6 | negative range, likewise |
| 7 ... | counts of the positive range, `max_size` slots |
| | counts of the negative range, `max_size` slots |
| 7 + 2 `max_size` ... | area 1, the same |

The count of `index` lies at ``index % max_size``. A range is never wider than `max_size`, so no two indexes meet there,
and a range grows at either end by one store. One more measurement is one store too. What takes more than one (a lower
scale, the first measurement of a side) is prepared in the area that is not valid, and becomes valid by the store of the
version. So after each single store the row holds a histogram that was true at some time.

A reader looks at the version before and after it copies the row, and copies again when it changed: an area is written
anew only on the way to the version after the next. That is rare, since there are 31 scales and a series has each once
at most. Slots that were never written, all zero, are an empty histogram.
"""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MIN_SCALE: Final = -10
"""The lowest scale in use: two buckets hold every double there is."""

MAX_SCALE: Final = 20
"""The highest scale in use: the index of every double fits into 32 bits."""

HEAD: Final = 6
"""Slots of an area before its counts."""

ZEROS: Final = 1
"""Position of the zero count in an area."""

RANGES: Final = (2, 4)
"""Position of the positive and of the negative range in an area."""

LOWEST: Final = (-1022 << MAX_SCALE) - 1
"""Index at the highest scale of the lowest bucket in use, which takes the smallest normal double and all below it."""

HIGHEST: Final = (1024 << MAX_SCALE) - 1
"""Index at the highest scale of the largest double."""


class Buckets(NamedTuple):
    """Consecutive buckets of one side."""

    offset: int
    """Index of the first."""

    counts: tuple[int, ...]
    """What each holds."""


class Distribution(NamedTuple):
    """What a row says."""

    scale: int
    """The scale; 0 where there are no buckets."""

    zero_count: int
    """How many measurements were zero."""

    positive: Buckets
    """Those above zero; neither the first nor the last bucket is empty."""

    negative: Buckets
    """Those below zero, by their absolute value; likewise."""


EMPTY: Final = Buckets(0, ())
"""A side without measurements."""


def row_length(max_size: int) -> int:
    """Give the number of slots in a row whose sides have at most so many buckets."""
    return 1 + 2 * (HEAD + 2 * max_size)


def area_start(version: int, max_size: int) -> int:
    """Give the position in a row of the area that is valid at a version."""
    return 1 + (version & 1) * (HEAD + 2 * max_size)


def _max_size(row: Sequence[int]) -> int:
    return (len(row) - row_length(0)) // 4


def excess(first: int, last: int, max_size: int) -> int:
    """Tell by how much the scale must fall until a range of indexes fits.

    Args:
        first: The lowest index.
        last: The highest.
        max_size: How many buckets there may be, at least 2: one never holds both sides of the index 0.
    """
    change = 0
    while (last >> change) - (first >> change) >= max_size:
        change += 1
    return change


def coarser(buckets: Buckets, change: int) -> Buckets:
    """Give the same counts at a scale that is lower by `change`."""
    offset, counts = buckets
    if not counts or not change:
        return buckets
    width = 1 << change
    odd = -offset % width
    found = [sum(counts[:odd])] if odd else []
    found += [sum(counts[at : at + width]) for at in range(odd, len(counts), width)]
    return Buckets(offset >> change, tuple(found))


def wider(buckets: Buckets, index: int) -> Buckets:
    """Give the same counts, with empty buckets added up to an index."""
    offset, counts = buckets
    if not counts:
        return Buckets(index, (0,))
    if index < offset:
        return Buckets(index, (0,) * (offset - index) + counts)
    return Buckets(offset, counts + (0,) * (index + 1 - offset - len(counts)))


def trimmed(buckets: Buckets) -> Buckets:
    """Give the same counts without empty buckets at the ends."""
    offset, counts = buckets
    first, last = 0, len(counts)
    while first < last and not counts[first]:
        first += 1
    while first < last and not counts[last - 1]:
        last -= 1
    return Buckets(offset + first, counts[first:last]) if first < last else EMPTY


def unrolled(ring: Sequence[int], start: int, stop: int) -> Buckets:
    """Take the range from `start` up to `stop` out of slots in which an index has its place by its remainder."""
    if start >= stop:
        return EMPTY
    first = start % len(ring)
    beyond = first + stop - start - len(ring)
    return Buckets(start, (*ring[first : first + stop - start], *ring[: max(beyond, 0)]))


def rolled(buckets: Buckets, size: int) -> list[int]:
    """Give the `size` slots of which `unrolled` makes the buckets; none where there are no buckets."""
    offset, counts = buckets
    if not counts:
        return []
    padded = [*counts, *(0,) * (size - len(counts))]
    turn = -offset % size
    return padded[turn:] + padded[:turn]


def joined(parts: Iterable[Distribution], max_size: int) -> Distribution:
    """Add distributions, at the highest scale that all with buckets have, and at which the sum fits."""
    parts = list(parts)
    filled = [part for part in parts if part.positive.counts or part.negative.counts]
    zeros = sum(part.zero_count for part in parts)
    if not filled:
        return Distribution(0, zeros, EMPTY, EMPTY)
    scale = min(part.scale for part in filled)
    sides = (
        [coarser(part.positive, part.scale - scale) for part in filled],
        [coarser(part.negative, part.scale - scale) for part in filled],
    )
    change = max(_excess_of(side, max_size) for side in sides)
    positive, negative = (_added([coarser(each, change) for each in side if each.counts]) for side in sides)
    return Distribution(scale - change, zeros, positive, negative)


def _excess_of(side: list[Buckets], max_size: int) -> int:
    first = min((offset for offset, counts in side if counts), default=0)
    stop = max((offset + len(counts) for offset, counts in side if counts), default=1)
    return excess(first, stop - 1, max_size)


def _added(side: list[Buckets]) -> Buckets:
    if len(side) < 2:  # noqa: PLR2004  # nothing to add
        return side[0] if side else EMPTY
    first = min(offset for offset, _ in side)
    total = [0] * (max(offset + len(counts) for offset, counts in side) - first)
    for offset, counts in side:
        place = slice(offset - first, offset - first + len(counts))
        total[place] = map(add, total[place], counts)
    return Buckets(first, tuple(total))


def area_of(distribution: Distribution, max_size: int) -> list[int]:
    """Give the slots of an area; empty buckets at the ends of a side belong to its range."""
    scale, zeros, positive, negative = distribution
    blank = [0] * max_size
    return [
        scale,
        zeros,
        *(positive.offset, positive.offset + len(positive.counts)),
        *(negative.offset, negative.offset + len(negative.counts)),
        *(rolled(positive, max_size) or blank),
        *(rolled(negative, max_size) or blank),
    ]


def read_row(row: Sequence[int]) -> Distribution:
    """Read a row.

    Returns:
        What it says. Nothing for a row that no series can have written, which takes damage to the file.
    """
    max_size = _max_size(row)
    area = area_start(row[0], max_size)
    counts = area + HEAD
    scale, zeros = row[area], row[area + ZEROS]
    positive, negative = (
        _read_side(scale, row[area + limits : area + limits + 2], row[at : at + max_size])
        for limits, at in zip(RANGES, (counts, counts + max_size), strict=True)
    )
    if positive is None or negative is None or zeros < 0:
        return Distribution(0, 0, EMPTY, EMPTY)
    return Distribution(scale if positive.counts or negative.counts else 0, zeros, positive, negative)


def _read_side(scale: int, limits: Sequence[int], ring: Sequence[int]) -> Buckets | None:
    start, stop = limits
    if start == stop:
        return EMPTY
    shift = MAX_SCALE - scale
    possible = 0 <= shift <= MAX_SCALE - MIN_SCALE and LOWEST >> shift <= start < stop <= (HIGHEST >> shift) + 1
    if not possible or stop - start > len(ring) or min(ring) < 0:
        return None
    return trimmed(unrolled(ring, start, stop))


def merge_rows(rows: list[list[int]]) -> list[int]:
    """Make one row of several that are equally long; area 0 of it is valid."""
    max_size = _max_size(rows[0])
    row = [0, *area_of(joined(map(read_row, rows), max_size), max_size)]
    return row + [0] * (len(rows[0]) - len(row))
