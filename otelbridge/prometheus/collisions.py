"""Series that have become one: their points are added up, or the latest is shown."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import HistogramDataPoint, NumberDataPoint

from otelbridge.diagnostics import warn_once
from otelbridge.metrics.variants import spread
from otelbridge.prometheus.exponential import Exponential, is_exponential

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otelbridge.prometheus.labels import Labels


def combine(
    family: str, labels: Sequence[Labels], points: Sequence[Any], *, additive: bool
) -> tuple[list[Labels], list[Any]]:
    """Make one series of all that have the same labels.

    Args:
        family: Name of the family, for reports.
        labels: The labels of each series; equal ones are the same object.
        points: The point of each series.
        additive: Whether values of different series may be added up; if not, the latest counts.

    Returns:
        Labels, none twice, in the order of their first appearance; and a point for each.
    """
    found: dict[Labels, Any] = {}
    for who, what in zip(labels, points, strict=True):
        if who not in found:
            found[who] = what
            continue
        try:
            found[who] = _join(found[who], what, additive=additive)
            fate = "they are shown as one, added up" if additive else "the latest is shown"
        except Exception as error:
            fate = f"the younger is left out, since they cannot be added up ({error})"
        warn_once(
            (family, "collision"),
            "%.200s has several series with the labels {%.200s}: %s. Attributes of different names, or values of "
            "different types, have become the same label, two scopes use the same name, or another process of the "
            "service runs another version of it. Rename one.",
            family,
            who.text,
            fate,
        )
    return list(found), list(found.values())


def _join(one: Any, two: Any, *, additive: bool) -> Any:
    if not additive:
        return two if two.time_unix_nano >= one.time_unix_nano else one
    if hasattr(one, "value"):
        return NumberDataPoint(one.attributes, *_times(one, two), one.value + two.value, _exemplars(one, two))
    if is_exponential(one) and is_exponential(two):
        return Exponential.of(one) + Exponential.of(two)
    return _add_histograms(two, one) if is_exponential(one) else _add_histograms(one, two)


def _add_histograms(one: Any, two: Any) -> HistogramDataPoint:
    """Add to a histogram with explicit boundaries one that may have others, or exponential ones."""
    counts = [*one.bucket_counts]
    if is_exponential(two):
        bounds, added = Exponential.of(two).fold()
    else:
        bounds, added = two.explicit_bounds, two.bucket_counts
    for at, count in zip(spread(bounds, one.explicit_bounds) or range(len(counts)), added, strict=True):
        counts[at] += count
    return HistogramDataPoint(
        one.attributes,
        *_times(one, two),
        count=one.count + two.count,
        sum=one.sum + two.sum,
        bucket_counts=counts,
        explicit_bounds=one.explicit_bounds,
        min=min(one.min, getattr(two, "min", inf)),
        max=max(one.max, getattr(two, "max", -inf)),
        exemplars=_exemplars(one, two),
    )


def _times(one: Any, two: Any) -> tuple[int, int]:
    starts = [start for start in (one.start_time_unix_nano, two.start_time_unix_nano) if start]
    return min(starts, default=0), max(one.time_unix_nano or 0, getattr(two, "time_unix_nano", 0) or 0)


def _exemplars(one: Any, two: Any) -> list[Any]:
    return [*(one.exemplars or ()), *(two.exemplars or ())]
