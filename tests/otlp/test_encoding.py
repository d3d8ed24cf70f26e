"""What is written straight to bytes, read back by the official messages and held against upstream's encoder."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otelbridge.diagnostics import forget_warnings
from otelbridge.otlp.encoding import Encoder

START, NOW = 1_700_000_000_123_456_789, 1_700_000_060_000_000_000
CUMULATIVE, DELTA = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
int64 = st.integers(-(2**63), 2**63 - 1)
uint64 = st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1))
numbers = st.one_of(int64, st.floats())
values = st.recursive(
    st.one_of(st.none(), st.booleans(), texts, int64, st.floats(), st.binary(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple), st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=4,
)
attribute_sets = st.one_of(st.none(), st.dictionaries(texts, values, max_size=2))
times = st.integers(0, 2**64 - 1)
trace_ids = st.one_of(st.none(), st.integers(0, 2**128 - 1))
span_ids = st.one_of(st.none(), st.integers(0, 2**64 - 1))
exemplars = st.lists(st.builds(Exemplar, attribute_sets, numbers, times, span_ids, trace_ids), max_size=2)
often_none = st.one_of(st.just([]), exemplars)
starts = st.one_of(times, st.none())
extremes = st.one_of(st.floats(allow_nan=False), st.integers(-100, 100))

number_points = st.builds(NumberDataPoint, attribute_sets, starts, times, numbers, often_none)


@st.composite
def histogram_points(draw: st.DrawFn) -> HistogramDataPoint:
    bounds = draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4, unique=True).map(sorted))
    counts = draw(st.lists(uint64, min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    low, high = draw(extremes), draw(extremes)
    counted, total = draw(uint64), draw(st.one_of(st.floats(), st.integers(-(10**30), 10**30)))
    where, start, now, samples = draw(attribute_sets), draw(starts), draw(times), draw(often_none)
    return HistogramDataPoint(where, start, now, counted, total, counts, bounds, low, high, samples)


buckets = st.builds(Buckets, st.integers(-(2**31), 2**31 - 1), st.lists(uint64, max_size=5))
exponential_points = st.builds(
    ExponentialHistogramDataPoint,
    attributes=attribute_sets,
    start_time_unix_nano=starts,
    time_unix_nano=times,
    count=uint64,
    sum=st.floats(),
    scale=st.integers(-(2**31), 2**31 - 1),
    zero_count=uint64,
    positive=buckets,
    negative=buckets,
    flags=st.integers(0, 2**32 - 1),
    min=extremes,
    max=extremes,
    exemplars=often_none,
)
temporalities = st.sampled_from([CUMULATIVE, DELTA])


def some(points):
    return st.lists(points, min_size=1, max_size=3)


data = st.one_of(
    st.builds(Gauge, some(number_points)),
    st.builds(Sum, some(number_points), temporalities, st.booleans()),
    st.builds(Histogram, some(histogram_points()), temporalities),
    st.builds(ExponentialHistogram, some(exponential_points), temporalities),
)
metrics = st.builds(Metric, texts, texts, texts, data)
plain_sets = st.one_of(st.none(), st.dictionaries(texts.filter(bool), st.one_of(texts, st.booleans()), max_size=2))
scopes = st.builds(InstrumentationScope, texts, st.one_of(st.none(), texts), st.one_of(st.none(), texts), plain_sets)
resources = st.builds(Resource, st.dictionaries(texts.filter(bool), st.one_of(texts, int64), max_size=3), texts)


def _shown_resource(resource: Resource) -> Any:
    return tuple(sorted(resource.attributes.items(), key=repr)), resource.schema_url


def _shown_scope(scope: InstrumentationScope) -> Any:
    """A scope as it is sent, where nothing and an empty text look the same."""
    return (
        scope.name,
        scope.version or "",
        scope.schema_url or "",
        tuple(sorted((scope.attributes or {}).items(), key=repr)),
    )


@st.composite
def collected(draw: st.DrawFn) -> MetricsData:
    """What a provider could collect: no resource and no scope twice."""
    made = []
    for resource in draw(st.lists(resources, min_size=1, max_size=2, unique_by=_shown_resource)):
        unique = draw(st.lists(scopes, min_size=1, max_size=2, unique_by=_shown_scope))
        inside = [ScopeMetrics(scope, draw(some(metrics)), scope.schema_url) for scope in unique]
        made.append(ResourceMetrics(resource, inside, resource.schema_url))
    return MetricsData(made)


def parsed(body: bytes) -> ExportMetricsServiceRequest:
    return ExportMetricsServiceRequest.FromString(body)


def merged(requests) -> ExportMetricsServiceRequest:
    """All requests as one, streams that were cut put together again."""
    whole = ExportMetricsServiceRequest()
    for request in requests:
        for resource in parsed(request.body).resource_metrics:
            _append(whole.resource_metrics, resource, ("resource", "schema_url"), "scope_metrics", _add_scope)
    return whole


def _add_scope(into, scope) -> None:
    _append(into, scope, ("scope", "schema_url"), "metrics", _add_metric)


def _add_metric(into, metric) -> None:
    kind = metric.WhichOneof("data")
    last = into[-1] if into else None
    if last is not None and _head(last) == _head(metric):
        getattr(last, kind).data_points.extend(getattr(metric, kind).data_points)
    else:
        into.append(metric)


def _head(metric) -> bytes:
    copy = type(metric).FromString(metric.SerializeToString())
    getattr(copy, copy.WhichOneof("data")).ClearField("data_points")
    return copy.SerializeToString(deterministic=True)


def _append(into, message, names, inner, add) -> None:
    last = into[-1] if into else None
    if last is None or any(getattr(last, name) != getattr(message, name) for name in names):
        last = into.add()
        last.CopyFrom(message)
        last.ClearField(inner)
    for each in getattr(message, inner):
        add(getattr(last, inner), each)


def upstream(collected: MetricsData) -> ExportMetricsServiceRequest:
    """Upstream's encoding, less the extremes that are none."""
    message = encode_metrics(collected)
    for resource in message.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points:
                    if "histogram" in kind:
                        for name in ("min", "max"):
                            if not math.isfinite(getattr(point, name)):
                                point.ClearField(name)
    return message


def exact(message) -> bytes:
    """A form in which NaN equals itself."""
    return message.SerializeToString(deterministic=True)


def one(*points: Any, name: str = "m", **resource: Any) -> MetricsData:
    scope = ScopeMetrics(InstrumentationScope("shop", "1"), [Metric(name, "", "", Sum(points, CUMULATIVE, True))], "")
    return MetricsData([ResourceMetrics(Resource(resource), [scope], "")])


@settings(max_examples=100, deadline=None)
@given(collected())
def test_it_says_what_upstream_says(collected) -> None:
    (request,) = Encoder(1 << 30).encode_data(collected)
    assert exact(parsed(request.body)) == exact(upstream(collected))
    assert request.points == sum(
        len(metric.data.data_points)
        for resource in collected.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


@pytest.mark.parametrize("first", [0.0, -0.0])
def test_zero_and_minus_zero_are_two_bounds(first) -> None:
    encoder = Encoder()
    for bound in (first, -first):
        point = HistogramDataPoint({}, 1, 2, 1, 0.5, [0, 1], [bound], 0.5, 0.5)
        scope = ScopeMetrics(
            InstrumentationScope("shop", "1"), [Metric("h", "", "", Histogram([point], CUMULATIVE))], ""
        )
        collected = MetricsData([ResourceMetrics(Resource({}), [scope], "")])
        (request,) = encoder.encode_data(collected)
        assert exact(parsed(request.body)) == exact(upstream(collected))


@settings(max_examples=30, deadline=None)
@given(st.lists(collected(), min_size=2, max_size=2))
def test_what_is_remembered_changes_nothing(exports) -> None:
    encoder = Encoder(1 << 30)
    for collected in [*exports, *exports]:
        (request,) = encoder.encode_data(collected)
        assert exact(parsed(request.body)) == exact(upstream(collected))


def _keeps_apart(collected: MetricsData) -> bool:
    """Whether no two neighbours look alike once one of them is cut, so that `merged` can tell."""
    for resource in collected.resource_metrics:
        for scope in resource.scope_metrics:
            heads = [(metric.name, metric.description, metric.unit, type(metric.data)) for metric in scope.metrics]
            if any(first == second for first, second in pairwise(heads)):
                return False
    shown = [exact(message) for message in upstream(collected).resource_metrics]
    return len(set(shown)) == len(shown)


@settings(max_examples=60, deadline=None)
@given(collected().filter(_keeps_apart), st.integers(1, 2000))
def test_requests_are_cut_between_points_and_each_is_whole(collected, limit) -> None:
    requests = Encoder(limit).encode_data(collected)
    for request in requests:
        points = [
            point
            for resource in parsed(request.body).resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in getattr(metric, metric.WhichOneof("data")).data_points
        ]
        assert request.points == len(points)
        assert len(request.body) <= limit or request.points == 1
    assert exact(merged(requests)) == exact(upstream(collected))


def test_ten_thousand_points_make_few_requests_that_are_nearly_full() -> None:
    points = [NumberDataPoint({"route": f"/items/{number}"}, START, NOW, number) for number in range(10_000)]
    requests = Encoder(100_000).encode_data(one(*points, service="shop"))
    sizes = [len(request.body) for request in requests]
    assert all(99_000 < size <= 100_000 for size in sizes[:-1])
    found = [
        point.as_int
        for request in requests
        for point in parsed(request.body).resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points
    ]
    assert found == list(range(10_000))
    for request in requests:
        (attribute,) = parsed(request.body).resource_metrics[0].resource.attributes
        assert attribute.value.string_value == "shop"


def test_a_point_larger_than_a_request_goes_alone() -> None:
    small, large = (NumberDataPoint({"a": "x" * size}, START, NOW, 1) for size in (1, 5000))
    requests = Encoder(1000).encode_data(one(small, large, small))
    assert [request.points for request in requests] == [1, 1, 1]


def test_nothing_makes_no_request() -> None:
    assert Encoder().encode_data(MetricsData([])) == []
    assert Encoder().encode_data(one()) == []


def _point(body: bytes):
    return parsed(body).resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0]


@pytest.mark.parametrize(
    ("value", "written"), [(2**63, 2.0**63), (-(2**70), -(2.0**70)), (10**400, 1.7976931348623157e308)]
)
def test_a_total_beyond_64_bits_becomes_the_nearest_float(value, written) -> None:
    (request,) = Encoder().encode_data(one(NumberDataPoint({}, START, NOW, value)))
    assert _point(request.body).as_double == written


def test_attributes_that_otlp_has_no_form_for() -> None:
    forget_warnings()
    loop: list[Any] = []
    loop.append(loop)
    where = {"whole": 2**64, "half": "\ud800", "object": object(), "loop": loop, "good": 1}
    (request,) = Encoder().encode_data(one(NumberDataPoint(where, START, NOW, 1)))
    found = {each.key: each.value for each in _point(request.body).attributes}
    assert set(found) == {"whole", "half", "good"}
    assert (found["whole"].string_value, found["half"].string_value) == (str(2**64), "?")


def test_a_point_that_cannot_be_written_is_left_out_and_the_rest_goes(caplog) -> None:
    forget_warnings()
    good, bad = NumberDataPoint({}, START, NOW, 1), NumberDataPoint({"a": "b"}, START, NOW, "seven")
    (request,) = Encoder().encode_data(one(bad, good, bad, name="orders"))
    assert request.points == 1
    assert _point(request.body).as_int == 1
    assert caplog.text.count("orders is pushed without a series") == 1


def test_attribute_sets_that_come_no_more_are_forgotten() -> None:
    encoder = Encoder()
    for round_ in range(50):
        points = [NumberDataPoint({"n": f"{round_}.{number}"}, START, NOW, 1) for number in range(100)]
        encoder.encode_data(one(*points))
    (cache,) = encoder._caches.values()
    assert len(cache) <= 300
    encoder.encode_data(one(NumberDataPoint({}, START, NOW, 1), name="other"))
    (cache,) = encoder._caches.values()
    assert len(cache) == 1
