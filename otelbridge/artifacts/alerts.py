"""Alerting rules of Prometheus, made from the catalogue.

Source: Prometheus, "Alerting rules".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from otelbridge.catalogue.alerts import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otelbridge.catalogue.alerts import Alert, AlertGroup

_NOTE = "# Made from the catalogue by `otelbridge artifacts --write deploy`. Do not edit."


def alerting_rules(groups: Sequence[AlertGroup] = GROUPS) -> str:
    """Write a rule file.

    Args:
        groups: The alerts.

    Returns:
        The text of the file, for ``rule_files``.
    """
    lines = [_NOTE, "groups:"]
    for group in groups:
        lines += [f"  - name: {_quoted(group.name)}", "    rules:"]
        for alert in group.alerts:
            lines += _rule(alert)
    return "\n".join(lines) + "\n"


def _rule(alert: Alert) -> Iterator[str]:
    yield f"      - alert: {alert.name}"
    yield f"        expr: {_quoted(alert.expression)}"
    yield f"        for: {alert.minutes}m"
    yield "        labels:"
    yield f"          severity: {alert.severity}"
    yield "        annotations:"
    yield f"          summary: {_quoted(alert.summary)}"
    yield f"          description: {_quoted(alert.cure)}"


def _quoted(text: str) -> str:
    # A string of JSON is one of YAML.
    return json.dumps(text)
