"""Collected metrics built by hand, strategies that build the strangest ones, and judges of pages."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
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
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

CUMULATIVE = AggregationTemporality.CUMULATIVE
SHOP = InstrumentationScope("shop", "1.0")
START, NOW = 1_700_000_000_123_456_789, 1_700_000_060_000_000_000

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def number(value: Any, attributes: Any = None, exemplars: Any = (), time: int = NOW) -> NumberDataPoint:
    return NumberDataPoint({} if attributes is None else attributes, START, time, value, exemplars)


def histogram(counts, bounds, total: Any = 1.5, attributes: Any = None, exemplars: Any = ()) -> HistogramDataPoint:
    where = {} if attributes is None else attributes
    return HistogramDataPoint(where, START, NOW, sum(counts), total, counts, bounds, 0, 1, exemplars)


def exponential(
    scale: int,
    positive: dict[int, int],
    negative: dict[int, int] | None = None,
    *,
    zero: int = 0,
    total: Any = 1.5,
    attributes: Any = None,
    exemplars: Any = (),
) -> ExponentialHistogramDataPoint:
    sides = [_dense(positive), _dense(negative or {})]
    count = zero + sum(positive.values()) + sum((negative or {}).values())
    where = {} if attributes is None else attributes
    return ExponentialHistogramDataPoint(
        where, START, NOW, count, total, scale, zero, sides[0], sides[1], 0, 0, 1, exemplars
    )


def _dense(counts: dict[int, int]) -> Buckets:
    low = min(counts, default=0)
    return Buckets(low, [counts.get(at, 0) for at in range(low, max(counts, default=-1) + 1)])


def counter(name: str, *points: Any, unit: str = "", description: str = "") -> Metric:
    return Metric(name, description, unit, Sum(points, CUMULATIVE, True))


def up_down(name: str, *points: Any, unit: str = "", description: str = "") -> Metric:
    return Metric(name, description, unit, Sum(points, CUMULATIVE, False))


def gauge(name: str, *points: Any, unit: str = "", description: str = "") -> Metric:
    return Metric(name, description, unit, Gauge(points))


def histograms(name: str, *points: Any, unit: str = "", description: str = "") -> Metric:
    if points and isinstance(points[0], ExponentialHistogramDataPoint):
        return Metric(name, description, unit, ExponentialHistogram(points, CUMULATIVE))
    return Metric(name, description, unit, Histogram(points, CUMULATIVE))


def exemplar(value: Any, time: int = NOW, attributes: Any = None, trace: int | None = 0xABC, span: int | None = 0xD):
    return Exemplar(attributes or {}, value, time, span, trace)


def scoped(scope: InstrumentationScope, *metrics: Metric) -> ScopeMetrics:
    return ScopeMetrics(scope, metrics, "")


def collected(*metrics: Metric | ScopeMetrics, resource: dict[str, Any] | None = None) -> MetricsData:
    """What a reader is handed; metrics that come without a scope share one."""
    own = [metric for metric in metrics if isinstance(metric, Metric)]
    scopes = [metric for metric in metrics if isinstance(metric, ScopeMetrics)]
    if own:
        scopes.insert(0, scoped(SHOP, *own))
    return MetricsData([ResourceMetrics(Resource(resource or {}), scopes, "")])


def samples(families) -> Samples:
    """Samples of a parsed page; one that stands there twice fails. Labels without value count for nothing."""
    found: Samples = {}
    for family in families:
        for sample in family.samples:
            labels = {key: value for key, value in sample.labels.items() if value}
            if "le" in labels and family.type == "histogram":
                labels["le"] = repr(float(labels["le"]))
            key = (sample.name, tuple(sorted(labels.items())))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def text_samples(page: bytes) -> Samples:
    return samples(parse_text(page.decode()))


def openmetrics_samples(page: bytes) -> Samples:
    return samples(parse_openmetrics(page.decode()))


_AWKWARD = [
    "",
    "le",
    "quantile",
    "__name__",
    "__x",
    "_",
    "a.b",
    "a_b",
    "a b",
    "a..b",
    "1a",
    "otel_scope_name",
    "é",
    "日本",
]
_AWKWARD += [
    "\udc80",
    "x\udfff",
    "\0",
    "a\nb",
    "a\rb",
    'q"q',
    "b\\b",
    "\u2028",
    "# EOF",
    "{}",
    "%s %d",
    ":",
    "x" * 3000,
]
_AWKWARD += ["x_total", "x", "x_created", "x_sum", "x_count", "x_bucket", "target_info", "target", "trace_id"]

texts = st.one_of(st.sampled_from(_AWKWARD), st.text(st.characters(), max_size=8))
units = st.one_of(st.sampled_from(["", "1", "s", "By", "{request}", "By/s", "%", "m/s", "/", "{", "°C"]), texts)
_scalars = st.one_of(texts, st.booleans(), st.integers(), st.floats(), st.binary(max_size=5), st.none())
values = st.one_of(_scalars, st.lists(_scalars, max_size=3), st.dictionaries(texts, _scalars, max_size=2))
attribute_sets = st.dictionaries(texts, values, max_size=4)
# Without quotes: the parser of prometheus_client takes an escaped one in an exemplar for its end.
_plain = texts.map(lambda text: text.replace('"', ""))
_unquoted = st.dictionaries(_plain, st.one_of(_plain, st.integers()), max_size=3)
_exemplars = st.lists(
    st.builds(
        exemplar,
        st.one_of(st.integers(-5, 5), st.floats()),
        st.integers(0, NOW),
        _unquoted,
        st.one_of(st.none(), st.integers(0, 2**128 - 1)),
        st.one_of(st.none(), st.integers(0, 2**64 - 1)),
    ),
    max_size=2,
)
_amounts = st.one_of(st.integers(), st.floats(), st.booleans(), st.just(10**400), st.just("5"), st.none())
_numbers = st.builds(number, _amounts, attribute_sets, _exemplars)


@st.composite
def _histograms(draw: Any) -> HistogramDataPoint:
    bounds = draw(st.lists(st.floats(-1e9, 1e9), max_size=4, unique=True).map(sorted))
    counts = draw(st.lists(st.integers(0, 9), min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    return histogram(counts, tuple(bounds), draw(st.floats()), draw(attribute_sets), draw(_exemplars))


_buckets = st.dictionaries(st.integers(-40, 40), st.integers(1, 9), max_size=5)


@st.composite
def _exponentials(draw: Any) -> ExponentialHistogramDataPoint:
    return exponential(
        draw(st.integers(-10, 20)),
        draw(_buckets),
        draw(_buckets),
        zero=draw(st.integers(0, 3)),
        total=draw(st.floats()),
        attributes=draw(attribute_sets),
        exemplars=draw(_exemplars),
    )


def _metrics(make: Any, points: Any) -> Any:
    several = st.lists(points, max_size=4)
    return st.builds(
        lambda name, found, unit, description: make(name, *found, unit=unit, description=description),
        texts,
        several,
        units,
        texts,
    )


metrics = st.one_of(
    _metrics(counter, _numbers),
    _metrics(up_down, _numbers),
    _metrics(gauge, _numbers),
    _metrics(histograms, _histograms()),
    _metrics(histograms, _exponentials()),
)
_scopes = st.builds(
    lambda name, version, attributes, found: scoped(InstrumentationScope(name, version, None, attributes), *found),
    texts,
    st.one_of(st.none(), texts),
    attribute_sets,
    st.lists(metrics, max_size=4),
)
anything = st.builds(
    lambda scopes, resource: MetricsData([ResourceMetrics(Resource(resource), scopes, "")]),
    st.lists(_scopes, max_size=3),
    st.dictionaries(texts.filter(bool), texts, max_size=3),
)
