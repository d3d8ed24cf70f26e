"""Orders, revenue and payments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.catalogue.business import ORDER_VALUE, PAYMENT_DURATION, REVENUE
from otelbridge.domains.business._meter import meter
from otelbridge.domains.checks import checked_attributes
from otelbridge.domains.money import currency_code
from otelbridge.domains.operation import Operation, error_type

if TYPE_CHECKING:
    from decimal import Decimal

    from otelbridge.domains.checks import Attributes

_order_value = meter.recorder(ORDER_VALUE)
_revenue = meter.recorder(REVENUE)
_payment = meter.recorder(PAYMENT_DURATION)


def order(value: float | Decimal, currency: str, *, status: str | None = None) -> None:
    """Record one order, as ``business.order.value``. Never raises.

    Args:
        value: Value of the order in units of the currency (euros, not cents).
        currency: ISO 4217 code, for instance ``EUR``.
        status: State of the order, for instance ``completed``.
    """
    if meter.active:
        _order_value.record(value, {"currency": currency_code(currency), "business.order.status": status})


class Revenue:
    """Gross revenue, ``business.revenue``."""

    __slots__ = ()

    def add(
        self,
        amount: float | Decimal,
        attributes: Attributes | None = None,
        *,
        currency: str | None = None,
        source: str | None = None,
    ) -> None:
        """Add revenue. Never raises.

        Args:
            amount: How much, in units of the currency; not negative. A refund is a payment operation.
            attributes: ``currency`` and ``business.revenue.source`` by their full names, for those who
                write them so.
            currency: ISO 4217 code; wins over the one in `attributes`.
            source: What the money was earned with; wins likewise.
        """
        if not meter.active:
            return
        said = checked_attributes(REVENUE, attributes)
        if source is not None:
            said["business.revenue.source"] = source
        said["currency"] = currency_code(said.get("currency") if currency is None else currency)
        _revenue.record(amount, said)


class Payment(Operation):
    """One payment operation, timed as ``business.payment.duration``.

    A clean end is ``success`` unless the block says otherwise; an exception is ``failure``, with its class
    as ``error.type``, and is raised on.

    Args:
        provider: Who moves the money, for instance ``stripe``.
        operation: ``charge``, ``invoice_create``, ``refund``, ``payout`` or a word of the application.
    """

    __slots__ = ("_reason", "_result", "operation", "provider")

    def __init__(self, provider: str, *, operation: str = "charge") -> None:
        super().__init__()
        self.provider = provider
        self.operation = operation
        self._result: str | None = None
        self._reason: str | None = None

    def pending(self) -> None:
        """Say that the provider took it and will tell the outcome later."""
        self._result = "pending"

    def failed(self, reason: str | BaseException) -> None:
        """Say that it failed although no exception leaves the block.

        Args:
            reason: What ``error.type`` says: a word out of a small set, such as ``card_declined``, or the
                exception that was handled.
        """
        self._result = "failure"
        self._reason = error_type(reason) if isinstance(reason, BaseException) else reason

    def _again(self) -> Payment:
        return Payment(self.provider, operation=self.operation)

    def _active(self) -> bool:
        return meter.active

    def _started(self) -> None:
        self._result = self._reason = None

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        result = "failure" if error is not None else self._result or "success"
        _payment.record(
            seconds,
            {
                "business.payment.provider": self.provider,
                "business.payment.operation": self.operation,
                "business.payment.result": result,
                "error.type": self._reason or (None if error is None else error_type(error)),
            },
        )
