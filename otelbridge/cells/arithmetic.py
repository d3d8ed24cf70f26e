"""How the slots of several processes become one, kind by kind."""

from __future__ import annotations

from itertools import repeat
from math import fsum, isfinite
from operator import neg
from typing import TYPE_CHECKING, Final

from otelbridge.cells import exponential
from otelbridge.cells.shape import Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RAW_MERGERS: Final[dict[str, Callable[[list[list[int]]], list[int]]]] = {"exponential": exponential.merge_rows}
"""Functions that make one raw row of the rows of several processes, by the name that `Shape.raw_merge` gives. A merger
is also called with a single row. The row it gives has the same number of slots and can be merged again: sums survive
their process that way."""


def add_totals(columns: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """Add float64 slots so that the order of contributors does not matter.

    A plain float sum depends on the order in which it is taken, so a total could step back by the last bit when a dead
    process' part moves into the base, or from one scraped process to the next; a reader of counters takes that for a
    restart. The sum here is the exact one, rounded once, which never falls while its parts rise.

    Args:
        columns: The slots of each contributor, in the same order.

    Returns:
        The rounded sums, and what each lacks of the exact one. A sum is minus zero when all its parts are.
    """
    try:
        sums = list(map(fsum, zip(*columns, strict=True)))
        finite = all(map(isfinite, sums))
    except (OverflowError, ValueError):  # a sum beyond the range of floats, or infinities of both signs
        finite, sums = False, []
    if not finite:
        pairs = [add_floats(parts) for parts in zip(*columns, strict=True)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    rests = list(map(fsum, zip(*columns, map(neg, sums), strict=True)))
    if 0.0 in sums:
        # As `_zero` does, in bulk: a sum taken one by one is minus zero only when all its parts are.
        naive = map(sum, zip(*columns, strict=True), repeat(-0.0))
        sums = [value or (other and 0.0) for value, other in zip(sums, naive, strict=True)]
    return sums, rests


def add_floats(parts: Sequence[float]) -> tuple[float, float]:
    """Add floats exactly, and round once.

    Returns:
        The rounded sum, and what it lacks of the exact one (0.0 when it is not finite). The sum of nothing but minus
        zeros is minus zero.
    """
    try:
        value = fsum(parts)
    except (OverflowError, ValueError):
        return sum(parts), 0.0
    if not isfinite(value):
        return value, 0.0
    return value or _zero(parts), fsum((*parts, -value))


def _zero(parts: Sequence[float]) -> float:
    """The sum of parts that cancel: minus zero only when they all are."""
    return 0.0 if any(parts) else sum(parts, -0.0)


def expansion(parts: Sequence[float]) -> list[float]:
    """Write an exact sum as few floats.

    Returns:
        Floats of falling size whose exact sum is that of the parts; the first one is that sum, rounded.
    """
    value, rest = add_floats(parts)
    terms = [value]
    while rest:
        terms.append(rest)
        rest = add_floats((*parts, *map(neg, terms)))[0]
    return terms


def merge_marks(rule: Rule, values: Sequence[float], stamps: Sequence[float]) -> tuple[float, float]:
    """Make one mark of several.

    Args:
        rule: How.
        values: The value of each contributor.
        stamps: When each was written; 0.0 = never, negative = the value was an int.

    Returns:
        Value and stamp of the chosen one, or the sum of the written ones with the latest stamp, which is negative when
        all of them were ints. The stamp is 0.0 when none was ever written. Of values that are no numbers, one is chosen
        by ``MAX`` and ``MIN`` only when there are no others.
    """
    if rule is Rule.LAST and stamps:
        stamp = max(stamps, key=abs)
        return values[stamps.index(stamp)], stamp
    written = [(value, stamp) for value, stamp in zip(values, stamps, strict=True) if stamp]
    if not written:
        return 0.0, 0.0
    if rule in _EXTREMES:
        return _EXTREMES[rule]([mark for mark in written if mark[0] == mark[0]] or written)
    latest = max(abs(stamp) for _, stamp in written)
    whole = all(stamp < 0 for _, stamp in written)
    return add_floats([value for value, _ in written])[0], -latest if whole else latest


_EXTREMES: Final = {Rule.MAX: max, Rule.MIN: min}
