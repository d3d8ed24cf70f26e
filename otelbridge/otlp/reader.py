"""Readers that push: one a destination, so that a dead one does not hold up the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader

from otelbridge.otlp.exporters import create_metric_exporter

if TYPE_CHECKING:
    from otelbridge.config.options import Otlp

_CONSOLE_INTERVAL_MILLIS = 10_000.0


def create_otlp_reader(otlp: Otlp) -> PeriodicExportingMetricReader:
    """Make the reader that pushes to one destination at its interval.

    Args:
        otlp: The destination.

    Returns:
        A running reader; hand it to one provider.

    Raises:
        ConfigError: As `create_metric_exporter`.
    """
    return PeriodicExportingMetricReader(
        create_metric_exporter(otlp),
        export_interval_millis=otlp.interval * 1000,
        export_timeout_millis=otlp.timeout * 1000,
    )


def create_console_reader() -> PeriodicExportingMetricReader:
    """Make the reader that prints everything to standard output every ten seconds."""
    return PeriodicExportingMetricReader(ConsoleMetricExporter(), export_interval_millis=_CONSOLE_INTERVAL_MILLIS)
