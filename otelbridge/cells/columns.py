"""Merging in bulk: where the slots of one kind lie in a flat list, worked out once for many reads.

Reading 16 processes of 1000 series means some 60 000 slots. A loop in Python over them would take longer than all the
rest, so the slots are picked and merged by functions written in C: places with equally many contributors and
slots are picked together, as one column for the first contributor of each place, one for the second, and so on.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import accumulate, chain
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
        alike: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for place, (starts, width) in enumerate(zip(spots, widths, strict=True)):
            alike[len(starts), width].append(place)
        firsts = list(accumulate(widths, initial=0))
        merged: list[int] = []
        self._groups: list[list[Callable[[Sequence[Any]], Sequence[Any]]]] = []
        self.group_places: list[list[int]] = []
        """The places of each group, in the order of `picked`."""
        self.unfilled = 0
        """How many slots nobody contributes to; they come last in what `ordered` takes."""
        for (number, width), places in sorted(alike.items(), reverse=True):
            merged += _slots([firsts[place] for place in places], width)
            if number:
                turns = zip(*(spots[place] for place in places), strict=True)
                self._groups.append([_getter(_slots(starts, width)) for starts in turns])
                self.group_places.append(places)
            else:
                self.unfilled += width * len(places)
        self._order = _getter(_inverse(merged))

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


def _slots(starts: Sequence[int], width: int) -> Sequence[int]:
    """The slots that begin at the starts and are so many in a row."""
    if width == 1:
        return starts
    return list(chain.from_iterable(map(range, starts, (start + width for start in starts))))


def _inverse(order: Sequence[int]) -> list[int]:
    inverse = [0] * len(order)
    for at, slot in enumerate(order):
        inverse[slot] = at
    return inverse


def _getter(indices: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    if len(indices) > 1:
        return itemgetter(*indices)
    return lambda flat: [flat[index] for index in indices]
