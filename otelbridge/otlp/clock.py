"""Time, as a thing that can be handed in: ten minutes of an outage need not last ten minutes in a test."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading


class Clock(Protocol):
    """Tells the time that passes, and lets it pass."""

    def now(self) -> float:
        """Give the seconds since some moment. They never go backwards, whatever is done to the date."""
        ...

    def wait(self, seconds: float, event: threading.Event) -> bool:
        """Wait.

        Args:
            seconds: How long.
            event: What ends it early.

        Returns:
            Whether the event ended it.
        """
        ...


class SystemClock:
    """The clock of the system, which no setting of the date moves (``CLOCK_MONOTONIC``)."""

    def now(self) -> float:
        """Give the seconds since some moment."""
        return time.monotonic()

    def wait(self, seconds: float, event: threading.Event) -> bool:
        """Wait for an event, at most some seconds; return whether it came."""
        return event.wait(seconds)
