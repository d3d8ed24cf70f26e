"""A metric family, the way all formats are written from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from otelbridge.prometheus.labels import Labels

if TYPE_CHECKING:
    from otelbridge.prometheus.translation import Translation


class Kind(Enum):
    """The types of Prometheus; the values are those of its text format."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


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
    counters and gauges are exact ints and floats; those of counters are no less than zero."""
