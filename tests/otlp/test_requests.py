"""Requests cut out of encoded points: each whole, none too large, nothing lost and nothing twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otelbridge.metrics.wire import block
from otelbridge.otlp.requests import MAX_REQUEST, EncodedStream, cut

_SUM = Metric.DESCRIPTOR.fields_by_name["sum"].number
_POINTS = Sum.DESCRIPTOR.fields_by_name["data_points"].number


def stream(resource: int, scope: int, metric: str, sizes: list[int]) -> EncodedStream:
    """A stream whose points are numbered, each with so many bytes of attributes."""
    points = []
    for number, size in enumerate(sizes):
        point = NumberDataPoint(as_int=number)
        point.attributes.add(key="k" * size)
        points.append(block(_POINTS, point.SerializeToString()))
    of = Resource(dropped_attributes_count=resource)
    scoped = ScopeMetrics(scope=InstrumentationScope(name=f"scope {scope}"), schema_url=f"https://s.test/{scope}")
    return EncodedStream(
        ResourceMetrics(resource=of).SerializeToString(),
        scoped.SerializeToString(),
        Metric(name=metric, unit="s").SerializeToString(),
        _SUM,
        Sum(aggregation_temporality=2, is_monotonic=True).SerializeToString(),
        points,
    )


def read(bodies: list[bytes]) -> list[tuple[int, str, str, int]]:
    """Resource, scope, metric and number of every point, in order; what stands around a point has to be whole."""
    found = []
    for body in bodies:
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for scope in resource.scope_metrics:
                assert scope.schema_url.endswith(scope.scope.name.removeprefix("scope "))
                for metric in scope.metrics:
                    assert (metric.unit, metric.sum.is_monotonic, metric.sum.aggregation_temporality) == ("s", True, 2)
                    number = resource.resource.dropped_attributes_count
                    found += [(number, scope.scope.name, metric.name, p.as_int) for p in metric.sum.data_points]
    return found


sizes = st.lists(st.integers(0, 200), max_size=8)
shapes = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), sizes), max_size=12)


@given(shapes, st.integers(1, 3000))
def test_every_point_is_in_one_request_and_none_is_larger_than_it_must_be(shape, limit) -> None:
    shape.sort(key=lambda one: one[:2])
    streams = [stream(resource, scope, f"m{n}", sizes) for n, (resource, scope, sizes) in enumerate(shape)]
    requests = cut(streams, limit)
    given_points = [(r, f"scope {s}", f"m{n}", i) for n, (r, s, sizes) in enumerate(shape) for i in range(len(sizes))]
    assert read([request.body for request in requests]) == given_points
    for request in requests:
        assert request.points == len(read([request.body])) > 0
        assert len(request.body) <= limit or request.points == 1


@given(shapes)
def test_what_stands_together_is_said_once(shape) -> None:
    shape = sorted((one for one in shape if one[2]), key=lambda one: one[:2])
    requests = cut([stream(resource, scope, f"m{n}", sizes) for n, (resource, scope, sizes) in enumerate(shape)])
    assert len(requests) == bool(shape)
    for request in requests:
        resources = ExportMetricsServiceRequest.FromString(request.body).resource_metrics
        assert len(resources) == len({one[0] for one in shape})
        assert sum(len(each.scope_metrics) for each in resources) == len({one[:2] for one in shape})


@pytest.mark.parametrize("streams", [[], [stream(0, 0, "m", [])]])
def test_nothing_makes_no_request(streams) -> None:
    assert cut(streams) == []


def test_a_request_fits_into_what_receivers_take_by_default() -> None:
    assert MAX_REQUEST <= 4 * 1024 * 1024
    requests = cut([stream(0, 0, "m", [1000] * 9000)])
    assert [len(request.body) <= MAX_REQUEST for request in requests] == [True] * 3
    assert min(len(request.body) for request in requests[:-1]) > MAX_REQUEST - 2000


def test_a_point_that_is_larger_than_a_request_goes_alone() -> None:
    requests = cut([stream(0, 0, "m", [10, 5000, 10])], 1000)
    assert [request.points for request in requests] == [1, 1, 1]
