"""The OpenTelemetry SDK as its users set it up."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricReader,
    PeriodicExportingMetricReader,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import CollectorRegistry

SDK_ONE = "OpenTelemetry SDK, 1 reader"
SDK_TWO = "OpenTelemetry SDK, 2 readers"
HELD = "prometheus_client, held child"
LABELS = "prometheus_client, labels()"
PROMETHEUS = "prometheus_client"
MULTIPROCESS = "prometheus_client, multi-process"

NEVER_MILLIS = 3_600_000.0
"""An export interval that no run lasts."""


class NullExporter(MetricExporter):
    """Takes everything, sends nothing."""

    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        del metrics_data, timeout_millis, kwargs
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        del timeout_millis
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        del timeout_millis, kwargs


def readers(count: int, registry: CollectorRegistry | None = None) -> list[MetricReader]:
    """Give the reader for Prometheus and, for two, that for a periodic export."""
    # Not at the top: a contender that wants prometheus_client's multi-process mode must say so before its import.
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry

    made: list[MetricReader] = [PrometheusMetricReader(registry=registry or CollectorRegistry())]
    if count > 1:
        made.append(PeriodicExportingMetricReader(NullExporter(), export_interval_millis=NEVER_MILLIS))
    return made


def choose_multiprocess() -> None:
    """Switch prometheus_client to its multi-process mode; it asks for that once, when it is imported."""
    if "prometheus_client" in sys.modules:
        raise RuntimeError("prometheus_client is imported already, its multi-process mode cannot be had any more")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp()


def create_sdk(metric_readers: Sequence[MetricReader]) -> MeterProvider:
    """Make the SDK's provider."""
    return MeterProvider(metric_readers=metric_readers, shutdown_on_exit=False)
