"""When to export: at a fixed rate that neither slow exports nor changes of the date can shift."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from otelbridge.otlp.clock import SystemClock

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from otelbridge.otlp.clock import Clock


class Schedule:
    """Ticks on a grid of one interval.

    The grid begins at a random moment within the first interval, so that workers started together do not
    send together, and stays where it is. A tick that passes while the caller is busy is left out.

    Args:
        interval: Seconds from tick to tick, more than 0.
        clock: Tells the time.
        delay: Seconds before which there is no tick.
        draw: Gives a number from 0 up to 1, by which the first tick comes before the end of the interval.
    """

    def __init__(
        self,
        interval: float,
        *,
        clock: Clock | None = None,
        delay: float = 0.0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._interval = interval
        self._clock = clock or SystemClock()
        self._origin = self._clock.now() + delay + interval * (1 - draw())
        self._next = 0
        self.skipped = 0
        """Ticks left out so far."""

    @property
    def due(self) -> float:
        """When the next tick is, in seconds of the clock."""
        # Multiplied and not summed up, so that rounding cannot drift either.
        return self._origin + self._next * self._interval

    def wait(self, stop: threading.Event) -> bool:
        """Wait for the next tick that is not over yet.

        Args:
            stop: Ends the waiting for good.

        Returns:
            True at the tick, False when stopped.
        """
        late = self._clock.now() - self.due
        if late > 0:
            over = math.ceil(late / self._interval)
            self._next += over
            self.skipped += over
        while (left := self.due - self._clock.now()) > 0:
            if self._clock.wait(left, stop):
                return False
        self._next += 1
        return not stop.is_set()
