"""The meter provider: an OpenTelemetry `MeterProvider` that records faster and within limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.metrics import NoOpMeter
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider

from otelbridge.concurrency import forks
from otelbridge.diagnostics import late_warnings, warn_once
from otelbridge.metrics import secrets
from otelbridge.metrics._sdk import (
    InstrumentationScope,
    adopt_locks,
    clean_attributes,
    process_resource,
    register_reader,
    registered_readers,
)
from otelbridge.metrics.consumer import Consumer
from otelbridge.metrics.limits import DEFAULT_LIMIT, DEFAULT_SERIES_LIMIT, positive
from otelbridge.metrics.meter import Meter
from otelbridge.metrics.quota import DEFAULT_INSTRUMENT_LIMIT
from otelbridge.reentrance import refuses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.metrics import ExemplarFilter
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.util.types import Attributes

    from otelbridge.metrics.foreign import Source
    from otelbridge.metrics.processes import Processes
    from otelbridge.metrics.readers import Storage

_T = TypeVar("_T")


class MeterProvider(SdkMeterProvider):
    """A meter provider that stands wherever the SDK's stands.

    What differs from the SDK's is listed in docs/decisions/0005-an-own-recording-path.md: recording takes no
    lock, all readers share one store, a stream is limited in its attribute sets, wrong amounts and attributes
    are reported once instead of raised, a forked child begins at zero, and instruments have `bind` and `remove`.

    Args:
        metric_readers: The SDK's readers, or anybody's.
        resource: The service; by default what the environment says.
        exemplar_filter: Which measurements may become exemplars; by default those in a sampled span.
        shutdown_on_exit: Whether the end of the process shuts the provider down.
        views: The SDK's views.
        cardinality_limit: How many attribute sets a stream keeps apart. Further ones are counted together
            under ``otel.metric.overflow=true``; metrics SDK specification, "Cardinality limits". A view's
            `otelbridge.metrics.view.View.cardinality_limit` and a reader's
            `otelbridge.metrics.limits.LimitedReader.cardinality_limits` win.
        series_limit: How many attribute sets all streams keep apart together.
        instrument_limit: How many instruments there may be, and how many meters. Further ones record nothing.
        processes: The group of processes whose measurements are seen as one; None keeps to this one.
        hide_secrets: Whether attribute values that look like credentials are shown as ``[hidden]``.

    Raises:
        ConfigError: A limit is not positive, or what a reader says about limits cannot be used.
    """

    def __init__(
        self,
        metric_readers: Sequence[MetricReader] = (),
        resource: Resource | None = None,
        exemplar_filter: ExemplarFilter | None = None,
        shutdown_on_exit: bool = True,
        views: Sequence[View] = (),
        *,
        cardinality_limit: int = DEFAULT_LIMIT,
        series_limit: int = DEFAULT_SERIES_LIMIT,
        instrument_limit: int = DEFAULT_INSTRUMENT_LIMIT,
        processes: Processes | None = None,
        hide_secrets: bool = False,
    ) -> None:
        limits = {
            "cardinality_limit": cardinality_limit,
            "series_limit": series_limit,
            "instrument_limit": instrument_limit,
        }
        for name, limit in limits.items():
            positive(name, limit)
        super().__init__((), resource, exemplar_filter, shutdown_on_exit, views)
        self._processes = processes
        self._meter_limit = instrument_limit
        self._consumer = Consumer(
            self._sdk_config,
            **limits,
            processes=processes,
            hide=secrets.hide_secrets if hide_secrets else secrets.as_they_are,
        )
        self._measurement_consumer = self._consumer
        self._lock, self._meter_lock = forks.lock(), forks.lock()
        adopt_locks(self)
        forks.register(
            before=self._consumer.before_fork,
            after_in_parent=self._consumer.after_fork_in_parent,
            after_in_child=self._begin_anew,
        )
        self._metric_readers: tuple[MetricReader, ...] = ()
        for reader in metric_readers:
            self._adopt(reader)

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Any:
        """Give the meter of an instrumentation scope; see the OpenTelemetry API."""
        if self._disabled or self._shutdown or not name:
            return super().get_meter(name, version, schema_url, attributes)
        scope = InstrumentationScope(name, version, schema_url, clean_attributes(attributes))
        meters: dict[Any, Any] = self._meters
        with late_warnings, self._meter_lock:
            meter = meters.get(scope)
            if meter is None and len(meters) >= self._meter_limit:
                warn_once(
                    ("provider", "meters"),
                    "There are %d meters, which is the limit; what further ones measure is lost. Name a meter after a "
                    "library, once.",
                    self._meter_limit,
                )
                return NoOpMeter(name, version, schema_url)
            if meter is None:
                config = self._apply_meter_configurator(scope)
                meter = meters[scope] = Meter(scope, self._consumer, config)
            return meter

    def add_metric_reader(self, metric_reader: MetricReader) -> None:
        """Add a reader. One that is registered already is reported and left as it is."""
        known = metric_reader in registered_readers()[1]
        with late_warnings, self._lock:
            super().add_metric_reader(metric_reader)
        if not known:
            self._metric_readers = (*self._metric_readers, metric_reader)

    def remove_metric_reader(self, metric_reader: MetricReader) -> None:
        """Remove a reader and shut it down. One that is not registered is reported."""
        with late_warnings, self._lock:
            super().remove_metric_reader(metric_reader)
        self._metric_readers = tuple(reader for reader in self._metric_readers if reader is not metric_reader)

    def _adopt(self, reader: MetricReader) -> None:
        lock, registered = registered_readers()
        with lock:
            if reader in registered:
                raise Exception(  # noqa: TRY002  # the class is the SDK's choice
                    f"MetricReader {reader} has been registered already in other MeterProvider instance"
                )
            registered.add(reader)
        self._consumer.add_metric_reader(reader)
        register_reader(reader, self, self._consumer.collect)
        self._metric_readers = (*self._metric_readers, reader)

    @property
    def held(self) -> int:
        """How many attribute sets all streams keep apart now."""
        return self._consumer.held

    def overflowing(self) -> dict[str, int]:
        """Tell which metrics count some attribute sets together for want of room, and in how many streams."""
        return self._consumer.overflowing()

    def add_source(self, source: Source) -> None:
        """Show what another client measures as if it were ours. The source belongs to this provider from now on."""
        self._consumer.add_source(source)

    def visit(self, metric_reader: MetricReader, read: Callable[[Storage], _T], timeout_millis: float = 10_000) -> _T:
        """Let a reader of ours read the store itself; see `otelbridge.metrics.consumer.Consumer.visit`."""
        return self._consumer.visit(metric_reader, read, timeout_millis)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Have all readers push what is recorded now.

        Args:
            timeout_millis: How long it may take.

        Returns:
            Whether they did; False at once for a callback, signal handler or finalizer in the middle of a read.
        """
        return not refuses("MeterProvider.force_flush()") and super().force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000) -> None:
        """Shut the readers down, then leave the group of processes.

        In the middle of a read, a callback, signal handler or finalizer that asks for it gets a warning instead.
        """
        if not refuses("MeterProvider.shutdown()"):
            self.end(timeout_millis)

    def end(self, timeout_millis: float) -> None:
        """Do what `shutdown` does, for who has seen to it that nothing of it is in the middle."""
        try:
            super().shutdown(timeout_millis)
        finally:
            self._consumer.publish()
            self._consumer.close()
            if self._processes is not None:
                self._processes.close()

    def _handle_fork(self) -> None:
        """Leave out what the SDK does in a forked child; `_begin_anew` has done it, for uWSGI too."""

    def _begin_anew(self) -> None:
        if self._processes is None or not self._processes.group:
            # Each child has an identity of its own, unless they are one.
            self._update_resource(process_resource())
        self._consumer.after_fork()

    def _set_meter_configurator(self, *, meter_configurator: Any) -> None:
        with late_warnings:
            super()._set_meter_configurator(meter_configurator=meter_configurator)
            self._consumer.rewire()
