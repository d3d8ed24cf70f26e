"""Merging the books of a group, in bulk, by a plan that holds until a series or a process comes or goes.

Reading 16 processes of 1000 series means some 60 000 slots. A loop in Python over them would take longer than all the
rest, so the slots are picked and merged by functions written in C: series with equally many contributors and
slots are picked together, as one column for the first contributor of each, one for the second, and so on.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import accumulate, chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from otelbridge.cells.arithmetic import RAW_MERGERS, add_totals, merge_marks
from otelbridge.cells.records import ABSENT
from otelbridge.cells.shape import COUNTS, KINDS, LOWS, MARKS, RAW, TOTALS
from otelbridge.cells.volume import report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from otelbridge.cells.series_index import SeriesIndex, Stream
    from otelbridge.cells.shape import Shape


@dataclass(slots=True, eq=False)
class Place:
    """Where the merged slots of a series begin in the lists of `Totals`; -1 where its shape has none."""

    number: int
    """Ordinal of the series; its index in `Totals.contributors`."""

    counts: int
    totals: int
    lows: int
    marks: int
    raw: int
    """Index of the row in `Totals.raw`."""

    shape: Shape


@dataclass(slots=True, eq=False)
class Totals:
    """The merged values of a group at one moment, which no later read changes.

    A `Place` says where those of a series begin.
    """

    counts: list[int]
    """Sums of int64 slots."""

    totals: list[float]
    """Sums of float64 slots, exact but for one rounding; minus zero where nothing was ever stored."""

    rests: list[float]
    """What each of `totals` lacks of the exact sum. Whoever adds a value of its own to a total uses
    ``arithmetic.add_floats((own, total, rest))``: then every process of the group shows the same sum, to the last
    bit."""

    lows: list[float]
    """The lowest of float64 slots."""

    marks: list[float]
    """Value and stamp of the chosen mark; stamp 0.0 where none was written."""

    raw: list[list[int]]
    """One merged row a place; zeros where nobody contributes."""

    contributors: Sequence[int]
    """By `Place.number`: how many books show the series. 0 = it is not to be shown, though its values are in the sums.
    Books that retired the series do not count, nor, for other rules than ``SUM``, those of dead processes."""

    places: Mapping[bytes, Mapping[bytes, Place]]
    """By identity, then by attributes. The same object from read to read as long as no series and no process comes or
    goes."""

    live: int
    """How many living processes were read."""

    dead: int = 0
    """How many dead processes were read that are not folded yet."""


class Plan:
    """How the slots of some books are merged.

    Args:
        indexes: The base and the books. Their series may not change while the plan is used; the values may.
    """

    def __init__(self, indexes: Sequence[SeriesIndex]) -> None:
        self._places: dict[bytes, dict[bytes, Place]] = {}
        self._indexes = indexes
        self._contributors: list[int] = []
        self._spots: list[list[list[int]]] = []
        self._having: list[list[tuple[Shape, list[int]]]] = [[] for _ in KINDS]
        self._ends = [0] * len(KINDS)
        self._live = sum(index.live for index in indexes)
        shapes: dict[bytes, Shape] = {}
        offsets = [0] * len(KINDS)
        for index in indexes:
            for stream in index.streams.values():
                if shapes.setdefault(stream.identity, stream.shape) == stream.shape:
                    self._take(index, stream, offsets)
                    continue
                report(
                    f"shape {stream.identity!r}",
                    f"Book {index.uid} keeps {stream.identity!r} as {stream.shape}, unlike the others",
                )
            offsets = [offset + index.lengths[kind] for kind, offset in enumerate(offsets)]
        self._columns = {kind: _Columns(kind, self._having[kind]) for kind in (COUNTS, TOTALS, LOWS)}

    def merge(self) -> Totals:
        """Read the values and merge them.

        Returns:
            The merged values of this moment.
        """
        rests: list[float] = []

        def add(columns: Sequence[Sequence[float]]) -> list[float]:
            sums, lacking = add_totals(columns)
            rests.extend(lacking)
            return sums

        return Totals(
            counts=self._slotwise(COUNTS, _add),
            totals=self._slotwise(TOTALS, add),
            rests=self._columns[TOTALS].ordered(rests, 0.0),
            lows=self._slotwise(LOWS, _lowest),
            marks=self._marks(),
            raw=self._rows(),
            contributors=self._contributors,
            places=self._places,
            live=self._live,
            # All but the base are books of processes.
            dead=max(0, len(self._indexes) - 1 - self._live),
        )

    def parts(self, kind: int) -> list[list[Any]]:
        """Read the values of a kind without merging them.

        Args:
            kind: Index in `KINDS`.

        Returns:
            For each slot of the merged list, those of its contributors.
        """
        flat = self._flat(kind)
        return [
            [flat[at + slot] for at in spots]
            for shape, spots in self._having[kind]
            for slot in range(shape.widths[kind])
        ]

    def _take(self, index: SeriesIndex, stream: Stream, offsets: Sequence[int]) -> None:
        """Take in the series of a stream of one book, whose values begin at the offsets."""
        shape, retired = stream.shape, index.retired
        silent = not (index.live or shape.outlives)
        places = self._places.setdefault(stream.identity, {})
        for number, (attributes, starts) in stream.series.items():
            place = places.get(attributes)
            if place is None:
                place = places[attributes] = self._new_place(shape)
            if silent or (number in retired and not shape.adds):
                continue
            self._contributors[place.number] += number not in retired
            spots = self._spots[place.number]
            for (kind, _), start in zip(stream.wanted, starts, strict=True):
                if start != ABSENT:
                    spots[kind].append(offsets[kind] + start)

    def _new_place(self, shape: Shape) -> Place:
        at = [end if width else -1 for end, width in zip(self._ends, shape.widths, strict=True)]
        spots: list[list[int]] = [[] for _ in KINDS]
        for kind, width in enumerate(shape.widths):
            if width:
                self._ends[kind] += 1 if kind == RAW else width
                self._having[kind].append((shape, spots[kind]))
        self._spots.append(spots)
        self._contributors.append(0)
        return Place(len(self._spots) - 1, at[COUNTS], at[TOTALS], at[LOWS], at[MARKS], at[RAW], shape)

    def _flat(self, kind: int) -> list[Any]:
        flat: list[Any] = []
        for index in self._indexes:
            flat += index.values(kind)
        return flat

    def _slotwise(self, kind: int, merge: Callable[[list[Sequence[Any]]], list[Any]]) -> list[Any]:
        columns = self._columns[kind]
        return columns.ordered(columns.merged(self._flat(kind), merge), KINDS[kind].initial)

    def _marks(self) -> list[float]:
        flat = self._flat(MARKS)
        merged: list[float] = []
        for shape, spots in self._having[MARKS]:
            merged += merge_marks(shape.rule, [flat[at] for at in spots], [flat[at + 1] for at in spots])
        return merged

    def _rows(self) -> list[list[int]]:
        flat = self._flat(RAW)
        return [_row(shape, [flat[at] for at in spots]) for shape, spots in self._having[RAW]]


class _Columns:
    """How the slots of one kind are picked from a flat list, worked out once for many reads.

    Args:
        kind: Index in `KINDS`.
        series: Those that have such slots: their shape, and where their slots begin in the flat list, once for each
            contributor.
    """

    def __init__(self, kind: int, series: Sequence[tuple[Shape, list[int]]]) -> None:
        widths = [shape.widths[kind] for shape, _ in series]
        firsts = list(accumulate(widths, initial=0))
        alike: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for at, (_, spots) in enumerate(series):
            alike[len(spots), widths[at]].append(at)
        order: list[int] = []
        self._groups: list[list[Callable[[Sequence[Any]], Sequence[Any]]]] = []
        # Those with most contributors come first, those without any last: see `ordered`.
        for (number, width), members in sorted(alike.items(), reverse=True):
            order += _slots([firsts[at] for at in members], width)
            if number:
                turns = zip(*(series[at][1] for at in members), strict=True)
                self._groups.append([_getter(_slots(starts, width)) for starts in turns])
        self._size = len(order)
        self._order = _getter(sorted(range(self._size), key=order.__getitem__))

    def merged(self, flat: Sequence[Any], merge: Callable[[list[Sequence[Any]]], list[Any]]) -> list[Any]:
        """Pick the slots of all contributors and merge those of a place; the result is for `ordered`."""
        merged: list[Any] = []
        for group in self._groups:
            columns = [pick(flat) for pick in group]
            merged += merge(columns) if len(columns) > 1 else columns[0]
        return merged

    def ordered(self, merged: list[Any], blank: float) -> list[Any]:
        """Put what `merged` gave, which is used up, into the order of the series, with blanks at the end."""
        merged += [blank] * (self._size - len(merged))
        return list(self._order(merged))


def _slots(starts: Sequence[int], width: int) -> Sequence[int]:
    """The slots that begin at the starts and are so many in a row."""
    if width == 1:
        return starts
    return list(chain.from_iterable(map(range, starts, (start + width for start in starts))))


def _getter(indices: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    if len(indices) > 1:
        return itemgetter(*indices)
    return lambda flat: [flat[index] for index in indices]


def _row(shape: Shape, rows: list[list[int]]) -> list[int]:
    merger = RAW_MERGERS.get(shape.raw_merge)
    trouble = "it is unknown"
    if rows and merger:
        try:
            row = merger(rows)
            if len(row) == shape.raw:
                return row
            trouble = f"it made {len(row)} slots of {shape.raw}"
        except Exception as error:  # it is known by name only, and no one series may hide the others
            trouble = repr(error)
    if rows:
        report(f"raw {shape.raw_merge}", f"{shape.raw_merge!r} cannot merge raw slots: {trouble}")
    return [0] * shape.raw


def _add(columns: list[Sequence[int]]) -> list[int]:
    return list(map(sum, zip(*columns, strict=True)))


def _lowest(columns: list[Sequence[float]]) -> list[float]:
    return list(map(min, *columns))
