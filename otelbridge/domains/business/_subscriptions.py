"""Subscriptions: what happens to them, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otelbridge.catalogue.business import SUBSCRIPTION_CHANGES, SUBSCRIPTION_COUNT, SUBSCRIPTION_RECURRING_VALUE
from otelbridge.domains.business._meter import meter
from otelbridge.domains.checks import checked_return
from otelbridge.domains.money import currency_code
from otelbridge.domains.recording import Registration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    from otelbridge.domains.checks import Attributes

    Change = Literal["created", "renewed", "upgraded", "downgraded", "cancelled"]

_changes = meter.recorder(SUBSCRIPTION_CHANGES)
_count = meter.observed(SUBSCRIPTION_COUNT)
_recurring_value = meter.observed(SUBSCRIPTION_RECURRING_VALUE)


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """The subscriptions of one plan in one state, at one moment."""

    plan: str
    """Plan they are for."""

    state: str
    """State they are in, for instance ``active`` or ``trial``."""

    count: int
    """How many there are."""

    recurring_value: float | None = None
    """What they bring in a month, in units of `currency`; None leaves it out."""

    currency: str | None = None
    """ISO 4217 code of `recurring_value`."""


class SubscriptionBook:
    """The subscriptions of the service."""

    __slots__ = ()

    def changed(self, change: Change, *, plan: str | None = None) -> None:
        """Count a change in the life of a subscription, as ``business.subscription.changes``. Never raises.

        Args:
            change: ``created``, ``renewed``, ``upgraded``, ``downgraded`` or ``cancelled``.
            plan: Plan of the subscription after the change.
        """
        _changes.record(1, {"business.subscription.plan": plan, "business.subscription.change": change})

    def observe(self, read: Callable[[], Iterable[Subscriptions]]) -> Registration:
        """Report how many subscriptions there are and what they bring.

        They appear as ``business.subscription.count`` and ``business.subscription.recurring_value``. The
        numbers come from a store that all processes share, so queries take their maximum, not their sum.

        Args:
            read: Called at each collection, once for each of the two metrics, so it should be cheap or
                remember its answer for a while.

        Returns:
            A handle whose ``close()`` stops the report.
        """

        def counts() -> Iterator[tuple[float, Attributes]]:
            for entry in checked_return(read(), Iterable, "subscriptions"):
                yield entry.count, _attributes(entry)

        def values() -> Iterator[tuple[float, Attributes]]:
            for entry in checked_return(read(), Iterable, "subscriptions"):
                if entry.recurring_value is not None:
                    yield entry.recurring_value, {**_attributes(entry), "currency": currency_code(entry.currency)}

        registrations = (_count.observe("subscriptions", counts), _recurring_value.observe("subscriptions", values))

        def close() -> None:
            for registration in registrations:
                registration.close()

        return Registration(close)


def _attributes(entry: Subscriptions) -> Attributes:
    return {"business.subscription.plan": entry.plan, "business.subscription.state": entry.state}
