"""What the service earns and how it is used.

    otelbridge.business.order(49.90, "EUR", status="completed")
    otelbridge.business.revenue.add(0.10, currency="EUR", source="answers")
    with otelbridge.business.payment("stripe", operation="charge") as payment: ...

Amounts are in units of their currency. Nothing here raises at run time.
"""

from __future__ import annotations

from otelbridge.domains.business._sales import Payment, Revenue, order
from otelbridge.domains.business._subscriptions import SubscriptionBook, Subscriptions
from otelbridge.domains.business._usage import Journey, feature
from otelbridge.domains.business._users import Session, Users

revenue = Revenue()
subscriptions = SubscriptionBook()
users = Users()
payment = Payment
session = Session
journey = Journey

__all__ = [
    "Journey",
    "Payment",
    "Revenue",
    "Session",
    "SubscriptionBook",
    "Subscriptions",
    "Users",
    "feature",
    "journey",
    "order",
    "payment",
    "revenue",
    "session",
    "subscriptions",
    "users",
]
