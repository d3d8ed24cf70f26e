"""Metrics into OTLP requests, from the store itself or from what the SDK collects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    Gauge,
    Histogram,
    Sum,
)

from otelbridge.metrics.wire import block, unsigned
from otelbridge.otlp.joining import joined
from otelbridge.otlp.points import exponentials, gauges, histograms, numbers
from otelbridge.otlp.requests import MAX_REQUEST, EncodedStream, Request, cut
from otelbridge.otlp.summaries import summaries
from otelbridge.otlp.values import AttributeCache, attributes, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.sdk.metrics.export import Metric, MetricsData
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    from otelbridge.metrics.current import CurrentStream

    WritePoints = Callable[[Sequence[Any], Sequence[bytes], str], list[bytes]]


class _Kind(NamedTuple):
    """How OTLP writes a kind of data."""

    field: int
    """Number of the field of ``Metric``."""

    attributes: int
    """Number of the field of its points that has the attributes."""

    write: WritePoints
    """Writes the points."""


# By the names `otelbridge.metrics.current.CurrentStream.kind` has.
_KINDS = {
    "last": _Kind(5, 7, gauges),
    "sum": _Kind(7, 7, numbers),
    "histogram": _Kind(9, 9, histograms),
    "exponential": _Kind(10, 1, exponentials),
    "summary": _Kind(11, 7, summaries),
}
_NAMES: dict[type[Any], str] = {
    Gauge: "last",
    Sum: "sum",
    Histogram: "histogram",
    ExponentialHistogram: "exponential",
}


class Encoder:
    """Writes ``ExportMetricsServiceRequest`` after ``ExportMetricsServiceRequest``. Not for several threads at once.

    Args:
        limit: Bytes a request has at most; see `otelbridge.otlp.requests.cut`.
    """

    def __init__(self, limit: int = MAX_REQUEST) -> None:
        self._limit = limit
        self._caches: dict[object, AttributeCache] = {}
        self._used: dict[object, AttributeCache] = {}

    def encode(self, resource: Resource, streams: Iterable[CurrentStream]) -> list[Request]:
        """Write what the store holds now.

        Args:
            resource: The service.
            streams: Totals, as `otelbridge.metrics.current.Current` gives them, or the deltas
                `otelbridge.otlp.deltas.Deltas` makes of them.

        Returns:
            The requests.
        """
        scopes: dict[InstrumentationScope, list[CurrentStream]] = {}
        for stream in streams:
            if stream.kind:
                scopes.setdefault(stream.scope, []).append(stream)
        around = _resource(resource)
        return self._finish(
            self._stream(around, scope, stream, stream.kind, stream.points, _totals(stream), lasting=stream.lasting)
            for scope, streams_of_scope in _encoded(scopes)
            for stream in joined(streams_of_scope)
        )

    def encode_data(self, data: MetricsData) -> list[Request]:
        """Write what the SDK collected.

        Args:
            data: The data, of any temporality.

        Returns:
            The requests.
        """
        return self._finish(
            self._stream(
                around, scope, metric, _NAMES[type(metric.data)], metric.data.data_points, _around(metric.data)
            )
            for around, scope, metric in _flat(data)
        )

    def _stream(
        self,
        resource: bytes,
        scope: bytes,
        named: CurrentStream | Metric,
        kind: str,
        points: Sequence[Any],
        data: bytes,
        *,
        lasting: bool = False,
    ) -> EncodedStream:
        how = _KINDS[kind]
        name = named.name
        metric = text(1, name) + _optional(2, named.description) + _optional(3, named.unit)
        key = (scope, metric, kind)
        cache = self._used.get(key, self._caches.get(key))
        if cache is None:
            cache = AttributeCache(how.attributes)
        self._used[key] = cache
        written = how.write(points, cache.find(points, lasting=lasting), name)
        return EncodedStream(resource, scope, metric, how.field, data, written)

    def _finish(self, streams: Iterable[EncodedStream]) -> list[Request]:
        self._used = {}
        requests = cut(streams, self._limit)
        # Whatever was not there this time is forgotten.
        self._caches = self._used
        return requests


def _encoded(
    scopes: dict[InstrumentationScope, list[CurrentStream]],
) -> Iterable[tuple[bytes, list[CurrentStream]]]:
    return ((_scope(scope, scope.schema_url), streams) for scope, streams in scopes.items())


def _flat(data: MetricsData) -> Iterable[tuple[bytes, bytes, Metric]]:
    for of_resource in data.resource_metrics:
        resource = _resource(of_resource.resource)
        for of_scope in of_resource.scope_metrics:
            scope = _scope(of_scope.scope, of_scope.scope.schema_url if of_scope.scope else None)
            for metric in of_scope.metrics:
                if type(metric.data) in _NAMES:
                    yield resource, scope, metric


def _resource(resource: Resource) -> bytes:
    return block(1, attributes(1, resource.attributes)) + _optional(3, resource.schema_url)


def _scope(scope: InstrumentationScope | None, schema_url: str | None) -> bytes:
    if scope is None:
        return block(1, b"")
    named = _optional(1, scope.name) + _optional(2, scope.version) + attributes(3, scope.attributes)
    return block(1, named) + _optional(3, schema_url)


def _totals(stream: CurrentStream) -> bytes:
    if stream.kind in ("last", "summary"):
        return b""
    return unsigned(2, stream.temporality.value) + (unsigned(3, 1) if stream.monotonic else b"")


def _around(data: Any) -> bytes:
    if isinstance(data, Gauge):
        return b""
    monotonic = isinstance(data, Sum) and data.is_monotonic
    return unsigned(2, int(data.aggregation_temporality)) + (unsigned(3, 1) if monotonic else b"")


def _optional(field: int, value: str | None) -> bytes:
    return text(field, value) if value else b""
