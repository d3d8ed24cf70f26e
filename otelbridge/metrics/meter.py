"""A meter of our provider: the SDK's, whose synchronous instruments are given our recording path."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from otelbridge.concurrency import forks
from otelbridge.diagnostics import late_warnings
from otelbridge.metrics._sdk import SdkMeter, create_instrument, is_registered
from otelbridge.metrics.instruments import SYNCHRONOUS, bind_to_nothing
from otelbridge.metrics.observers import add_callbacks, reusable
from otelbridge.metrics.writers import nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry import metrics as api
    from opentelemetry.metrics import CallbackT

    from otelbridge.metrics._sdk import ApiGauge
    from otelbridge.metrics.consumer import Consumer


class Meter(SdkMeter):
    """Makes instruments by the SDK's own rules: names, duplicates, advice.

    Observable instruments stay the SDK's: they are read when a reader collects, off the recording path. One that is
    asked for again is read by the callbacks of both.
    """

    def __init__(self, scope: Any, consumer: Consumer, config: Any) -> None:
        super().__init__(scope, consumer, _meter_config=config)
        self._consumer = consumer
        # The SDK's own would stay locked in a forked child.
        self._instrument_registration_lock = self._instrument_ids_lock = forks.lock()

    def create_counter(self, name: str, unit: str = "", description: str = "") -> api.Counter:
        """Create a counter; see the OpenTelemetry API."""
        return self._create("counter", super().create_counter, name, unit, description)

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> api.UpDownCounter:
        """Create an up-down counter; see the OpenTelemetry API."""
        return self._create("up_down_counter", super().create_up_down_counter, name, unit, description)

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> ApiGauge:
        """Create a gauge; see the OpenTelemetry API."""
        return self._create("gauge", super().create_gauge, name, unit, description)

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> api.Histogram:
        """Create a histogram; see the OpenTelemetry API."""
        create = partial(
            super().create_histogram, explicit_bucket_boundaries_advisory=explicit_bucket_boundaries_advisory
        )
        return self._create("histogram", create, name, unit, description)

    def create_observable_counter(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> api.ObservableCounter:
        """Create an observable counter; see the OpenTelemetry API."""
        create = partial(_unobserved, super().create_observable_counter)
        return self._observe("observable_counter", create, callbacks, name, unit, description)

    def create_observable_up_down_counter(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> api.ObservableUpDownCounter:
        """Create an observable up-down counter; see the OpenTelemetry API."""
        create = partial(_unobserved, super().create_observable_up_down_counter)
        return self._observe("observable_up_down_counter", create, callbacks, name, unit, description)

    def create_observable_gauge(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> api.ObservableGauge:
        """Create an observable gauge; see the OpenTelemetry API."""
        create = partial(_unobserved, super().create_observable_gauge)
        return self._observe("observable_gauge", create, callbacks, name, unit, description)

    def _create(self, kind: str, create: Callable[[str, str, str], Any], name: str, unit: str, description: str) -> Any:
        if is_registered(self, kind, name, unit, description) or self._consumer.admit():
            with late_warnings:
                return self._adopt(create(name, unit, description))
        # Nobody but the caller has it, so that a caller who makes them without end costs nothing.
        instrument = create_instrument(kind, name, self._instrumentation_scope, unit, description)
        ours = SYNCHRONOUS.get(instrument.__class__)
        if ours is not None:
            instrument.__class__ = ours
            instrument.wire(nothing, bind_to_nothing, nothing)
        return instrument

    def _observe(
        self,
        kind: str,
        create: Callable[[str, str, str], Any],
        callbacks: Sequence[CallbackT] | None,
        name: str,
        unit: str,
        description: str,
    ) -> Any:
        instrument = self._create(kind, create, name, unit, description)
        with late_warnings, self._instrument_registration_lock:
            add_callbacks(instrument, reusable(callbacks))
        return instrument

    def _adopt(self, instrument: Any) -> Any:
        with self._instrument_registration_lock:
            ours = SYNCHRONOUS.get(instrument.__class__)
            if ours is not None:
                # Our classes add behaviour and no layout, so the SDK's fresh instrument becomes one of ours.
                instrument.__class__ = ours
                self._consumer.register(instrument)
        return instrument


def _unobserved(create: Callable[..., Any], name: str, unit: str, description: str) -> Any:
    return create(name, None, unit, description)
