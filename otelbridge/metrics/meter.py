"""A meter of our provider: the SDK's, whose synchronous instruments are given our recording path."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from otelbridge.metrics._sdk import SdkMeter
from otelbridge.metrics.instruments import SYNCHRONOUS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry import metrics as api

    from otelbridge.metrics._sdk import ApiGauge
    from otelbridge.metrics.consumer import Consumer


class Meter(SdkMeter):
    """Makes instruments by the SDK's own rules: names, duplicates, advice.

    Observable instruments stay the SDK's: they are read when a reader collects, off the recording path.

    Args:
        scope: The instrumentation scope.
        consumer: Connects instruments with the readers.
        config: The SDK's configuration of the meter.
    """

    def __init__(self, scope: Any, consumer: Consumer, config: Any) -> None:
        super().__init__(scope, consumer, _meter_config=config)
        self._consumer = consumer
        self._adopting = threading.RLock()

    def create_counter(self, name: str, unit: str = "", description: str = "") -> api.Counter:
        """Create a counter; see the OpenTelemetry API."""
        return self._adopt(super().create_counter(name, unit, description))

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> api.UpDownCounter:
        """Create an up-down counter; see the OpenTelemetry API."""
        return self._adopt(super().create_up_down_counter(name, unit, description))

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> ApiGauge:
        """Create a gauge; see the OpenTelemetry API."""
        return self._adopt(super().create_gauge(name, unit, description))

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> api.Histogram:
        """Create a histogram; see the OpenTelemetry API."""
        return self._adopt(
            super().create_histogram(
                name, unit, description, explicit_bucket_boundaries_advisory=explicit_bucket_boundaries_advisory
            )
        )

    def _adopt(self, instrument: Any) -> Any:
        with self._adopting:
            ours = SYNCHRONOUS.get(instrument.__class__)
            if ours is not None:
                # Our classes add behaviour and no layout, so the SDK's fresh instrument becomes one of ours.
                instrument.__class__ = ours
                self._consumer.register(instrument)
        return instrument

    def after_fork(self) -> None:
        """Free the locks in a forked child."""
        self._adopting = threading.RLock()
        self._instrument_registration_lock = threading.Lock()
        self._instrument_ids_lock = threading.Lock()
