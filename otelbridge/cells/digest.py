"""What dead processes had counted, added up and written as the records and slots of a base.

Sums are kept exactly: one that does not fit into a slot (an int wider than 64 bits, a float sum that was rounded) takes
a second series of the same name, marked as retired so that it adds its value but does not show.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otelbridge.cells.catalog import Catalog
from otelbridge.cells.listing import Listing
from otelbridge.cells.records import ABSENT, retired_record, series_record, stream_record
from otelbridge.cells.rows import RAW_MERGERS, expansion, merge_marks, merge_rows
from otelbridge.cells.shape import COUNTS, KINDS, LOWS, MARKS, RAW, TOTALS
from otelbridge.cells.volume import DamagedError, report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otelbridge.cells.base import Base
    from otelbridge.cells.catalog import Place
    from otelbridge.cells.volume import Volume

_WIDEST: Final = (1 << 63) - 1


class _Line(NamedTuple):
    """A series of the new base."""

    stream: int
    attributes: bytes
    slots: dict[int, Sequence[float]]
    retired: bool


class Digest:
    """Adds up the sums of a base and of dead processes' books.

    Args:
        base: Where it begins.

    Raises:
        DamagedError: If the base says something that this version does not understand.
    """

    def __init__(self, base: Base) -> None:
        self._catalog = Catalog()
        self._listings: list[Listing] = []
        listing = Listing(base, self._catalog)
        try:
            listing.take_in(base.content.bodies)
        except ValueError as error:
            raise DamagedError(f"the base has {error}") from error
        self._listings.append(listing)

    def take(self, volume: Volume) -> bool:
        """Add a book.

        Args:
            volume: The book of a dead process, seen dead before this call.

        Returns:
            Whether it was added. Not when its values cannot be read, or nothing here merges them: such a book stays.
        """
        listing = Listing(volume, self._catalog)
        try:
            listing.take_in(volume.news())
        except ValueError as error:
            volume.stop(str(error))
        except (OSError, DamagedError) as error:
            report("folding a book", f"The book {volume.uid} of an ended process cannot be folded: {error}")
            return False
        mergers = {place.shape.raw_merge for place in listing.series.values() if place.shape.outlives} - {""}
        if not mergers <= RAW_MERGERS.keys():
            report(
                "folding raw", f"The book {volume.uid} needs the unknown merger {min(mergers - RAW_MERGERS.keys())!r}"
            )
            return False
        self._listings.append(listing)
        return True

    def written(self) -> tuple[bytes, bytes]:
        """Write what was added up.

        Returns:
            The records and the slots of a base.
        """
        lines: list[_Line] = []
        log: list[bytes] = []
        gathered = self._gathered()
        shown = {
            place.number
            for listing in self._listings
            for number, place in listing.series.items()
            if number not in listing.retired
        }
        for stream, (identity, series) in enumerate(self._catalog.places.items()):
            kept = [(attributes, place) for attributes, place in series.items() if place.shape.outlives]
            if kept:
                log.append(stream_record(stream, kept[0][1].shape, identity))
            for attributes, place in kept:
                layers = _layers(place, [rows[place.number] for rows in gathered])
                lines.append(_Line(stream, attributes, layers[0], place.number not in shown))
                lines.extend(_Line(stream, attributes, layer, retired=True) for layer in layers[1:])
        return _laid_out(log, lines)

    def _gathered(self) -> list[list[list[list[Any]]]]:
        """For each kind and place, the row of each contributor."""
        rows: list[list[list[list[Any]]]] = [[[] for _ in self._catalog.numbered] for _ in KINDS]
        for listing in self._listings:
            for kind in (COUNTS, TOTALS, LOWS, MARKS):
                flat = listing.values(kind)
                for number, start, _ in listing.starts[kind]:
                    width = self._catalog.numbered[number].shape.widths[kind]
                    rows[kind][number].append(flat[start : start + width])
            for number, first, _ in listing.starts[RAW]:
                rows[RAW][number].append(listing.row(first, self._catalog.numbered[number].shape.raw))
        return rows


def _layers(place: Place, rows: list[list[list[Any]]]) -> list[dict[int, Sequence[float]]]:
    """The slots of a series by kind; further ones hold what the first cannot."""
    layers: list[dict[int, Sequence[float]]] = [{}]
    if rows[LOWS]:
        layers[0][LOWS] = [min(column) for column in zip(*rows[LOWS], strict=True)]
    if rows[MARKS]:
        values, stamps = zip(*rows[MARKS], strict=True)
        layers[0][MARKS] = merge_marks(place.shape.rule, values, stamps)
    if rows[RAW]:
        layers[0][RAW] = _raw_row(place, rows[RAW])
    columns = {
        COUNTS: ([_words(sum(column)) for column in zip(*rows[COUNTS], strict=True)], 0),
        TOTALS: ([expansion(column) for column in zip(*rows[TOTALS], strict=True)], -0.0),
    }
    for kind, (terms, blank) in columns.items():
        depth = max(map(len, terms), default=0)
        layers.extend({} for _ in range(depth - len(layers)))
        for level in range(depth):
            layers[level][kind] = [term[level] if level < len(term) else blank for term in terms]
    return layers


def _raw_row(place: Place, rows: list[list[int]]) -> list[int]:
    if len(rows) == 1:
        return rows[0]
    try:
        return merge_rows(place.shape.raw_merge, rows)
    except ValueError as error:
        report(f"raw {place.shape.raw_merge}", str(error).capitalize())
        return rows[0]


def _words(value: int) -> list[int]:
    """Ints of 64 bits that make the value when added."""
    words: list[int] = []
    while abs(value) > _WIDEST:
        words.append(_WIDEST if value > 0 else -_WIDEST)
        value -= words[-1]
    return [*words, value]


def _laid_out(log: list[bytes], lines: list[_Line]) -> tuple[bytes, bytes]:
    """Put the slots of a kind side by side, so that a reader takes them at once."""
    parts: list[array[Any]] = [array(kind.code) for kind in KINDS]
    places: list[list[int]] = []
    for line in lines:
        places.append([len(parts[kind]) if kind in line.slots else ABSENT for kind in range(len(KINDS))])
        for kind, slots in line.slots.items():
            parts[kind].extend(slots)
    firsts = [sum(map(len, parts[:kind])) for kind in range(len(KINDS))]
    for number, (line, place) in enumerate(zip(lines, places, strict=True)):
        positions = [at if at == ABSENT else at + first for at, first in zip(place, firsts, strict=True)]
        log.append(series_record(line.stream, number, positions, line.attributes))
        if line.retired:
            log.append(retired_record(number))
    return b"".join(log), b"".join(part.tobytes() for part in parts)
