"""Merging in bulk: where the slots of one kind lie in a flat list, worked out once for many reads.

Reading 16 processes of 1000 series means some 60 000 slots. A loop in Python over them would take longer than all the
rest, so the slots are picked and merged by functions written in C: places with equally many contributors are picked
together, as one column for the first contributor of each place, one for the second, and so on.
"""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Value = TypeVar("_Value")


class Columns:
    """A plan to merge the slots of one kind.

    Args:
        spots: For each place, where its slots begin in the flat list, once for each contributor.
        widths: For each place, how many slots it has.
    """

    def __init__(self, spots: Sequence[Sequence[int]], widths: Sequence[int]) -> None:
        by_number: defaultdict[int, list[int]] = defaultdict(list)
        for place, starts in enumerate(spots):
            by_number[len(starts)].append(place)
        firsts = _running(widths)
        order = [0] * (firsts[-1] if firsts else 0)
        filled = 0
        self._groups: list[list[Callable[[Sequence[Any]], Sequence[Any]]]] = []
        self.group_places: list[list[int]] = []
        """The places of each group, in the order of `picked`."""
        self.unfilled = 0
        """How many slots nobody contributes to; they come last in what `ordered` takes."""
        for number, places in sorted(by_number.items(), reverse=True):
            for place in places:
                width = widths[place]
                order[firsts[place] : firsts[place] + width] = range(filled, filled + width)
                filled += width
            if number:
                self._groups.append([_column(spots, widths, places, turn) for turn in range(number)])
                self.group_places.append(places)
            else:
                self.unfilled = sum(widths[place] for place in places)
        self._order = _getter(order)

    def picked(self, flat: Sequence[_Value]) -> list[list[Sequence[_Value]]]:
        """Pick the columns of every group.

        Args:
            flat: The slots of all contributors.

        Returns:
            For each group, one column for each contributor; slots in the order of `group_places`.
        """
        return [[column(flat) for column in group] for group in self._groups]

    def ordered(self, merged: Sequence[_Value]) -> list[_Value]:
        """Put merged slots into the order of the places.

        Args:
            merged: The slots of the groups one after the other, and `unfilled` more.

        Returns:
            The slots by place.
        """
        return list(self._order(merged))


def _running(widths: Sequence[int]) -> list[int]:
    """Where each place begins, and where the last one ends."""
    firsts: list[int] = []
    at = 0
    for width in widths:
        firsts.append(at)
        at += width
    firsts.append(at)
    return firsts


def _column(
    spots: Sequence[Sequence[int]], widths: Sequence[int], places: Sequence[int], turn: int
) -> Callable[[Sequence[Any]], Sequence[Any]]:
    indices: list[int] = []
    for place in places:
        start = spots[place][turn]
        indices.extend(range(start, start + widths[place]))
    return _getter(indices)


def _getter(indices: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    if len(indices) > 1:
        return itemgetter(*indices)
    return lambda flat: [flat[index] for index in indices]
