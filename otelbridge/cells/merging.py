"""Merging the books of a group, in bulk, by a plan that holds until a series or a process comes or goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otelbridge.cells.columns import Columns
from otelbridge.cells.rows import add_counts, add_totals, lowest, merge_marks, merge_rows
from otelbridge.cells.shape import COUNTS, KINDS, LOWS, MARK_SLOTS, MARKS, RAW, TOTALS
from otelbridge.cells.volume import report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otelbridge.cells.catalog import Catalog, Place
    from otelbridge.cells.listing import Listing


@dataclass(slots=True, eq=False)
class Totals:
    """The merged values of a group at one moment. A `Place` says where those of a series begin."""

    counts: list[int]
    """Sums of int64 slots."""

    totals: list[float]
    """Sums of float64 slots, exact but for one rounding; minus zero where nothing was ever stored."""

    rests: list[float]
    """What each of `totals` lacks of the exact sum. Whoever adds a value of its own to a total uses
    ``rows.add_floats((own, total, rest))``: then every process of the group shows the same sum, to the last bit."""

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
    """By identity, then by attributes. The same object from read to read as long as it only grows; it grows during the
    next read, so it must not be iterated over while another thread reads."""

    live: int
    """How many living processes were read."""

    dead: int = 0
    """How many dead processes were read that are not folded yet."""


class Plan:
    """How the slots of some books are merged.

    Args:
        listings: The books. What they say may not change while the plan is used; their values may.
        catalog: Their places.
    """

    def __init__(self, listings: Sequence[Listing], catalog: Catalog) -> None:
        self._listings = listings
        self._silent = [listing.silent() for listing in listings]
        self._catalog = catalog
        self._places = [self._having(kind) for kind in range(len(KINDS))]
        self._columns = [self._plan(kind) for kind in range(RAW)]
        self._raw = self._raw_spots()
        self._live = sum(listing.book.live for listing in listings)
        # All but the base are books of processes.
        self._dead = max(0, len(listings) - 1 - self._live)
        self._contributors, self.unused = self._contributions()

    def merge(self) -> Totals:
        """Read the values and merge them.

        Returns:
            The merged values of this moment.
        """
        totals, rests = self._totals()
        return Totals(
            counts=self._added(),
            totals=totals,
            rests=rests,
            lows=self._lows(),
            marks=self._marks(),
            raw=self._rows(),
            contributors=self._contributors,
            places=self._catalog.places,
            live=self._live,
            dead=self._dead,
        )

    def _having(self, kind: int) -> list[Place]:
        return [place for place in self._catalog.numbered if place.shape.widths[kind]]

    def _spots(self, kind: int) -> list[list[int]]:
        """Where the slots of each place of a kind begin in the values of all books one after the other."""
        by_number: list[list[int]] = [[] for _ in self._catalog.numbered]
        offset = 0
        for listing, silent in zip(self._listings, self._silent, strict=True):
            for number, start, series in listing.starts[kind]:
                if series not in silent:
                    by_number[number].append(offset + start)
            offset += listing.length(kind)
        return [by_number[place.number] for place in self._places[kind]]

    def _raw_spots(self) -> list[list[tuple[Listing, int]]]:
        by_number: list[list[tuple[Listing, int]]] = [[] for _ in self._catalog.numbered]
        for listing, silent in zip(self._listings, self._silent, strict=True):
            for number, first, series in listing.starts[RAW]:
                if series not in silent:
                    by_number[number].append((listing, first))
        return [by_number[place.number] for place in self._places[RAW]]

    def _plan(self, kind: int) -> Columns:
        return Columns(self._spots(kind), [place.shape.widths[kind] for place in self._places[kind]])

    def _contributions(self) -> tuple[list[int], int]:
        shown = [0] * len(self._catalog.numbered)
        used: set[int] = set()
        for listing, silent in zip(self._listings, self._silent, strict=True):
            retired = listing.retired
            for series, place in listing.series.items():
                used.add(place.number)
                if series not in silent and series not in retired:
                    shown[place.number] += 1
        return shown, len(shown) - len(used)

    def _flat(self, kind: int) -> list[Any]:
        flat: list[Any] = []
        for listing in self._listings:
            flat += listing.values(kind)
        return flat

    def _added(self) -> list[int]:
        columns = self._columns[COUNTS]
        merged: list[int] = []
        for group in columns.picked(self._flat(COUNTS)):
            merged += add_counts(group) if len(group) > 1 else group[0]
        return columns.ordered(merged + [0] * columns.unfilled)

    def _totals(self) -> tuple[list[float], list[float]]:
        columns = self._columns[TOTALS]
        merged: list[float] = []
        lacking: list[float] = []
        for group in columns.picked(self._flat(TOTALS)):
            sums, rests = add_totals(group) if len(group) > 1 else (group[0], [0.0] * len(group[0]))
            merged += sums
            lacking += rests
        unfilled = columns.unfilled
        return columns.ordered(merged + [-0.0] * unfilled), columns.ordered(lacking + [0.0] * unfilled)

    def _lows(self) -> list[float]:
        columns = self._columns[LOWS]
        merged: list[float] = []
        for group in columns.picked(self._flat(LOWS)):
            merged += lowest(group) if len(group) > 1 else group[0]
        return columns.ordered(merged + [KINDS[LOWS].initial] * columns.unfilled)

    def _marks(self) -> list[float]:
        columns = self._columns[MARKS]
        merged: list[float] = []
        for places, group in zip(columns.group_places, columns.picked(self._flat(MARKS)), strict=True):
            values = zip(*(column[::MARK_SLOTS] for column in group), strict=True)
            stamps = zip(*(column[1::MARK_SLOTS] for column in group), strict=True)
            for place, value, stamp in zip(places, values, stamps, strict=True):
                merged += merge_marks(self._places[MARKS][place].shape.rule, value, stamp)
        return columns.ordered(merged + [KINDS[MARKS].initial] * columns.unfilled)

    def _rows(self) -> list[list[int]]:
        return [self._row(place, spots) for place, spots in zip(self._places[RAW], self._raw, strict=True)]

    def _row(self, place: Place, spots: Sequence[tuple[Listing, int]]) -> list[int]:
        width = place.shape.raw
        if spots:
            try:
                return merge_rows(place.shape.raw_merge, [listing.row(first, width) for listing, first in spots])
            except ValueError as error:
                report(f"raw {place.shape.raw_merge}", str(error).capitalize())
        return [0] * width
