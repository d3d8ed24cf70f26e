"""Rows of exponential histograms: what is written is read, and rows are merged without an error in any bucket."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otelbridge.cells.exponential import (
    EMPTY,
    HIGHEST,
    LOWEST,
    MAX_SCALE,
    MIN_SCALE,
    Buckets,
    Distribution,
    area_of,
    area_start,
    coarser,
    excess,
    joined,
    merge_rows,
    read_row,
    rolled,
    row_length,
    trimmed,
    unrolled,
    wider,
)

SIZES = st.sampled_from([2, 3, 7, 20, 160])


def side(scale: int, max_size: int):
    """Buckets a series can have at a scale."""
    shift = MAX_SCALE - scale
    low, high = LOWEST >> shift, HIGHEST >> shift
    width = st.integers(1, min(max_size, high - low + 1))
    filled = width.flatmap(
        lambda size: st.builds(
            lambda offset, counts, first, last: trimmed(Buckets(offset, (first, *counts, last)[-size:])),
            st.integers(low, high + 1 - size),
            st.lists(st.integers(0, 5), min_size=size, max_size=size),
            st.integers(1, 2**40),
            st.integers(1, 9),
        )
    )
    return st.just(EMPTY) | filled


@st.composite
def distributions(draw, max_size: int):
    scale = draw(st.integers(MIN_SCALE, MAX_SCALE))
    positive, negative = draw(side(scale, max_size)), draw(side(scale, max_size))
    if not positive.counts and not negative.counts:
        scale = 0
    return Distribution(scale, draw(st.integers(0, 2**40)), positive, negative)


def row_of(distribution: Distribution, max_size: int, version: int = 0, rest: int = 0) -> list[int]:
    row = [rest] * row_length(max_size)
    row[0] = version
    area = area_of(distribution, max_size)
    at = area_start(version, max_size)
    row[at : at + len(area)] = area
    return row


def at_scale(buckets: Buckets, scale: int, lower: int) -> Counter[int]:
    """Count by index at a lower scale, one by one."""
    found: Counter[int] = Counter()
    for index, count in enumerate(buckets.counts, buckets.offset):
        found[index >> (scale - lower)] += count
    return +found


@given(st.data(), SIZES, st.integers(0, 9), st.sampled_from([0, 1, -1, 2**62]))
def test_a_row_is_read_as_it_was_written(data, max_size, version, rest) -> None:
    distribution = data.draw(distributions(max_size))
    row = row_of(distribution, max_size, version, rest)
    assert len(row) == row_length(max_size)
    assert read_row(row) == distribution


@given(SIZES)
def test_slots_that_were_never_written_are_an_empty_histogram(max_size) -> None:
    blank = [0] * row_length(max_size)
    assert read_row(blank) == Distribution(0, 0, EMPTY, EMPTY)
    assert merge_rows([blank, blank]) == blank


@given(st.data(), SIZES, st.integers(0, 3))
def test_merging_one_row_keeps_what_it_says(data, max_size, version) -> None:
    distribution = data.draw(distributions(max_size))
    merged = merge_rows([row_of(distribution, max_size, version, rest=77)])
    assert read_row(merged) == distribution
    assert merged[0] == 0
    assert len(merged) == row_length(max_size)


@given(st.data(), SIZES)
def test_merged_rows_have_every_count_where_it_belongs(data, max_size) -> None:
    parts = data.draw(st.lists(distributions(max_size), min_size=1, max_size=5))
    merged = read_row(merge_rows([row_of(part, max_size, version) for version, part in enumerate(parts)]))
    assert merged.zero_count == sum(part.zero_count for part in parts)
    filled = [part for part in parts if part.positive.counts or part.negative.counts]
    for which in ("positive", "negative"):
        expected = sum((at_scale(getattr(part, which), part.scale, merged.scale) for part in filled), Counter())
        buckets = getattr(merged, which)
        assert at_scale(buckets, 0, 0) == expected
        assert len(buckets.counts) <= max_size
        assert buckets == trimmed(buckets)
    # No scale is given away: at the next higher one, either somebody's buckets are unknown or they do not fit.
    if filled and merged.scale < min(part.scale for part in filled):
        finer = merged.scale + 1
        spans = [
            [index for part in filled for index in at_scale(getattr(part, which), part.scale, finer)]
            for which in ("positive", "negative")
        ]
        assert any(max(span) - min(span) >= max_size for span in spans if span)


@given(st.data(), SIZES)
def test_the_order_and_grouping_of_merging_do_not_matter(data, max_size) -> None:
    rows = [row_of(part, max_size) for part in data.draw(st.lists(distributions(max_size), min_size=3, max_size=3))]
    together = merge_rows(rows)
    assert merge_rows(rows[::-1]) == together
    assert merge_rows([merge_rows(rows[:2]), rows[2]]) == together
    assert merge_rows([rows[0], merge_rows(rows[1:])]) == together


def test_far_apart_ranges_are_merged_without_the_buckets_between() -> None:
    far = Distribution(20, 0, Buckets(HIGHEST, (3,)), EMPTY)
    near = Distribution(20, 0, Buckets(LOWEST, (4,)), EMPTY)
    assert joined([far, near], 2) == Distribution(-10, 0, Buckets(-1, (4, 3)), EMPTY)


def test_an_empty_histogram_has_no_say_in_the_scale() -> None:
    some = Distribution(7, 1, Buckets(5, (1, 2)), EMPTY)
    zeros = Distribution(0, 2, EMPTY, EMPTY)
    assert joined([zeros, some], 160) == Distribution(7, 3, Buckets(5, (1, 2)), EMPTY)
    assert joined([zeros, zeros], 160) == Distribution(0, 4, EMPTY, EMPTY)


@given(st.data(), SIZES)
def test_a_damaged_row_raises_nothing_and_counts_nothing_negative(data, max_size) -> None:
    row = row_of(data.draw(distributions(max_size)), max_size, data.draw(st.integers(0, 3)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 9) | st.integers(0, len(row) - 1))
        row[at] = data.draw(st.integers(-(2**63), 2**63 - 1) | st.integers(-400, 400))
    found = read_row(row)
    assert MIN_SCALE <= found.scale <= MAX_SCALE
    assert min(found.zero_count, *found.positive.counts, *found.negative.counts, 0) == 0
    merged = merge_rows([row, row])
    assert read_row(merged) == joined([found, found], max_size)


@pytest.mark.parametrize(
    ("slot", "value"),
    [(1, 21), (1, -11), (2, -1), (3, HIGHEST + 1), (4, 2), (4, 2**40), (3, -(2**40)), (7 + 5, -1)],
)
def test_what_no_series_can_have_written_counts_nothing(slot, value) -> None:
    row = row_of(Distribution(20, 3, Buckets(5, (1, 2)), EMPTY), 160)
    assert read_row(row).zero_count == 3
    row[slot] = value
    assert read_row(row) == Distribution(0, 0, EMPTY, EMPTY)


@given(st.integers(-(2**31), 2**31), st.lists(st.integers(0, 9), max_size=60), st.integers(0, 40))
def test_coarser_joins_buckets_by_their_index(offset, counts, change) -> None:
    found = coarser(Buckets(offset, tuple(counts)), change)
    assert at_scale(found, 0, 0) == at_scale(Buckets(offset, tuple(counts)), change, 0)
    if counts:
        assert found.offset == offset >> change
        assert len(found.counts) == ((offset + len(counts) - 1) >> change) - (offset >> change) + 1


@given(st.integers(-(2**31), 2**31), st.integers(0, 2**32), st.integers(2, 300))
@example(-1, 1, 2)
def test_excess_is_the_least_that_makes_a_range_fit(first, width, max_size) -> None:
    last = first + width
    change = excess(first, last, max_size)
    assert (last >> change) - (first >> change) < max_size
    assert change == 0 or (last >> (change - 1)) - (first >> (change - 1)) >= max_size


@given(st.integers(-(2**31), 2**31), st.integers(1, 40), st.data())
def test_a_range_lies_in_the_slots_by_remainder(offset, size, data) -> None:
    counts = tuple(data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=size)))
    ring = rolled(Buckets(offset, counts), size)
    assert len(ring) == size
    assert all(ring[index % size] == count for index, count in enumerate(counts, offset))
    assert unrolled(ring, offset, offset + len(counts)) == (offset, counts)
    assert rolled(EMPTY, size) == []
    assert unrolled(ring, offset, offset) == EMPTY


@given(st.integers(-50, 50), st.lists(st.integers(0, 2), max_size=9), st.integers(-70, 70))
def test_wider_adds_empty_buckets_only(offset, counts, index) -> None:
    before = Buckets(offset, tuple(counts))
    after = wider(before, index)
    assert after.offset <= index < after.offset + len(after.counts)
    assert trimmed(after) == trimmed(before)
