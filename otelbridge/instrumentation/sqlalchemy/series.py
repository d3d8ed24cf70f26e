"""One attribute set of a metric, resolved once for all its measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.domains.database.records import METER

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.domains.checks import Attributes
    from otelbridge.domains.recording import Recorder


class Series:
    """Records with one attribute set, to whatever provider is connected.

    Args:
        recorder: Recorder of the metric.
        attributes: The attribute set.
    """

    __slots__ = ("_attributes", "_generation", "_record", "_recorder")

    def __init__(self, recorder: Recorder, attributes: Attributes) -> None:
        self._recorder = recorder
        self._attributes = attributes
        self._generation: object = None
        self._record: Callable[[float], object] = _nowhere

    def record(self, amount: float) -> None:
        """Record one measurement, no less than 0."""
        generation = METER.generation
        if self._generation is not generation:
            self._record = self._recorder.bound(self._attributes)
            self._generation = generation
        self._record(amount)


def _nowhere(_amount: float) -> None: ...
