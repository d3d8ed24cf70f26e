"""Readers that push: one a destination, so that a dead one does not hold up the others."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)

from otelbridge.otlp.exporters import create_metric_exporter, preferences

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

    from otelbridge.config.options import Otlp

_CONSOLE_INTERVAL_MILLIS = 10_000.0


class _Witness(MetricExporter):
    """Passes everything on to an exporter, and remembers whether the last push arrived."""

    def __init__(self, exporter: MetricExporter, otlp: Otlp) -> None:
        super().__init__(**preferences(otlp))
        self._exporter = exporter
        self.arrived = True

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        self.arrived = False
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

    Args:
        otlp: The destination.
    """

    def __init__(self, otlp: Otlp) -> None:
        self._witness = _Witness(create_metric_exporter(otlp), otlp)
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
            done = super(OtlpReader, self).force_flush(timeout_millis)
            flushed.append(done and self._witness.arrived)

        thread = threading.Thread(target=flush, name="otelbridge-flush", daemon=True)
        thread.start()
        thread.join(timeout_millis / 1000)
        return flushed == [True]


def create_otlp_reader(otlp: Otlp) -> OtlpReader:
    """Make the reader that pushes to one destination at its interval.

    Args:
        otlp: The destination.

    Returns:
        A running reader; hand it to one provider.

    Raises:
        ConfigError: As `create_metric_exporter`.
    """
    return OtlpReader(otlp)


def create_console_reader() -> PeriodicExportingMetricReader:
    """Make the reader that prints everything to standard output every ten seconds."""
    return PeriodicExportingMetricReader(ConsoleMetricExporter(), export_interval_millis=_CONSOLE_INTERVAL_MILLIS)
