"""How well the service is."""

from __future__ import annotations

from otelbridge.catalogue.attributes import ERROR_TYPE
from otelbridge.catalogue.model import Attribute, Domain, Kind, Metric

_ORIGIN = Attribute(
    "health.exception.origin",
    "Where nobody caught it.",
    values=("http", "task", "agent"),
    example="http",
)

EXCEPTIONS = Metric(
    id="E1",
    name="health.exceptions",
    kind=Kind.COUNTER,
    unit="{exception}",
    brief="Exceptions that nobody handled, by class.",
    attributes=(ERROR_TYPE, _ORIGIN),
    answers=("002-M7",),
)

DOMAIN = Domain("health", "Exceptions nobody handled.", (EXCEPTIONS,))
