"""Readers that push: one a destination, so that a dead one does not hold up the others."""

from __future__ import annotations

import os
import threading
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource

from otelbridge.otlp.exporters import create_metric_exporter, preferences

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.metrics.export import MetricsData

    from otelbridge.config.options import Otlp
    from otelbridge.metrics.processes import Processes

_CONSOLE_INTERVAL_MILLIS = 10_000.0


class _Witness(MetricExporter):
    """Passes everything on to an exporter, and remembers whether the last push arrived.

    Args:
        exporter: Does the pushing.
        otlp: The destination.
        instance: Gives the ``service.instance.id`` to push under; None leaves the resource's.
    """

    def __init__(self, exporter: MetricExporter, otlp: Otlp, instance: Callable[[], str] | None) -> None:
        super().__init__(**preferences(otlp))
        self._exporter = exporter
        self._instance = instance
        self.arrived = True

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        self.arrived = False
        if self._instance is not None:
            metrics_data = _as_instance(metrics_data, self._instance())
        result = self._exporter.export(metrics_data, timeout_millis, **kwargs)  # pyright: ignore[reportUnknownMemberType]
        self.arrived = result is MetricExportResult.SUCCESS
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._exporter.shutdown(timeout_millis, **kwargs)  # pyright: ignore[reportUnknownMemberType]


class OtlpReader(PeriodicExportingMetricReader):
    """Pushes to one destination at its interval, and says the truth about a flush.

    The SDK's reader takes every flush for a success, and waits for as long as its exporter tries.

    Of a group of processes one pushes at each interval, the totals of all. A flush and the end of a process push
    too, wherever they happen: totals may well arrive twice. Deltas may not, so with them each process pushes its
    own, as an instance of its own.

    Args:
        otlp: The destination.
        processes: The group of processes; None for one that is alone.
    """

    def __init__(self, otlp: Otlp, processes: Processes | None = None) -> None:
        grouped = processes is not None and bool(processes.group)
        apart = grouped and otlp.temporality != "cumulative"
        self._processes = processes if grouped and not apart else None
        self._unasked = True
        self._witness = _Witness(create_metric_exporter(otlp), otlp, _instance_of_process if apart else None)
        super().__init__(
            self._witness,
            export_interval_millis=otlp.interval * 1000,
            export_timeout_millis=otlp.timeout * 1000,
        )

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Push what is recorded now.

        Args:
            timeout_millis: How long to wait for it. A push that takes longer goes on by itself.

        Returns:
            Whether it arrived in time.
        """
        flushed: list[bool] = []

        def flush() -> None:
            self._unasked = False
            done = super(OtlpReader, self).force_flush(timeout_millis)
            self._unasked = True
            flushed.append(done and self._witness.arrived)

        thread = threading.Thread(target=flush, name="otelbridge-flush", daemon=True)
        thread.start()
        thread.join(timeout_millis / 1000)
        return flushed == [True]

    # The SDK has no other place to leave a turn out before anything is collected.
    def collect(self, timeout_millis: float = 10_000) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Collect and push, unless it is another process' turn.

        Args:
            timeout_millis: How long it may take.
        """
        if self._unasked and self._processes is not None and not self._processes.lead("push"):
            return
        super().collect(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Push once more and stop."""
        self._unasked = False
        super().shutdown(timeout_millis, **kwargs)  # pyright: ignore[reportUnknownMemberType]


def create_otlp_reader(otlp: Otlp, processes: Processes | None = None) -> OtlpReader:
    """Make the reader that pushes to one destination at its interval.

    Args:
        otlp: The destination.
        processes: The group of processes this one belongs to; None for one that is alone.

    Returns:
        A running reader; hand it to one provider.

    Raises:
        ConfigError: As `create_metric_exporter`.
    """
    return OtlpReader(otlp, processes)


_instances: dict[int, str] = {}


def _instance_of_process() -> str:
    # By pid, since a forked child is another instance.
    return _instances.setdefault(os.getpid(), str(uuid.uuid4()))


def _as_instance(data: MetricsData, instance: str) -> MetricsData:
    changed = [
        replace(one, resource=one.resource.merge(Resource({"service.instance.id": instance})))
        for one in data.resource_metrics
    ]
    return replace(data, resource_metrics=changed)


def create_console_reader() -> PeriodicExportingMetricReader:
    """Make the reader that prints everything to standard output every ten seconds."""
    return PeriodicExportingMetricReader(ConsoleMetricExporter(), export_interval_millis=_CONSOLE_INTERVAL_MILLIS)
