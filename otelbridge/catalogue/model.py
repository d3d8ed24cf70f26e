"""The vocabulary in which instruments are declared: domains, metrics, attributes, buckets.

A declaration is data. Instruments, views, documents, dashboards and rules are all made from it, so a
fact about a metric is written once, here or in a domain module beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

AttributeType = Literal["string", "int", "double", "boolean"]
Convention = Literal["semconv", "own"]
MergeRule = Literal["sum", "livesum", "last", "max", "min", "per_worker"]
"""How the values that several worker processes have of one series become one value.

``sum`` adds them, those of ended processes included. ``livesum`` adds those of running ones. ``last`` takes
the one written most recently by a running one, ``max`` and ``min`` the extreme among running ones.
``per_worker`` keeps them apart by the attribute ``process.pid``, for as long as they run.
"""


class Kind(Enum):
    """The seven instruments of the OpenTelemetry metrics API."""

    COUNTER = "counter"
    UP_DOWN_COUNTER = "up_down_counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"
    OBSERVABLE_COUNTER = "observable_counter"
    OBSERVABLE_UP_DOWN_COUNTER = "observable_up_down_counter"
    OBSERVABLE_GAUGE = "observable_gauge"

    @property
    def observable(self) -> bool:
        """Whether values are read by a callback at collection time."""
        return self.value.startswith("observable_")

    @property
    def monotonic(self) -> bool:
        """Whether the value can only grow, so that Prometheus shows a counter."""
        return self in (Kind.COUNTER, Kind.OBSERVABLE_COUNTER)


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute key a metric may carry."""

    key: str
    """The full OpenTelemetry key, for instance ``db.system.name``."""

    brief: str
    """One sentence: what the value says."""

    values: tuple[str, ...] = ()
    """Well-known values. Empty where the application chooses them."""

    closed: bool = False
    """Whether `values` is complete. Another value is then recorded as ``_OTHER``, so that its
    measurement still counts."""

    type: AttributeType = "string"
    """The type of the value."""

    example: str | int | float | bool = ""
    """A plausible value, for documents and example queries."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """A named set of histogram boundaries."""

    name: str
    """Short name, for instance ``HTTPD``."""

    boundaries: tuple[float, ...]
    """Upper bounds, ascending, inclusive, without infinity, in the unit of the metric.
    Always floats: an integer bound would be printed differently and split a series in Prometheus."""

    origin: str
    """Where the boundaries come from."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One instrument, whole."""

    id: str
    """Stable handle, for instance ``H1``; documents and tests refer to it."""

    name: str
    """Instrument name."""

    kind: Kind
    """Which instrument."""

    unit: str
    """UCUM unit, for instance ``s``, ``By`` or ``{request}``."""

    brief: str
    """One sentence: what is measured. Becomes the description and the HELP text."""

    attributes: tuple[Attribute, ...] = ()
    """Every attribute it may carry. The view made from the metric keeps no others."""

    buckets: Buckets | None = None
    """Boundaries; histograms only, and always for them."""

    convention: Convention = "own"
    """``semconv`` where name, unit and attributes follow a semantic convention, else ``own``."""

    answers: tuple[str, ...] = ()
    """Requirement rows of the reference systems that this metric answers, for the coverage table."""

    recorded_by: str = "otelbridge"
    """Scope of the library that records it where that is not this package."""

    merge: MergeRule | None = None
    """How worker processes become one where the instrument's own way is not right: what is under way ends
    with its worker (``livesum``), what every worker sees alike must not be added (``last``)."""

    @property
    def attribute_keys(self) -> frozenset[str]:
        """The keys of `attributes`."""
        return frozenset(attribute.key for attribute in self.attributes)


@dataclass(frozen=True, slots=True)
class Domain:
    """A group of metrics that are recorded through one meter."""

    name: str
    """What users write in ``domains=``, for instance ``agents``."""

    brief: str
    """One sentence: what the domain covers."""

    metrics: tuple[Metric, ...]
    """Its metrics, in the order of their ids."""

    @property
    def meter(self) -> str:
        """Name of the meter (the instrumentation scope) the domain records through."""
        return f"otelbridge.{self.name}"
