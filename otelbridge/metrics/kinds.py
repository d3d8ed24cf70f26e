"""The kinds of aggregation whose series are ours; those of the user's own making stay with the SDK."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from otelbridge.metrics.exponential import ExponentialSeries
from otelbridge.metrics.series import HistogramSeries, LastSeries, Series, SumSeries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Kind(NamedTuple):
    """How measurements become a series' value, and what makes two streams the same."""

    name: str
    """``sum``, ``last``, ``histogram`` or ``exponential``."""

    bounds: tuple[float, ...] = ()
    """Bucket boundaries of a histogram."""

    extremes: bool = True
    """Whether a histogram keeps minimum and maximum."""

    max_size: int = 0
    """Most buckets of an exponential histogram, above zero and below."""

    max_scale: int = 0
    """The scale it begins with."""

    def new_series(self) -> Callable[[Mapping[str, Any], int], Series]:
        """Give what makes a series of this kind."""
        makers: dict[str, Callable[[Mapping[str, Any], int], Series]] = {
            "sum": SumSeries,
            "last": LastSeries,
            "histogram": partial(HistogramSeries, bounds=self.bounds),
            "exponential": partial(ExponentialSeries, max_size=self.max_size, max_scale=self.max_scale),
        }
        return makers[self.name]
