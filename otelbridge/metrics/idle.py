"""Which series nobody has recorded to for some time, found by looking at them now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from otelbridge.metrics.series import unchanged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otelbridge.metrics.series import Series

_Key = TypeVar("_Key")


class Idle:
    """Remembers what each series looked like and when it last looked different.

    Args:
        after: Seconds without a change after which a series is idle; None: never, and nothing is remembered.
    """

    def __init__(self, after: float | None) -> None:
        self._after = after
        self._seen: dict[Series, tuple[Any, float]] = {}

    def look(
        self, series: Mapping[_Key, Series], state: Callable[[Series], Any], now: float
    ) -> list[tuple[_Key, Series, Any]]:
        """Look at the series of a stream.

        Args:
            series: All of them, by any key.
            state: Gives what changes with every value that is recorded.
            now: Time of the look, in seconds.

        Returns:
            Key, series and state of those that are idle.
        """
        if self._after is None:
            return []
        idle: list[tuple[_Key, Series, Any]] = []
        for key, one in series.items():
            current = state(one)
            known = self._seen.get(one)
            if known is None or not unchanged(known[0], current):
                self._seen[one] = (current, now)
            elif now - known[1] >= self._after:
                idle.append((key, one, current))
        return idle

    def drop(self, series: Series) -> None:
        """Remember a series no longer."""
        self._seen.pop(series, None)
