"""What a destination prefers: temporality, and how histograms are aggregated."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.config.options import Otlp

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_DELTA = AggregationTemporality.DELTA

# OTLP exporter specification, "Additional Configuration", temporality preference.
_TEMPORALITY: dict[str, dict[type, AggregationTemporality]] = {
    "cumulative": dict.fromkeys(
        (
            sdk.Counter,
            sdk.UpDownCounter,
            sdk.Histogram,
            sdk.ObservableCounter,
            sdk.ObservableUpDownCounter,
            sdk.ObservableGauge,
        ),
        _CUMULATIVE,
    ),
    "delta": {
        sdk.Counter: _DELTA,
        sdk.UpDownCounter: _CUMULATIVE,
        sdk.Histogram: _DELTA,
        sdk.ObservableCounter: _DELTA,
        sdk.ObservableUpDownCounter: _CUMULATIVE,
        sdk.ObservableGauge: _CUMULATIVE,
    },
    "lowmemory": {
        sdk.Counter: _DELTA,
        sdk.UpDownCounter: _CUMULATIVE,
        sdk.Histogram: _DELTA,
        sdk.ObservableCounter: _CUMULATIVE,
        sdk.ObservableUpDownCounter: _CUMULATIVE,
        sdk.ObservableGauge: _CUMULATIVE,
    },
}
_HISTOGRAMS: dict[str, Callable[[], Aggregation]] = {
    "explicit_bucket_histogram": ExplicitBucketHistogramAggregation,
    "base2_exponential_bucket_histogram": ExponentialBucketHistogramAggregation,
}


class Preferences(TypedDict):
    """The arguments every `MetricReader` takes."""

    preferred_temporality: dict[type, AggregationTemporality]
    """Temporality by class of instrument."""

    preferred_aggregation: dict[type, Aggregation]
    """Aggregation by class of instrument."""


def preferences(otlp: Otlp) -> Preferences:
    """Give what a destination prefers, as the arguments every `MetricReader` takes.

    Args:
        otlp: The destination.

    Returns:
        Temporality and aggregation, by class of instrument.
    """
    return {
        "preferred_temporality": dict(_TEMPORALITY[otlp.temporality]),
        "preferred_aggregation": {sdk.Histogram: _HISTOGRAMS[otlp.histogram_aggregation]()},
    }
