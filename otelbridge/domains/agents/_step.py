"""What every timed step of an agent shares: its domain, and failures that are no exceptions."""

from __future__ import annotations

from otelbridge.catalogue.agents import DOMAIN
from otelbridge.domains.operation import Operation, error_type
from otelbridge.domains.recording import DomainMeter

meter = DomainMeter(DOMAIN)
"""The meter the domain records through."""


class Step(Operation):
    """Base of the timed steps: an operation of this domain that can also fail without an exception."""

    __slots__ = ("_reason",)

    def __init__(self) -> None:
        super().__init__()
        self._reason: str | None = None

    def failed(self, reason: str | BaseException) -> None:
        """Mark the step as failed although no exception leaves it.

        Args:
            reason: What ``error.type`` says: a word out of a small set, such as ``refused`` or
                ``rate_limited`` (never a message, every distinct one is a series), or the exception that
                was handled. It wins over an exception that leaves the block later.
        """
        self._reason = error_type(reason) if isinstance(reason, BaseException) else reason

    def _active(self) -> bool:
        return meter.active

    def _error_type(self, error: BaseException | None) -> str | None:
        if self._reason is not None:
            return self._reason
        return None if error is None else error_type(error)
