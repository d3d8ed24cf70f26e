"""Upstream's reader, to show what it does where ours does otherwise."""

from __future__ import annotations

from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest


class Both:
    """A provider of the SDK with upstream's reader, and beside it one that keeps what ours is given.

    Args:
        scope_labels: Whether upstream shows scope labels.
        **options: Further arguments of the provider.
    """

    def __init__(self, *, scope_labels: bool = False, **options: Any) -> None:
        self.registry = CollectorRegistry()
        self._memory = InMemoryMetricReader()
        reader = PrometheusMetricReader(True, scope_info_enabled=scope_labels, registry=self.registry)
        self.provider = MeterProvider([reader, self._memory], resource=Resource({}), shutdown_on_exit=False, **options)

    def upstream(self) -> bytes:
        """The page of upstream."""
        return generate_latest(self.registry)

    def data(self) -> MetricsData:
        """What ours is given."""
        data = self._memory.get_metrics_data()
        assert data is not None
        return data
