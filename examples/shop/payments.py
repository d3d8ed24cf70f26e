"""Money in and out, by a provider that lives next door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from otelbridge import business

if TYPE_CHECKING:
    from examples.shop.store import Order

PROVIDER = "cards"


class PaymentDeclinedError(Exception):
    """The card does not pay."""


@business.payment(PROVIDER, operation="charge")
async def charge(order: Order, card: str) -> None:
    """Charge a card."""
    await asyncio.sleep(0.01 + order.id % 5 / 100)
    if card == "declined":
        raise PaymentDeclinedError(order.id)


@business.payment(PROVIDER, operation="invoice_create")
async def create_invoice(order: Order) -> None:
    """Write the invoice of an order."""
    await asyncio.sleep(0.01 + order.id % 4 / 100)


@business.payment(PROVIDER, operation="refund")
async def refund(order: Order) -> None:
    """Pay an order back."""
    await asyncio.sleep(0.01 + order.id % 3 / 100)
