"""Names: the four strategies, the escaping schemes, and agreement with the catalogue and with a real Collector."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricExportResult
from prometheus_client.openmetrics.exposition import escape_label_name, escape_metric_name

from otelbridge.catalogue.naming import (
    SHAPES,
    Shape,
    Strategy,
    encodable,
    family_name,
    metric_name,
    prometheus_label,
)
from otelbridge.catalogue.registry import METRICS
from otelbridge.prometheus.families import FamilyBook
from otelbridge.prometheus.text import plain_text
from otelbridge.prometheus.translation import Escaping, Translation, escape
from otelbridge.stack import Stack, StackError, StackOptions
from otelbridge.stack.cache import data_file
from tests.components import missing
from tests.prometheus.collected import Samples, collected, counter, gauge, number, text_samples, texts, units, up_down

if TYPE_CHECKING:
    from pathlib import Path

_BOTH, _PLAIN, _UTF8_BOTH, _UTF8 = Strategy


def test_every_metric_of_the_catalogue_is_named_as_the_catalogue_names_it() -> None:
    for metric in METRICS.values():
        shape = SHAPES[metric.kind]
        assert Translation().family(metric.name, metric.unit, shape) == metric_name(metric)
        for attribute in metric.attributes:
            assert Translation().label(attribute.key) == prometheus_label(attribute.key)


# Specification, "Metrics Exporter - Prometheus", section "Interaction with Translation Strategy".
@pytest.mark.parametrize(
    ("strategy", "underscores", "utf8"),
    [
        (_BOTH, "foo_bar_bytes_total", "foo_bar_bytes_total"),
        (_PLAIN, "foo_bar", "foo_bar"),
        (_UTF8_BOTH, "foo_bar_bytes_total", "foo.bar_bytes_total"),
        (_UTF8, "foo_bar", "foo.bar"),
    ],
)
def test_the_example_of_the_specification(strategy: Strategy, underscores: str, utf8: str) -> None:
    for escaping, name in ((Escaping.UNDERSCORES, underscores), (Escaping.ALLOW_UTF8, utf8)):
        assert Translation(strategy, escaping).family("foo.bar", "By", Shape.COUNTER) == name
        assert Translation.settle(strategy, escaping).family("foo.bar", "By", Shape.COUNTER) == name


# Names on both ways: every one is sent through a real Collector below.
_NAMES = [
    ("http.server.request.duration", "s", Shape.GAUGE, "http_server_request_duration_seconds"),
    ("total.requests", "", Shape.COUNTER, "requests_total"),
    ("requests_total", "", Shape.COUNTER, "requests_total"),
    ("r.total.x", "s", Shape.COUNTER, "r_x_seconds_total"),
    ("y.seconds.total", "s", Shape.COUNTER, "y_seconds_total"),
    ("subtotal", "", Shape.COUNTER, "subtotal_total"),
    ("things", "1", Shape.COUNTER, "things_total"),
    ("utilization", "1", Shape.GAUGE, "utilization_ratio"),
    ("ratio", "1", Shape.GAUGE, "ratio"),
    ("hit.ratio", "1", Shape.GAUGE, "hit_ratio"),
    ("balance", "1", Shape.UP_DOWN, "balance"),
    ("a.seconds.max", "s", Shape.GAUGE, "a_seconds_max"),
    ("b.bytes_per_second", "By/s", Shape.GAUGE, "b_bytes_per_second_per_second"),
    ("c.", "s", Shape.GAUGE, "c_seconds"),
    ("_d..e", "", Shape.GAUGE, "d_e"),
    ("e__f", "", Shape.GAUGE, "e_f"),
    ("7x", "", Shape.GAUGE, "_7x"),
    ("g", "By{cached}", Shape.GAUGE, "g"),
    ("h", "m/{foo}", Shape.GAUGE, "h_meters"),
    ("i", "{foo}/s", Shape.GAUGE, "i_per_second"),
    ("k", "°C", Shape.GAUGE, "k_C"),
    ("l", "foo_", Shape.GAUGE, "l_foo_"),
    ("m", "foo bar/baz", Shape.GAUGE, "m_foo_bar_per_baz"),
    ("n", "1/s", Shape.GAUGE, "n_per_second"),
    ("o:p", "", Shape.GAUGE, "o:p"),
    ("q", "{a/b}/s", Shape.GAUGE, "q"),
    ("r.percent", "%", Shape.GAUGE, "r_percent"),
    ("s", " s ", Shape.GAUGE, "s_seconds"),
    ("t", "/s", Shape.GAUGE, "t_per_second"),
    ("u", "By/", Shape.GAUGE, "u_bytes"),
    ("x_total_", "", Shape.COUNTER, "x_total"),
    ("z", "_x", Shape.GAUGE, "z_x"),
    ("aa", "x:y", Shape.GAUGE, "aa_x:y"),
]
# Attributes and the label they become, on both ways.
_LABELS = [
    ({"a..b": "x"}, ("a__b", "x")),
    ({"a__b": "x"}, ("a__b", "x")),
    ({"1a": "x"}, ("key_1a", "x")),
    ({"x-y": "1"}, ("x_y", "1")),
    ({"f": 1.0}, ("f", "1")),
    ({"f": 1e21}, ("f", "1e+21")),
    ({"f": 1.5e-7}, ("f", "1.5e-7")),
    ({"f": 1e-5}, ("f", "0.00001")),
    ({"f": 1e17}, ("f", "100000000000000000")),
    ({"f": -0.5}, ("f", "-0.5")),
    ({"f": float("nan")}, ("f", "NaN")),
    ({"f": float("-inf")}, ("f", "-Infinity")),
    ({"b": True}, ("b", "true")),
    ({"i": -7}, ("i", "-7")),
    ({"l": ["a", '<"é>']}, ("l", '["a","<\\"é>"]')),
    ({"l": [1.0, True, 2]}, ("l", "[1,true,2]")),
    ({"y": b"\xff\x00"}, ("y", "/wA=")),
    ({"m": {"b": [1], "a": "x"}}, ("m", '{"a":"x","b":[1]}')),
]


@pytest.mark.parametrize(("name", "unit", "shape", "exposed"), _NAMES)
def test_names(name: str, unit: str, shape: Shape, exposed: str) -> None:
    assert family_name(name, unit, shape, _BOTH) == exposed


@pytest.mark.components
@pytest.mark.parametrize("strategy", Strategy)
def test_names_labels_and_values_are_those_of_the_collector(strategy: Strategy, tmp_path) -> None:
    make = {Shape.COUNTER: counter, Shape.UP_DOWN: up_down, Shape.GAUGE: gauge}
    metrics = [make[shape](name, number(1), unit=unit) for name, unit, shape, _ in _NAMES if name not in _LEFT_OUT]
    metrics += [gauge(f"labelled{at}", number(at, attributes)) for at, (attributes, _) in enumerate(_LABELS)]
    data = collected(*metrics, resource={"service.name": "shop"})
    escaping = Escaping.UNDERSCORES if strategy.escapes else Escaping.ALLOW_UTF8
    ours = text_samples(plain_text(FamilyBook(Translation(strategy, escaping)).families(data)))
    collector = text_samples(_through_a_collector(data, strategy, escaping, tmp_path))
    assert _resting(ours) == _resting(collector)
    if strategy is _BOTH:
        named = {name for given, _, _, name in _NAMES if given not in _LEFT_OUT}
        assert {name for name, _ in _resting(ours) if not name.startswith("labelled")} == named
        for at, (_, label) in enumerate(_LABELS):
            assert ours[f"labelled{at}", (label,)] == at


# Either two instruments of one name, which the Collector keeps apart by type only, or what it gets wrong: where it
# leaves names in UTF-8 it takes "btotal" off "subtotal".
_LEFT_OUT = ("total.requests", "subtotal")


def _through_a_collector(data, strategy: Strategy, escaping: Escaping, place: Path) -> bytes:
    config = place / "collector.yaml"
    text = data_file("collector-config.yaml").decode()
    config.write_text(text.replace(_BOTH.value, strategy.value))
    options = StackOptions(run_dir=place / "stack", prometheus=False, collector_config=config)
    try:
        stack = Stack(options).up()
    except StackError as error:
        missing("Collector", str(error))
    try:
        exporter = OTLPMetricExporter(endpoint=f"{stack.otlp_http_endpoint}/v1/metrics")
        assert exporter.export(data) is MetricExportResult.SUCCESS
        exporter.shutdown()
        return _eventually(stack.collector_metrics_url, f"labelled{len(_LABELS) - 1}", escaping)
    finally:
        stack.down()


def _eventually(url: str, text: str, escaping: Escaping) -> bytes:
    accept = {"accept": f"text/plain;version=1.0.0;escaping={escaping.value}"}
    deadline = time.monotonic() + 60
    while text not in (page := httpx.get(url, headers=accept, timeout=60).text):
        assert time.monotonic() < deadline, page
        time.sleep(0.1)
    return page.encode()


def _resting(found: Samples) -> Samples:
    return {
        (name, tuple(label for label in labels if label[0] not in ("job", "instance"))): value
        for (name, labels), value in found.items()
        if name != "target_info"
    }


@pytest.mark.parametrize(
    ("name", "unit", "shape", "plain", "utf8_both"),
    [
        ("a.b", "s", Shape.COUNTER, "a_b", "a.b_seconds_total"),
        ("a.b.total", "s", Shape.COUNTER, "a_b_total", "a.b_seconds_total"),
        ("a.b.seconds", "s", Shape.GAUGE, "a_b_seconds", "a.b.seconds"),
        ("a.milliseconds", "s", Shape.GAUGE, "a_milliseconds", "a.milliseconds_seconds"),
        ("hit.ratio", "1", Shape.GAUGE, "hit_ratio", "hit_ratio"),
        ("subtotal", "", Shape.COUNTER, "subtotal", "subtotal_total"),
        ("a__b.", "By/s", Shape.GAUGE, "a__b", "a__b._bytes_per_second"),
        ("k", "°C", Shape.GAUGE, "k", "k_°C"),
        ("日本", "", Shape.GAUGE, "_", "日本"),
        ("", "", Shape.GAUGE, "_", "_"),
    ],
)
def test_names_of_the_other_strategies(name: str, unit: str, shape: Shape, plain: str, utf8_both: str) -> None:
    assert family_name(name, unit, shape, _PLAIN) == plain
    assert family_name(name, unit, shape, _UTF8_BOTH) == utf8_both
    assert family_name(name, unit, shape, _UTF8) == (name or "_")


@pytest.mark.parametrize(
    ("escaping", "name", "escaped"),
    [
        (Escaping.UNDERSCORES, "metric.name/with/slashes", "metric_name_with_slashes"),
        (Escaping.DOTS, "metric.name.with_underscore", "metric_dot_name_dot_with__underscore"),
        (Escaping.VALUES, "metric.name", "U__metric_2e_name"),
        (Escaping.VALUES, "already_legal", "already_legal"),
        (Escaping.ALLOW_UTF8, "metric.é", "metric.é"),
        (Escaping.ALLOW_UTF8, "a\0b", "a\ufffdb"),
    ],
)
def test_escaping(escaping: Escaping, name: str, escaped: str) -> None:
    assert escape(name, escaping) == escaped


# Its check for classic names overlooks a line feed at the end, and it escapes names with two leading underscores.
_escapable = texts.map(lambda text: encodable(text).replace("\n", "")).filter(
    lambda text: text.lstrip("_") == text != ""
)


@given(_escapable, st.sampled_from([Escaping.UNDERSCORES, Escaping.DOTS, Escaping.VALUES]))
def test_escaping_is_that_of_prometheus_client(name: str, escaping: Escaping) -> None:
    assert escape(name, escaping) == escape_metric_name(name, escaping.value)
    assert escape(name, escaping, label=True) == escape_label_name(name, escaping.value)


@pytest.mark.parametrize(
    ("key", "label"), [("", "_"), ("__name__", "_name__"), ("__x", "_x"), ("_x", "_x"), ("日本", "_"), ("a:b", "a_b")]
)
def test_labels_prometheus_keeps_for_itself_are_renamed(key: str, label: str) -> None:
    assert Translation().label(key) == label


@given(texts, units, st.sampled_from(Shape), st.sampled_from(Strategy), st.sampled_from(Escaping))
def test_any_name_and_key_can_be_shown(
    name: str, unit: str, shape: Shape, strategy: Strategy, escaping: Escaping
) -> None:
    literal, translation = Translation(strategy, escaping), Translation.settle(strategy, escaping)
    family, label = translation.family(name, unit, shape), translation.label(name)
    assert (family, label) == (literal.family(name, unit, shape), literal.label(name))
    assert not label.startswith("__")
    assert family.encode()
    assert label.encode()
    if strategy.escapes or escaping is not Escaping.ALLOW_UTF8:
        assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", family)
        assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", label)
