"""Summaries as OTLP writes them. The SDK has none; they come from other clients.

Source: opentelemetry-proto, ``metrics.proto``, message ``SummaryDataPoint``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.metrics.wire import block, double, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

_FIXED64 = 1
_UNSIGNED64 = struct.Struct("<Q")


def summaries(points: Sequence[Any], sets: Sequence[bytes], name: str) -> list[bytes]:
    """Write the points of a summary.

    Args:
        points: `otelbridge.metrics.current.SummaryReading`.
        sets: See `otelbridge.otlp.points.numbers`.
        name: See `otelbridge.otlp.points.numbers`.

    Returns:
        The points. One that cannot be written is left out, reported once.
    """
    found: list[bytes] = []
    for point, given in zip(points, sets, strict=True):
        try:
            found.append(block(1, given + _summary(point)))
        except Exception as error:
            warn_once(
                (name, "otlp", type(error).__name__),
                "%.200s is pushed without a series that cannot be written (%s: %.200s): %.200r.",
                name,
                type(error).__name__,
                error,
                point.attributes,
            )
    return found


def _summary(point: Any) -> bytes:
    start = point.start_time_unix_nano or 0
    return b"".join(
        (
            _fixed(2, start) if start else b"",
            _fixed(3, point.time_unix_nano),
            _fixed(4, point.count),
            double(5, float(point.sum)),
            *(block(6, double(1, at) + double(2, value)) for at, value in point.quantiles),
        )
    )


def _fixed(field: int, value: int) -> bytes:
    return tag(field, _FIXED64) + _UNSIGNED64.pack(value)
