"""Money spent: ``otelbridge.cost.record(0.0042, "USD", category="llm")``.

Amounts are priced by the caller, when they are spent: prices depend on the size of a request, on caches
and on contracts, so a figure derived later from token counts is only an estimate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.catalogue.cost import COST_USAGE, DOMAIN
from otelbridge.diagnostics import warn_once
from otelbridge.domains.recording import DomainMeter

if TYPE_CHECKING:
    from decimal import Decimal

NO_CURRENCY = "XXX"
"""What an amount without any currency is recorded under; the code ISO 4217 has for it."""

_CODE_LENGTH = 3

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
        currency: ISO 4217 code, for instance ``EUR``; see `currency_code` for others.
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


def currency_code(currency: object) -> str:
    """Write a currency as ISO 4217 does, losing no amount over it.

    Args:
        currency: What the caller gave.

    Returns:
        The code in upper case. Text that is no code of three letters stays as it is, and anything else
        becomes `NO_CURRENCY`; both are reported once, so that the money still counts, visibly apart.
    """
    text = currency.strip() if isinstance(currency, str) else ""
    code = text.upper()
    if len(code) == _CODE_LENGTH and code.isascii() and code.isalpha():
        return code
    recorded = text or NO_CURRENCY
    warn_once(
        ("currency", recorded[:100]),
        "%.100r is no ISO 4217 code of three letters; the amount is recorded under %.100r.",
        currency,
        recorded,
    )
    return recorded
