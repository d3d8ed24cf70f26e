"""The name function, against the specification's examples and against upstream's reader."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client.parser import text_string_to_metric_families

from otelbridge.catalogue.model import Kind
from otelbridge.catalogue.naming import SHAPES, family_name, metric_name, prometheus_label, unit_words
from otelbridge.catalogue.registry import METRICS
from otelbridge.prometheus.reader import PrometheusReader


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("s", "seconds"),
        ("ms", "milliseconds"),
        ("By", "bytes"),
        ("1", ""),
        ("", ""),
        ("{request}", ""),
        ("%", "percent"),
        ("By/s", "bytes_per_second"),
        ("{request}/s", "per_second"),
        ("km", "km"),
    ],
)
def test_units(unit: str, words: str) -> None:
    assert unit_words(unit) == words


@pytest.mark.parametrize(
    ("name", "unit", "kind", "exposed"),
    [
        ("http.server.request.duration", "s", Kind.HISTOGRAM, "http_server_request_duration_seconds"),
        ("cache.requests", "{request}", Kind.COUNTER, "cache_requests_total"),
        ("business.revenue", "{currency}", Kind.COUNTER, "business_revenue_total"),
        ("system.cpu.time", "s", Kind.OBSERVABLE_COUNTER, "system_cpu_time_seconds_total"),
        ("requests_total", "", Kind.COUNTER, "requests_total"),
        ("business.margin.improvement", "%", Kind.OBSERVABLE_GAUGE, "business_margin_improvement_percent"),
        ("7layer", "", Kind.GAUGE, "_7layer"),
        ("a__b..c", "", Kind.GAUGE, "a_b_c"),
        ("wait_seconds", "s", Kind.GAUGE, "wait_seconds"),
    ],
)
def test_names(name: str, unit: str, kind: Kind, exposed: str) -> None:
    assert family_name(name, unit, SHAPES[kind]) == exposed


@given(st.text(max_size=30), st.text(max_size=10), st.sampled_from(Kind))
def test_any_name_becomes_legal_or_empty(name: str, unit: str, kind: Kind) -> None:
    assert re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)?", family_name(name, unit, SHAPES[kind]))


@given(st.text(min_size=1, max_size=30))
def test_any_key_becomes_a_legal_label(key: str) -> None:
    assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", prometheus_label(key))


def test_every_catalogue_metric_is_named_alike_by_the_scrape_path() -> None:
    reader = PrometheusReader(disable_target_info=True)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("test")
    record = {
        Kind.COUNTER: lambda m: meter.create_counter(m.name, m.unit).add(1),
        Kind.UP_DOWN_COUNTER: lambda m: meter.create_up_down_counter(m.name, m.unit).add(1),
        Kind.GAUGE: lambda m: meter.create_gauge(m.name, m.unit).set(1),
        Kind.HISTOGRAM: lambda m: meter.create_histogram(m.name, m.unit).record(1),
        Kind.OBSERVABLE_COUNTER: lambda m: meter.create_counter(m.name, m.unit).add(1),
        Kind.OBSERVABLE_UP_DOWN_COUNTER: lambda m: meter.create_up_down_counter(m.name, m.unit).add(1),
        Kind.OBSERVABLE_GAUGE: lambda m: meter.create_gauge(m.name, m.unit).set(1),
    }
    for metric in METRICS.values():
        record[metric.kind](metric)
    families = text_string_to_metric_families(reader.render().body.decode())
    exposed = {
        re.sub(r"_(bucket|sum|count)$", "", s.name) if f.type == "histogram" else s.name
        for f in families
        for s in f.samples
    }
    provider.shutdown()
    assert exposed == {metric_name(metric) for metric in METRICS.values()}
