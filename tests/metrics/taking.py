"""What a reader of deltas takes of a series."""

from __future__ import annotations

from math import inf
from typing import Any


def take(series: Any) -> tuple[Any, float, float]:
    """What the series holds, and the extremes since it was last taken."""
    low, high = inf, -inf

    def tell(least: float, most: float) -> None:
        nonlocal low, high
        low, high = min(low, least), max(high, most)

    return series.take(tell), low, high
