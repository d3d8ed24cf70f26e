"""The meter the domain records through."""

from __future__ import annotations

from otelbridge.catalogue.business import DOMAIN
from otelbridge.domains.recording import DomainMeter

meter = DomainMeter(DOMAIN)
