"""The table of artifacts: a new one is a module beside this one and a line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from otelbridge.artifacts.alerts import alerting_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ARTIFACTS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "prometheus/otelbridge-alerts.yaml": alerting_rules,
    }
)
"""What writes each file, by its path below the folder."""
