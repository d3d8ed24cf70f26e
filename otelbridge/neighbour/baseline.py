"""What a process had counted before it was forked off: its parent counts that, too.

prometheus_client goes on in a forked child from the values of its parent. Where both are seen as one, what the parent
had at the fork must not count twice, so it is taken off the child's values.
"""

from __future__ import annotations

from operator import le, sub
from time import time_ns
from typing import TYPE_CHECKING

from otelbridge.neighbour.rows import Row

if TYPE_CHECKING:
    from otelbridge.metrics.foreign import Foreign
    from otelbridge.neighbour.rows import LabelSet, Rows, Value

_COUNTING = ("counter", "histogram", "summary")


class Baseline:
    """The values of counters, histograms and summaries at the moment of a fork.

    Args:
        rows: What was there.
    """

    def __init__(self, rows: Rows | None = None) -> None:
        self._since = time_ns()
        self._values: dict[tuple[Foreign, LabelSet], Value] = {
            (foreign, row.labels): row.value for foreign, each in counting(rows or {}).items() for row in each
        }

    def __len__(self) -> int:
        return len(self._values)

    def take_off(self, foreign: Foreign, rows: list[Row]) -> list[Row]:
        """Take off what the parent had counted.

        Args:
            foreign: A metric.
            rows: Its rows now.

        Returns:
            The rows without it. One that is below has begun anew since, so nothing is taken off it ever after.
        """
        if not self._values:
            return rows
        return [self._without(foreign, row) for row in rows]

    def _without(self, foreign: Foreign, row: Row) -> Row:
        key = (foreign, row.labels)
        before = self._values.get(key)
        if before is None:
            return row
        value = _difference(row.value, before)
        if value is None:
            del self._values[key]
            return row
        return Row(row.labels, value, self._since if row.created else 0, row.exemplars, row.quantiles)


def counting(rows: Rows) -> Rows:
    """Give the counters, histograms and summaries of rows."""
    return {foreign: each for foreign, each in rows.items() if foreign.type in _COUNTING}


def _difference(value: Value, before: Value) -> Value | None:
    if isinstance(value, tuple) and isinstance(before, tuple):
        if not all(map(le, before[0], value[0])):
            return None
        return tuple(map(sub, value[0], before[0])), value[1] - before[1]
    if isinstance(value, tuple) or isinstance(before, tuple) or value < before:
        return None
    return value - before
