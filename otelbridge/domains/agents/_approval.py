"""How long people or policies took to approve, and what they said."""

from __future__ import annotations

from time import perf_counter

from otelbridge.catalogue.agents import APPROVAL_DURATION
from otelbridge.domains.agents._step import meter
from otelbridge.domains.operation import Operation
from otelbridge.domains.timeouts import is_timeout

_duration = meter.recorder(APPROVAL_DURATION)


class Approval(Operation):
    """One request for approval, timed as ``agent.approval.duration`` until its outcome is said.

    Where nothing is said, the end of the block decides: a clean one is ``approved``, an exception that means that
    time ran out (Python's, asyncio's, a client library's) is ``timeout``. Any other exception means that there was no
    decision; the time is recorded without an outcome. Used as a decorator, a function that returns False has rejected.

    Args:
        type: What has to be approved, for instance ``deploy``.
    """

    __slots__ = ("_outcome", "_seconds", "type")

    def __init__(self, type: str) -> None:  # noqa: A002 -- as in the attribute
        super().__init__()
        self.type = type
        self._outcome: str | None = None
        self._seconds: float | None = None

    def approved(self) -> None:
        """Say that it was approved, now."""
        self._decide("approved")

    def rejected(self) -> None:
        """Say that it was rejected, now."""
        self._decide("rejected")

    def timed_out(self) -> None:
        """Say that nobody answered in time, now."""
        self._decide("timeout")

    def _decide(self, outcome: str) -> None:
        if self._begin is not None:
            self._outcome = outcome
            self._seconds = perf_counter() - self._begin

    def _again(self) -> Approval:
        return Approval(self.type)

    def _active(self) -> bool:
        return meter.active

    def _returned(self, result: object) -> None:
        if result is False:
            self.rejected()

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        _duration.record(
            seconds if self._seconds is None else self._seconds,
            {"agent.approval.type": self.type, "agent.approval.outcome": self._outcome or _outcome_of(error)},
        )


def _outcome_of(error: BaseException | None) -> str | None:
    if error is None:
        return "approved"
    return "timeout" if is_timeout(error) else None
