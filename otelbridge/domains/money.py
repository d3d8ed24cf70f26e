"""Currencies, as every amount of money carries one."""

from __future__ import annotations

from otelbridge.diagnostics import warn_once

NO_CURRENCY = "XXX"
"""What an amount without any currency is recorded under; the code ISO 4217 has for it."""

_CODE_LENGTH = 3


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
