"""Rules every declaration of the catalogue keeps."""

from __future__ import annotations

import re

import pytest
from opentelemetry.sdk.metrics import MeterProvider

from otelbridge.catalogue.buckets import FITS
from otelbridge.catalogue.model import Attribute, Kind, Metric
from otelbridge.catalogue.naming import metric_name, prometheus_label
from otelbridge.catalogue.registry import DOMAIN_NAMES, DOMAINS, METRICS

_ALL = [metric for domain in DOMAINS for metric in domain.metrics]
_by_name = pytest.mark.parametrize("metric", _ALL, ids=lambda metric: metric.name)


def test_the_first_part_of_the_catalogue_is_whole() -> None:
    expected = (
        [f"H{n}" for n in range(1, 6)]
        + [f"D{n}" for n in range(1, 10)]
        + [f"K{n}" for n in range(1, 4)]
        + [f"A{n}" for n in range(1, 19)]
        + [f"T{n}" for n in range(1, 6)]
        + [f"B{n}" for n in range(1, 13)]
        + ["X1", "E1"]
        + [f"Y{n}" for n in range(1, 14)]
        + [f"O{n}" for n in range(1, 6)]
    )
    assert set(expected) <= {metric.id for metric in _ALL}


def test_ids_names_and_exposed_names_are_unique() -> None:
    for key in (lambda m: m.id, lambda m: m.name, metric_name):
        values = [key(metric) for metric in _ALL]
        assert sorted(values) == sorted(set(values))
    assert len(METRICS) == len(_ALL)
    assert {domain.name for domain in DOMAINS} == DOMAIN_NAMES


@_by_name
def test_histograms_and_only_they_have_buckets(metric: Metric) -> None:
    assert (metric.buckets is not None) == (metric.kind is Kind.HISTOGRAM)
    if metric.buckets:
        bounds = metric.buckets.boundaries
        assert all(isinstance(bound, float) for bound in bounds)
        assert list(bounds) == sorted(set(bounds))


@_by_name
def test_names_are_ones_the_sdk_takes_and_of_a_known_family(metric: Metric) -> None:
    provider = MeterProvider(shutdown_on_exit=False)
    provider.get_meter("test").create_counter(metric.name)
    families = (
        "http.",
        "websocket.",
        "db.",
        "cache.",
        "gen_ai.",
        "agent.",
        "cost.",
        "task.",
        "business.",
        "health.",
        "system.",
    )
    assert metric.name.startswith((*families, "process.", "cpython.", "otelbridge.", "otel.sdk."))
    # Names of the package and of the SDK are for what it says about itself.
    assert metric.name.startswith(("otelbridge.", "otel.sdk.")) == (metric.id[0] == "O")
    assert not metric.name.endswith((".total", "_total", ".count_total"))


@_by_name
def test_no_gauge_of_unit_one_because_one_path_would_call_it_a_ratio(metric: Metric) -> None:
    assert not (metric.unit == "1" and metric.kind in (Kind.GAUGE, Kind.OBSERVABLE_GAUGE))


@_by_name
def test_every_text_is_there_and_on_one_line(metric: Metric) -> None:
    for text in (metric.brief, *(attribute.brief for attribute in metric.attributes)):
        assert re.fullmatch(r"[^\s].*\.", text), text


@_by_name
def test_attributes_are_unique_also_as_labels_and_never_identify_somebody(metric: Metric) -> None:
    keys = [attribute.key for attribute in metric.attributes]
    labels = [prometheus_label(key) for key in keys]
    assert len(set(labels)) == len(keys)
    assert not {"le", "quantile", "job", "instance"}.intersection(labels)
    assert not [key for key in keys if re.search(r"\b(id|user_id|email|url\.full|query\.text|prompt)\b", key)]


@_by_name
def test_answers_name_rows_of_the_five_systems(metric: Metric) -> None:
    assert all(re.fullmatch(r"00[0-4]-M\d+", row) for row in metric.answers)
    assert len(set(metric.answers)) == len(metric.answers)


def test_one_key_means_one_thing_everywhere() -> None:
    meaning: dict[str, Attribute] = {}
    for metric in _ALL:
        for attribute in metric.attributes:
            assert meaning.setdefault(attribute.key, attribute).type == attribute.type


def test_seconds_have_seconds_buckets() -> None:
    for metric in _ALL:
        if metric.unit == "s" and metric.buckets:
            assert metric.buckets.boundaries[0] <= 10
    assert {fit.buckets.boundaries[0] for fit in FITS if fit.unit == "s"} <= {0.001, 0.005, 0.01}
