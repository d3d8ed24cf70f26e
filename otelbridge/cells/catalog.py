"""Which series there are in a group, and where their merged slots lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otelbridge.cells.shape import COUNTS, KINDS, LOWS, MARKS, RAW, TOTALS

if TYPE_CHECKING:
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


class Catalog:
    """Every series a reader has met, each with a place. It only grows; a reader that wants less starts a new one.

    Attributes:
        places: By identity, then by attributes.
        numbered: By `Place.number`.
    """

    def __init__(self) -> None:
        self.places: dict[bytes, dict[bytes, Place]] = {}
        self.numbered: list[Place] = []
        self._shapes: dict[bytes, Shape] = {}
        self._ends = [0] * len(KINDS)

    def stream(self, identity: bytes, shape: Shape) -> dict[bytes, Place] | None:
        """Get the series of a stream.

        Args:
            identity: The stream.
            shape: The slots of its series.

        Returns:
            Its series by attributes; None when the stream is known with another shape.
        """
        if self._shapes.setdefault(identity, shape) != shape:
            return None
        return self.places.setdefault(identity, {})

    def add(self, series: dict[bytes, Place], shape: Shape, attributes: bytes) -> Place:
        """Give a new series its place.

        Args:
            series: What `stream` returned.
            shape: The slots of the series.
            attributes: What tells it from others of its stream.

        Returns:
            The place.
        """
        at = [end if width else -1 for end, width in zip(self._ends, shape.widths, strict=True)]
        for kind, width in enumerate(shape.widths):
            self._ends[kind] += min(width, 1) if kind == RAW else width
        place = Place(len(self.numbered), at[COUNTS], at[TOTALS], at[LOWS], at[MARKS], at[RAW], shape)
        self.numbered.append(place)
        series[attributes] = place
        return place
