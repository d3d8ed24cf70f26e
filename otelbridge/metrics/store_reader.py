"""What readers of ours have in common: on our provider they read the store itself."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import MetricReader

from otelbridge.metrics.provider import MeterProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricsData
    from opentelemetry.sdk.metrics.view import Aggregation


class StoreReader(MetricReader):
    """A reader that knows whether its provider is ours, and is given what any other collects."""

    def __init__(
        self,
        preferred_temporality: Mapping[type, AggregationTemporality],
        preferred_aggregation: Mapping[type, Aggregation] | None = None,
    ) -> None:
        super().__init__(dict(preferred_temporality), dict(preferred_aggregation or {}))
        self._provider: MeterProvider | None = None
        self._data: MetricsData | None = None
        self._collected: Callable[[float], None] | None = None

    def watch(self, collected: Callable[[float], None]) -> None:
        """Have each time told how many seconds it takes to read everything."""
        self._collected = collected

    def _tell(self, began: float) -> None:
        """Tell who watches how long it took, since a time of `time.perf_counter`."""
        if self._collected is not None:
            self._collected(perf_counter() - began)

    def _collect_data(self, timeout_millis: float = 10_000) -> MetricsData | None:
        """Have the provider collect; give what it did."""
        self._data = None
        self.collect(timeout_millis)
        data, self._data = self._data, None
        return data

    def _set_meter_provider(self, meter_provider: Any) -> None:
        super()._set_meter_provider(meter_provider)  # pyright: ignore[reportUnknownMemberType]
        self._provider = meter_provider if isinstance(meter_provider, MeterProvider) else None

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002  # the base class's
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        self._data = metrics_data
