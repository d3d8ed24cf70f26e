"""Summaries as OTLP writes them. The SDK has none; they come from other clients.

Source: opentelemetry-proto, ``metrics.proto``, message ``SummaryDataPoint``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otelbridge.metrics.wire import block, double
from otelbridge.otlp.points import fixed, one_by_one, times

if TYPE_CHECKING:
    from collections.abc import Sequence


def summaries(points: Sequence[Any], sets: Sequence[bytes], name: str) -> list[bytes]:
    """Write the points of a summary.

    Args:
        points: `otelbridge.metrics.current.SummaryReading`.
        sets: See `otelbridge.otlp.points.numbers`.
        name: See `otelbridge.otlp.points.numbers`.

    Returns:
        The points. One that cannot be written is left out, reported once.
    """
    return one_by_one(_summary, points, sets, name)


def _summary(point: Any, start: int) -> bytes:
    return b"".join(
        (
            times(start, point.time_unix_nano),
            fixed(4, point.count),
            double(5, float(point.sum)),
            *(block(6, double(1, at) + double(2, value)) for at, value in point.quantiles),
        )
    )
