"""The protobuf format, judged by Google's library with the message definitions of Prometheus."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from otelbridge.catalogue.naming import Strategy
from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics.wire import delimited, packed_signed, signed, unsigned, varint, zigzag
from otelbridge.prometheus.exponential import Exponential, spans
from otelbridge.prometheus.families import FamilyBook, FamilyOptions
from otelbridge.prometheus.model import Kind
from otelbridge.prometheus.protobuf import protobuf
from otelbridge.prometheus.translation import Escaping, Translation
from tests.prometheus.collected import (
    NOW,
    START,
    anything,
    collected,
    counter,
    exemplar,
    exponential,
    gauge,
    histogram,
    histograms,
    number,
    up_down,
)

pytestmark = pytest.mark.endtoend

# The fields of prometheus/client_model's metrics.proto that a page can use: name, number, type.
_MESSAGES = {
    "LabelPair": "name 1 string, value 2 string",
    "Gauge": "value 1 double",
    "Counter": "value 1 double, exemplar 2 Exemplar, created_timestamp 3 Timestamp",
    "Exemplar": "label 1 *LabelPair, value 2 double, timestamp 3 Timestamp",
    "Bucket": "cumulative_count 1 uint64, upper_bound 2 double, exemplar 3 Exemplar",
    "BucketSpan": "offset 1 sint32, length 2 uint32",
    "Histogram": (
        "sample_count 1 uint64, sample_sum 2 double, bucket 3 *Bucket, schema 5 sint32, zero_threshold 6 double, "
        "zero_count 7 uint64, negative_span 9 *BucketSpan, negative_delta 10 *sint64, positive_span 12 *BucketSpan, "
        "positive_delta 13 *sint64, created_timestamp 15 Timestamp, exemplars 16 *Exemplar"
    ),
    "Quantile": "quantile 1 double, value 2 double",
    "Summary": "sample_count 1 uint64, sample_sum 2 double, quantile 3 *Quantile, created_timestamp 4 Timestamp",
    "Untyped": "value 1 double",
    "Metric": (
        "label 1 *LabelPair, gauge 2 Gauge, counter 3 Counter, summary 4 Summary, untyped 5 Untyped, "
        "histogram 7 Histogram"
    ),
    "MetricFamily": "name 1 string, help 2 string, type 3 uint32, metric 4 *Metric, unit 5 string",
}
_PACKAGE = "io.prometheus.client"


def _metric_family() -> Any:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="metrics.proto", package=_PACKAGE, syntax="proto2")
    file.dependency.append("google/protobuf/timestamp.proto")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for each in fields.split(", "):
            called, number_, kind = each.split(" ")
            label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
            kind = kind.removeprefix("*")
            made = message.field.add(name=called, number=int(number_), label=label)
            if kind == "Timestamp":
                made.type, made.type_name = field.TYPE_MESSAGE, ".google.protobuf.Timestamp"
            elif kind in _MESSAGES:
                made.type, made.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                made.type = getattr(field, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.MetricFamily"))


MetricFamily = _metric_family()


def parse(body: bytes) -> list[Any]:
    """Read a stream of messages; a field nobody knows fails."""
    found = []
    while body:
        length = shift = 0
        while True:
            byte, body = body[0], body[1:]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        message, body = body[:length], body[length:]
        assert len(message) == length
        family = MetricFamily.FromString(message)
        family.DiscardUnknownFields()
        assert MetricFamily.FromString(message) == family
        found.append(family)
    return found


def families(*metrics: Any, **more: Any) -> dict[str, Any]:
    return {family.name: family for family in parse(protobuf(FamilyBook().families(collected(*metrics, **more))))}


@pytest.fixture(autouse=True)
def _told_anew():
    forget_warnings()


def test_counters_and_gauges() -> None:
    found = families(
        counter("orders", number(3, {"a": "é", "b": ""}, [exemplar(1, NOW - 9), exemplar(2, NOW, {"x": 1})]), unit="s"),
        up_down("queue", number(-2.5), description="Waiting."),
        gauge("load", number(math.nan), unit="1"),
        resource={"service.name": "shop"},
    )
    target, orders, queue, load = found.values()
    assert (target.name, target.type, target.metric[0].gauge.value) == ("target_info", 1, 1)
    assert (orders.name, orders.type, orders.unit) == ("orders_seconds_total", 0, "seconds")
    (metric,) = orders.metric
    assert [(label.name, label.value) for label in metric.label] == [("a", "é")]
    assert metric.counter.value == 3
    assert metric.counter.created_timestamp.ToNanoseconds() == START
    chosen = metric.counter.exemplar
    assert (chosen.value, chosen.timestamp.ToNanoseconds()) == (2, NOW)
    assert {label.name: label.value for label in chosen.label} == {
        "trace_id": f"{0xABC:032x}",
        "span_id": f"{0xD:016x}",
        "x": "1",
    }
    assert (queue.type, queue.help, queue.metric[0].gauge.value) == (1, "Waiting.", -2.5)
    assert load.name == "load_ratio"
    assert math.isnan(load.metric[0].gauge.value)


def test_classic_histograms() -> None:
    in_buckets = [exemplar(0.5, NOW), exemplar(99, 0, trace=None, span=None)]
    found = families(histograms("wait", histogram([1, 0, 300], (0.1, 1.0), -2.5, exemplars=in_buckets), unit="s"))
    (metric,) = found["wait_seconds"].metric
    told = metric.histogram
    assert (told.sample_count, told.sample_sum) == (301, -2.5)
    assert [(each.upper_bound, each.cumulative_count) for each in told.bucket] == [(0.1, 1), (1, 1), (math.inf, 301)]
    assert [each.exemplar.value for each in told.bucket if each.HasField("exemplar")] == [0.5, 99]
    assert not told.bucket[2].exemplar.HasField("timestamp")
    assert told.created_timestamp.ToNanoseconds() == START
    assert not told.HasField("schema")


def test_exponential_histograms_are_native() -> None:
    timeless = exemplar(5, 0)
    point = exponential(
        3, {3: 10, 6: 20, 7: 5, 8: 2}, {-1: 1}, zero=6, total=7.5, exemplars=[exemplar(1, NOW), timeless]
    )
    told = families(histograms("h", point))["h"].metric[0].histogram
    assert (told.sample_count, told.sample_sum, told.schema, told.zero_count) == (44, 7.5, 3, 6)
    assert told.zero_threshold == 1e-128
    # The example of the specification, "Exponential Histograms".
    assert [(span.offset, span.length) for span in told.positive_span] == [(4, 1), (2, 3)]
    assert list(told.positive_delta) == [10, 10, -15, -3]
    assert [(span.offset, span.length) for span in told.negative_span] == [(0, 1)]
    assert list(told.negative_delta) == [1]
    assert [each.value for each in told.exemplars] == [1]  # they must have a time
    assert len(told.bucket) == 0
    assert told.created_timestamp.ToNanoseconds() == START


def test_scales_prometheus_does_not_have() -> None:
    fine = families(histograms("h", exponential(10, {-5: 1, -4: 2, 7: 4})))["h"].metric[0].histogram
    assert fine.schema == 8
    assert [(span.offset, span.length) for span in fine.positive_span] == [(-1, 2), (1, 1)]
    assert list(fine.positive_delta) == [1, 1, 2]
    coarse = families(histograms("h", exponential(-5, {0: 3, -1: 5}, zero=1)))["h"].metric[0].histogram
    assert not coarse.HasField("schema")
    assert [(each.upper_bound, each.cumulative_count) for each in coarse.bucket] == [
        (0, 1),
        (1, 6),
        (2.0**32, 9),
        (math.inf, 9),
    ]


def test_a_native_histogram_without_measurements_can_be_told_from_a_classic_one() -> None:
    told = families(histograms("h", exponential(0, {}, total=0)))["h"].metric[0].histogram
    assert (told.sample_count, told.schema, told.zero_threshold) == (0, 0, 1e-128)
    assert told.HasField("schema")


@pytest.mark.parametrize(
    "broken",
    [
        histogram([1, 2], (1.0, 2.0), attributes={"a": "bad"}),
        histogram([-1, 0], (1.0,), attributes={"a": "bad"}),
        histogram([1, 0], (1.0,), "much", {"a": "bad"}),
        histogram([2**64, 0], (1.0,), attributes={"a": "bad"}),
    ],
)
def test_a_series_that_cannot_be_written_costs_only_itself(broken, caplog) -> None:
    found = families(
        histograms("h", broken, histogram([1, 2], (1.0,), attributes={"a": "good"})), gauge("g", number(1))
    )
    assert [metric.label[0].value for metric in found["h"].metric] == ["good"]
    assert "g" in found
    assert ["h leaves out the series" in record.getMessage() for record in caplog.records] == [True]


@given(st.dictionaries(st.integers(-500, 500), st.integers(1, 9)))
def test_spans_say_where_the_buckets_are(buckets) -> None:
    found, deltas = spans(buckets)
    read: dict[int, int] = {}
    at = count = 0
    remaining = iter(deltas)
    for offset, length in found:
        at += offset
        for _ in range(length):
            count += next(remaining)
            read[at - 1] = count
            at += 1
    assert read == buckets
    assert list(remaining) == []


@given(st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1))
def test_numbers_on_the_wire(plain, either) -> None:
    family = MetricFamily.FromString(unsigned(3, plain & 0xFFFFFFFF))
    assert family.type == plain & 0xFFFFFFFF
    histogram_class = type(MetricFamily().metric.add().histogram)
    told = histogram_class.FromString(unsigned(1, plain) + packed_signed(13, [either, -1]) + signed(5, either >> 32))
    assert (told.sample_count, list(told.positive_delta), told.schema) == (plain, [either, -1], either >> 32)
    assert zigzag(either) >= 0
    assert delimited(b"x" * 300)[:2] == varint(300)
    with pytest.raises(ValueError, match="does not fit"):
        unsigned(1, 2**64)


@settings(max_examples=150, deadline=None)
@given(anything, st.sampled_from(Strategy), st.sampled_from(Escaping))
def test_anything_is_read_back_as_it_was_meant(data, strategy, escaping) -> None:
    found = FamilyBook(Translation.settle(strategy, escaping), FamilyOptions(scope_labels=True)).families(data)
    read = parse(protobuf(found))
    assert [family.name for family in read] == [family.name for family in found]
    for family, told in zip(found, read, strict=True):
        assert told.help == family.help
        assert len(told.metric) == len(family.labels)
        for labels, point, metric in zip(family.labels, family.points, told.metric, strict=True):
            assert tuple((label.name, label.value) for label in metric.label) == labels.pairs
            if family.kind is Kind.HISTOGRAM:
                count = Exponential.of(point).count if hasattr(point, "scale") else sum(point.bucket_counts)
                assert metric.histogram.sample_count == count
            else:
                value = metric.counter.value if family.kind is Kind.COUNTER else metric.gauge.value
                assert value == float(point.value) or (math.isnan(value) and math.isnan(point.value))
