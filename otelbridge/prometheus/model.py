"""A metric family, the way all formats are written from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from otelbridge.prometheus.labels import Labels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otelbridge.prometheus.samples import Frame
    from otelbridge.prometheus.translation import Translation


class Kind(Enum):
    """The types of Prometheus; the values are those of OpenMetrics. The last three are those of other clients only."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"
    STATESET = "stateset"
    SUMMARY = "summary"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Family:
    """One metric family, as it stands at one moment. ``labels`` and ``points`` go in pairs."""

    name: str
    """Its name, with ``_total`` for counters where the strategy has suffixes, and with ``_info``."""

    kind: Kind
    """Its type."""

    help: str
    """Its description; empty where there is none."""

    unit: str
    """Its unit in words; empty where the name does not end in it, since a unit is shown only so."""

    translation: Translation
    """How its names were made; exemplars are labelled after it."""

    labels: list[Labels] = field(default_factory=list[Labels])
    """Who: the labels of each series, none twice."""

    points: list[Any] = field(default_factory=list[Any])
    """What: a data point of the SDK for each series, or an object with the same attributes. Values of
    counters and gauges are exact ints and floats; those of counters are no less than zero. The points of summaries
    are those of `otelbridge.metrics.current.SummaryReading`."""

    created: bool = False
    """Whether it is shown since when each series counts, whatever the settings say."""

    values: list[int | float] | None = None
    """The values of the points of counters and gauges, where all are finite; None asks to look at each."""

    frame: Frame | None = None
    """What was kept of its lines, where the series are those of the last page."""


@dataclass(slots=True)
class Piece:
    """What a page says of one family."""

    family: Family | None
    """The family; None for what ends a page."""

    parts: list[bytes]
    """What is written, in parts."""

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return sum(map(len, self.parts))


def joined(pieces: Iterable[Piece]) -> bytes:
    """Make one page of pieces."""
    return b"".join([part for piece in pieces for part in piece.parts])
