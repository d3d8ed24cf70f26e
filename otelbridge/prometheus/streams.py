"""What families are made of: the series of one instrument, wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import ExponentialHistogram, Gauge, Histogram, Sum

from otelbridge.catalogue.naming import Shape
from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope


@dataclass(slots=True)
class Stream:
    """The series of one instrument at one moment."""

    scope: InstrumentationScope | None
    """Who measures. The same object at each scrape, since it is remembered by its identity."""

    name: str
    """Name of the instrument."""

    unit: str
    """UCUM unit."""

    description: str
    """What is measured."""

    shape: Shape
    """What the data is. Sums and histograms are cumulative."""

    points: Sequence[Any]
    """One data point of the SDK for each series, or an object with the same attributes. Its ``attributes``
    are the same object at each scrape wherever possible, since labels are remembered by it."""

    lasting: bool = False
    """Whether ``points`` is the same list at each scrape as long as it is the same series."""


def read(data: MetricsData | None) -> tuple[Resource | None, list[Stream]]:
    """Read what a reader of the SDK has collected.

    Args:
        data: What it was handed; None where there is nothing.

    Returns:
        The resource (the SDK has one; of several the first) and the streams. Data of kinds that Prometheus
        does not know is left out, reported once.
    """
    found: list[Stream] = []
    resources: Sequence[ResourceMetrics] = () if data is None else data.resource_metrics
    for resource_metrics in resources:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                shape = _shape(metric.data)
                if shape is None:
                    warn_once(
                        (metric.name, "data"),
                        "%.200s is left out of the metrics page: its data, a %s, has no form in Prometheus.",
                        metric.name,
                        type(metric.data).__name__,
                    )
                    continue
                points: Sequence[Any] = metric.data.data_points
                found.append(
                    Stream(scope_metrics.scope, metric.name, metric.unit or "", metric.description or "", shape, points)
                )
    return (resources[0].resource if resources else None), found


def _shape(data: object) -> Shape | None:
    if isinstance(data, Sum):
        return Shape.COUNTER if data.is_monotonic else Shape.UP_DOWN
    return _SHAPES.get(type(data))


_SHAPES: dict[type, Shape] = {Gauge: Shape.GAUGE, Histogram: Shape.HISTOGRAM, ExponentialHistogram: Shape.HISTOGRAM}
