"""What a receiver would take for one stream is sent as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
)

from otelbridge.cells.evidence import GROUP_VARIABLE
from otelbridge.metrics.current import Current
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.view import View
from otelbridge.otlp.encoding import Encoder
from otelbridge.otlp.joining import joined
from tests.otlp.spooling import parsed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERSIONS = (
    {"explicit": ExplicitBucketHistogramAggregation([1, 10]), "exponential": ExponentialBucketHistogramAggregation(8)},
    {"explicit": ExplicitBucketHistogramAggregation([5, 10]), "exponential": ExponentialBucketHistogramAggregation(2)},
)


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[MeterProvider, Any]]]:
    """Two processes whose views keep other attributes."""
    monkeypatch.setenv(GROUP_VARIABLE, "joining")
    found: list[tuple[MeterProvider, Any]] = []
    for keep, aggregations in zip(({"a"}, {"a", "b"}), _VERSIONS, strict=True):
        views = [View(instrument_name=name, attribute_keys=keep, aggregation=how) for name, how in aggregations.items()]
        views += [View(instrument_name=name, attribute_keys=keep) for name in ("orders", "level")]
        reader = InMemoryMetricReader()
        provider = MeterProvider(
            [reader], views=views, processes=Processes("joining", tmp_path), shutdown_on_exit=False
        )
        found.append((provider, reader))
    yield found
    for provider, _ in found:
        provider.shutdown()


def test_versions_that_keep_other_attributes_send_one_point_a_set(versions: list[tuple[MeterProvider, Any]]) -> None:
    for provider, _ in versions:
        meter = provider.get_meter("shop")
        meter.create_counter("orders").add(2, {"a": 1})
        meter.create_gauge("level").set(3, {"a": 1})
        for name in ("explicit", "exponential"):
            for amount in (0, 4, 7, 100):
                meter.create_histogram(name).record(amount, {"a": 1})
    for provider, reader in versions:
        _, streams = provider.visit(reader, Current().read)
        assert len(streams) == 8
        found = {stream.name: stream.points for stream in joined(streams)}
        assert {name: len(points) for name, points in found.items()} == dict.fromkeys(found, 1)
        assert found["orders"][0].value == 4
        assert found["level"][0].value == 3
        for name in ("explicit", "exponential"):
            (point,) = found[name]
            assert (point.count, point.sum, point.min, point.max) == (8, 222, 0, 100)
        (request,) = Encoder().encode(provider._sdk_config.resource, streams)
        sent = [point.name for point in parsed(request.body)]
        assert sorted(sent) == sorted(found)


def test_other_points_are_sent_as_they_are(versions: list[tuple[MeterProvider, Any]]) -> None:
    for provider, _ in versions:
        provider.get_meter("shop").create_counter("orders").add(2, {"a": 1, "b": 2})
    provider, reader = versions[0]
    _, streams = provider.visit(reader, Current().read)
    (stream,) = joined(streams)
    assert [(dict(point.attributes), point.value) for point in stream.points] == [({"a": 1}, 2), ({"a": 1, "b": 2}, 2)]
    assert joined(streams[:1])[0] is streams[0]
