"""What dead processes had counted, added up and written as the records and slots of a base.

Sums are kept exactly: one that does not fit into a slot (an int wider than 64 bits, a float sum that was rounded) takes
a second series of the same name, marked as retired so that it adds its value but does not show.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from otelbridge.cells.arithmetic import expansion
from otelbridge.cells.merge import Plan
from otelbridge.cells.records import ABSENT, retired_record, series_record, stream_record
from otelbridge.cells.shape import COUNTS, KINDS, LOWS, MARKS, RAW, SLOT, TOTALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otelbridge.cells.merge import Place, Totals
    from otelbridge.cells.series_index import SeriesIndex

_WIDEST: Final = (1 << 63) - 1


def compacted(indexes: Sequence[SeriesIndex]) -> tuple[bytes, bytes]:
    """Add up what the dead leave.

    Args:
        indexes: The base, and the books of dead processes.

    Returns:
        The records and the slots of a base.
    """
    plan = Plan(indexes)
    totals = plan.merge()
    sums = [expansion(parts) for parts in plan.parts(TOTALS)]
    log: list[bytes] = []
    slots = bytearray()
    number = 0
    for stream, (identity, places) in enumerate(totals.places.items()):
        kept = [(attributes, place) for attributes, place in places.items() if place.shape.outlives]
        if kept:
            log.append(stream_record(stream, kept[0][1].shape, identity))
        for attributes, place in kept:
            for level, layer in enumerate(_layers(place, totals, sums)):
                positions = [ABSENT] * len(KINDS)
                for kind, values in layer.items():
                    positions[kind] = len(slots) // SLOT
                    slots += array(KINDS[kind].code, values).tobytes()
                log.append(series_record(stream, number, positions, attributes))
                if level or not totals.contributors[place.number]:
                    log.append(retired_record(number))
                number += 1
    return b"".join(log), bytes(slots)


def _layers(place: Place, totals: Totals, sums: Sequence[list[float]]) -> Iterator[dict[int, Sequence[float]]]:
    """The slots of a series by kind; further ones hold what the first cannot."""
    shape = place.shape
    counts = [_words(count) for count in totals.counts[place.counts : place.counts + shape.counts]]
    terms = sums[place.totals : place.totals + shape.totals]
    rest: dict[int, Sequence[float]] = {
        LOWS: totals.lows[place.lows : place.lows + shape.lows],
        MARKS: totals.marks[place.marks : place.marks + shape.marks],
        RAW: totals.raw[place.raw] if shape.raw else [],
    }
    for level in range(max(map(len, (*counts, *terms)), default=1)):
        rest[COUNTS] = [words[level] if level < len(words) else 0 for words in counts]
        rest[TOTALS] = [parts[level] if level < len(parts) else -0.0 for parts in terms]
        yield {kind: values for kind, values in rest.items() if values}
        rest = {}


def _words(value: int) -> list[int]:
    """Ints of 64 bits that make the value when added."""
    words: list[int] = []
    while abs(value) > _WIDEST:
        words.append(_WIDEST if value > 0 else -_WIDEST)
        value -= words[-1]
    return [*words, value]
