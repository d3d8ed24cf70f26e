"""What a data point may hold."""

from __future__ import annotations

import sys

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


def transportable(value: int | float) -> int | float:
    """Make a total fit OTLP, whose integers have 64 bits, as the nearest float; else a whole export would fail."""
    if isinstance(value, float) or _INT64_MIN <= value <= _INT64_MAX:
        return value
    limit = sys.float_info.max
    return float(value) if -limit <= value <= limit else (limit if value > 0 else -limit)
