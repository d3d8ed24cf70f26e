"""Budgets of agents: what is spent, what may be, and how often it was too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.catalogue.agents import BUDGET_CONSUMPTION, BUDGET_LIMIT, BUDGET_OVERRUNS
from otelbridge.concurrency import forks
from otelbridge.diagnostics import warn_once
from otelbridge.domains.agents._step import meter
from otelbridge.domains.checks import checked_amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

_consumption = meter.recorder(BUDGET_CONSUMPTION)
_overruns = meter.recorder(BUDGET_OVERRUNS)
_limits = meter.observed(BUDGET_LIMIT)

_budgets: dict[str, Budget] = {}
_lock = forks.lock()


def budget(name: str, limit: float | Decimal | None = None) -> Budget:
    """Give the budget of a name, the same one each time.

    Args:
        name: Name of the budget, out of a small set.
        limit: What may be spent in a window, in the unit of the budget. None leaves the limit as it is;
            a budget without one only counts.

    Returns:
        The budget. It is kept, and its limit exposed, until `Budget.close`.
    """
    with _lock:
        found = _budgets.get(name) if isinstance(name, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if found is None:
            found = Budget(name)
        if isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers are not all typed
            _budgets[name] = found
    if limit is not None:
        found.limit = limit
    return found


class Budget:
    """What agents may spend in a window of time; get one from `agents.budget`.

    A window lasts until `reset`. Each process counts its own spending against the limit.

    Args:
        name: Name of the budget.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._attributes = {"agent.budget.name": name}
        self._lock = forks.lock()
        self._limit: float | None = None
        self._spent: float = 0
        self._over = False
        self._registration = _limits.observe(self, self._observed_limit, self._attributes)

    @property
    def limit(self) -> float | None:
        """What may be spent in a window; None where no limit was set.

        Set it at any time; a limit below what is already spent counts as an overrun. A value that is no
        number, or negative, is reported once and leaves the limit as it was.
        """
        return self._limit

    @limit.setter
    def limit(self, limit: float | Decimal | None) -> None:
        checked = None if limit is None else checked_amount(BUDGET_LIMIT, limit)
        if checked is None and limit is not None:
            return
        if checked is not None and checked < 0:
            warn_once(
                (BUDGET_LIMIT.name, "negative"),
                "The limit of the budget %s cannot be negative, as %r is; it stays %r. Set None to lift it.",
                self.name,
                limit,
                self._limit,
            )
            return
        with self._lock:
            self._limit = checked
            overruns = self._crossings()
        _overruns.record(overruns, self._attributes)

    @property
    def spent(self) -> float:
        """What this process has spent in the current window."""
        return self._spent

    @property
    def exceeded(self) -> bool:
        """Whether more is spent than the limit allows."""
        return self._over

    def spend(self, amount: float | Decimal) -> None:
        """Count units as spent. Never raises, and never refuses: it observes, the caller decides.

        Args:
            amount: How many, in the unit of the budget; not negative.
        """
        checked = checked_amount(BUDGET_CONSUMPTION, amount)
        if checked is None:
            return
        with self._lock:
            self._spent += checked
            overruns = self._crossings()
        _consumption.record(checked, self._attributes)
        _overruns.record(overruns, self._attributes)

    def reset(self) -> None:
        """Begin a new window: nothing is spent, and the next overrun counts again."""
        with self._lock:
            self._spent = 0
            self._over = False

    def close(self) -> None:
        """Forget the budget, so that its limit is exposed no more. Closing twice is harmless."""
        self._registration.close()
        with _lock:
            if self in _budgets.values():
                del _budgets[self.name]

    def _crossings(self) -> int:
        # 0 is recorded as well: a counter whose first value is 1 hides its first increase.
        was_over, self._over = self._over, self._limit is not None and self._spent > self._limit
        return int(self._over and not was_over)

    def _observed_limit(self) -> float | Iterable[tuple[float, Mapping[str, str]]]:
        return () if self._limit is None else self._limit
