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

COMPONENT_NAME = Attribute("health.component.name", "Which component.", example="payments")
COMPONENT_TYPE = Attribute(
    "health.component.type",
    "What it is.",
    values=("service", "integration", "database", "cache", "ml_engine", "agent"),
    example="integration",
)
COMPONENT_STATE = Attribute(
    "health.component.state",
    "The state.",
    values=("healthy", "degraded", "unhealthy"),
    closed=True,
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

COMPONENT_STATUS = Metric(
    id="R1",
    name="health.component.status",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="1",
    brief="State of each component: 1 for the one it is in, 0 for the others.",
    attributes=(COMPONENT_NAME, COMPONENT_TYPE, COMPONENT_STATE),
    answers=("000-M6", "002-M60", "002-M61", "004-M26"),
    # Every worker asks by itself; added up, the states of one component would be many.
    merge="last",
)

DOMAIN = Domain("health", "Exceptions nobody handled, and the states of components.", (EXCEPTIONS, COMPONENT_STATUS))
