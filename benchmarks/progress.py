"""How far a run is, and how long the rest will take."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_SECONDS = 90
"""Below this a duration is told in seconds, above in minutes."""


class Progress:
    """Counts figures, and estimates what is left from how long each took before and how fast this run is.

    Args:
        names: Figures, in the order they are measured.
        earlier: Seconds that figures took in an earlier run, on whatever machine.
        clock: Gives seconds.
    """

    def __init__(
        self, names: Sequence[str], earlier: Mapping[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._names = names
        self._earlier = earlier
        self._clock = clock
        self._begin = self._last = clock()
        self._taken: dict[str, float] = {}

    def done(self, name: str) -> None:
        """Note that a figure is measured."""
        now = self._clock()
        self._taken[name], self._last = now - self._last, now

    def position(self) -> str:
        """Say which figure is next, what has passed, and what is left with it."""
        number, count = len(self._taken) + 1, len(self._names)
        left = self.left()
        estimate = "" if left is None else f", about {duration(left)} left"
        return f"{number} of {count}, after {duration(self._last - self._begin)}{estimate}"

    def left(self) -> float | None:
        """Estimate the seconds of the figures that are left; None where nothing is known of any."""
        known = [name for name in self._taken if self._earlier.get(name)]
        before = sum(self._earlier[name] for name in known)
        pace = sum(self._taken[name] for name in known) / before if before else 1.0
        rest = [name for name in self._names if name not in self._taken]
        unknown = [name for name in rest if name not in self._earlier]
        if unknown and not self._taken:
            return None
        typical = statistics.mean(self._taken.values()) if unknown else 0.0
        return pace * sum(self._earlier.get(name, 0.0) for name in rest) + typical * len(unknown)


def duration(seconds: float) -> str:
    """Say a duration in seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < _SECONDS else f"{seconds / 60:.0f} min"
