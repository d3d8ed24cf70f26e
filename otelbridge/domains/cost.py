"""Money spent: ``otelbridge.cost.record(0.0042, "USD", category="llm")``.

Amounts are priced by the caller, when they are spent: prices depend on the size of a request, on caches
and on contracts, so a figure derived later from token counts is only an estimate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.catalogue.cost import COST_USAGE, DOMAIN
from otelbridge.domains.money import currency_code
from otelbridge.domains.recording import DomainMeter

if TYPE_CHECKING:
    from decimal import Decimal

_meter = DomainMeter(DOMAIN)
_usage = _meter.recorder(COST_USAGE)


def record(
    amount: float | Decimal,
    currency: str,
    *,
    category: str | None = None,
    source: str | None = None,
    provider: str | None = None,
    model: str | None = None,
    agent: str | None = None,
) -> None:
    """Add money that was spent to ``cost.usage``. Never raises.

    Args:
        amount: How much, in units of the currency (dollars, not cents); not negative.
        currency: ISO 4217 code, for instance ``EUR``; others are recorded as they are, with a warning.
        category: What for: ``llm``, ``infrastructure``, ``acquisition`` or a word of the application.
        source: Who priced it: ``provider`` or ``local``.
        provider: Provider of the model, as ``gen_ai.provider.name`` spells it.
        model: Model that was asked for.
        agent: Agent it was spent by.
    """
    if not _meter.active:
        return
    _usage.record(
        amount,
        {
            "currency": currency_code(currency),
            "cost.category": category,
            "cost.source": source,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "gen_ai.agent.name": agent,
        },
    )
