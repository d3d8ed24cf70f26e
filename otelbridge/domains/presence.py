"""Counting what goes on right now, so that every one counted is taken back exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.metrics.switch import switch

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from otelbridge.domains.checks import Attributes
    from otelbridge.domains.recording import Recorder


class Presence:
    """One thing that goes on, counted by an up-down counter.

    It is taken back with the attributes it was counted with, and only from the provider that counted it:
    one connected in the meantime starts at 0 and would otherwise fall below.

    Args:
        recorder: Recorder of the up-down counter.
    """

    __slots__ = ("_attributes", "_provider", "_recorder")

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._attributes: Attributes | None = None
        self._provider: MeterProvider | None = None

    def begin(self, attributes: Attributes) -> None:
        """Count it. Doing so again before `end` does nothing.

        Args:
            attributes: Attributes of the count.
        """
        if self._attributes is None:
            self._attributes = attributes
            self._provider = switch.provider
            self._recorder.record(1, attributes)

    def end(self) -> None:
        """Take it back. Without a `begin` this does nothing."""
        attributes, self._attributes = self._attributes, None
        provider, self._provider = self._provider, None
        if attributes is not None and provider is switch.provider:
            self._recorder.record(-1, attributes)
