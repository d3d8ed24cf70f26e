"""A number of things there may be at most."""

from __future__ import annotations

from otelbridge.concurrency import forks
from otelbridge.diagnostics import warn_once

DEFAULT_INSTRUMENT_LIMIT = 10_000
"""Instruments a provider has by default, and meters."""


class Quota:
    """Counts things, and says once when there may be no more of them.

    Args:
        limit: How many there may be.
        warning: What is said then; a ``logging`` format string that takes the limit.
    """

    def __init__(self, limit: int, warning: str) -> None:
        self.limit = limit
        """How many there may be."""
        self.used = 0
        """How many there are."""
        self._warning = warning
        # Reentrant: a signal handler or finalizer may record while this thread makes a series.
        self._lock = forks.lock()

    @property
    def full(self) -> bool:
        """Whether there may be no more."""
        return self.used >= self.limit

    def admits(self) -> bool:
        """Tell whether there may be one more, and warn if not."""
        if self.full:
            warn_once(("quota", self._warning), self._warning, self.limit)
            return False
        return True

    def take(self) -> bool:
        """Ask for one more; where there may be one, it counts."""
        with self._lock:
            if self.used < self.limit:
                self.used += 1
                return True
        return self.admits()

    def add(self, number: int) -> None:
        """Count things that are there already, asked for or not; a negative number is of those that are gone."""
        with self._lock:
            self.used += number
