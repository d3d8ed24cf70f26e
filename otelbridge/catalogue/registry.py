"""The catalogue as a whole: every domain, and look-ups over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.catalogue import agents, business, cost, database, health, http, self, system, tasks

if TYPE_CHECKING:
    from otelbridge.catalogue.model import Domain, Metric

DOMAINS: tuple[Domain, ...] = (
    http.DOMAIN,
    database.DOMAIN,
    agents.DOMAIN,
    cost.DOMAIN,
    tasks.DOMAIN,
    business.DOMAIN,
    health.DOMAIN,
    system.DOMAIN,
    self.DOMAIN,
)
"""Every domain, in the order documents list them."""

DOMAIN_NAMES: frozenset[str] = frozenset(domain.name for domain in DOMAINS)
"""What ``domains=`` accepts."""

METRICS: dict[str, Metric] = {metric.name: metric for domain in DOMAINS for metric in domain.metrics}
"""Every metric by its instrument name."""
