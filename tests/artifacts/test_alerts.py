"""The alerts, judged by promtool and by a real Prometheus."""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from opentelemetry import metrics

from otelbridge.artifacts.alerts import alerting_rules
from otelbridge.catalogue.alerts import GROUPS, SELF
from otelbridge.catalogue.naming import metric_name, prometheus_label
from otelbridge.catalogue.registry import METRICS
from otelbridge.config.options import PrometheusOptions
from otelbridge.lifecycle import init, shutdown
from otelbridge.stack import ScrapeTarget, Stack, StackError, StackOptions, locate
from tests.components import missing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SUFFIXES = ("", "_bucket", "_count", "_sum")
_OF_PROMETHEUS = {"job", "le"}

_EXPORTED = 'otel_sdk_exporter_metric_data_point_exported_total{job="shop",otel_component_name="otlp/0"%s}'
_DURATION = 'otel_sdk_metric_reader_collection_duration_seconds_bucket{job="shop",otel_component_name="pull/0",le="%s"}'
_DEGRADED = 'otelbridge_process_degraded{job="shop",otelbridge_process_degraded_reason="no_room"}'

# What Prometheus has seen each minute, by the alert it is to raise: first for an hour in which all is well, ...
_WELL = {
    "OtelbridgePushStopped": {'otelbridge_push_age_seconds{job="shop",otel_component_name="otlp/0"}': "20x60"},
    "OtelbridgePushNeverArrived": {_EXPORTED % "": "5+10x60", _EXPORTED % ',error_type="unavailable"': "7+7x60"},
    "OtelbridgePointsRejected": {_EXPORTED % "": "5+10x60", _EXPORTED % ',error_type="rejected"': "7x60"},
    "OtelbridgeOverflow": {'otelbridge_metric_overflow{job="shop",otelbridge_metric_name="c"}': "0x60"},
    "OtelbridgeDegraded": {'otelbridge_process_degraded{job="shop"}': "0x60"},
    "OtelbridgeCollectionSlow": {_DURATION % "5.0": "0+4x60", _DURATION % "+Inf": "0+4x60"},
    "OtelbridgeScrapeIncomplete": {'otelbridge_scrape_left_out{job="shop"}': "0x60"},
}
# ... then for one in which it is not.
_BROKEN = {
    "OtelbridgePushStopped": {'otelbridge_push_age_seconds{job="shop",otel_component_name="otlp/0"}': "240+60x60"},
    "OtelbridgePushNeverArrived": {_EXPORTED % ',error_type="unavailable"': "7+7x60"},
    "OtelbridgePointsRejected": {_EXPORTED % "": "5+10x60", _EXPORTED % ',error_type="rejected"': "7+1x60"},
    "OtelbridgeOverflow": {'otelbridge_metric_overflow{job="shop",otelbridge_metric_name="c"}': "1x60"},
    "OtelbridgeDegraded": {_DEGRADED: "1x60"},
    "OtelbridgeCollectionSlow": {
        _DURATION % "5.0": "0x60",
        _DURATION % "10.0": "0+4x60",
        _DURATION % "+Inf": "0+4x60",
    },
    "OtelbridgeScrapeIncomplete": {'otelbridge_scrape_left_out{job="shop"}': "2x60"},
}
_ALERTS = [alert for group in GROUPS for alert in group.alerts]


def test_expressions_name_what_the_catalogue_has() -> None:
    known = {f"{metric_name(metric)}{suffix}" for metric in METRICS.values() for suffix in _SUFFIXES}
    labels = {prometheus_label(attribute.key) for metric in METRICS.values() for attribute in metric.attributes}
    for alert in _ALERTS:
        names = set(re.findall(r"\b(?:otel|otelbridge)_[a-z_]+", alert.expression))
        assert names - known - labels == set(), alert.name
        assert names & known, alert.name
        shown = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.cure))
        kept = {label for part in re.findall(r"by \(([^)]*)\)", alert.expression) for label in part.split(", ")}
        assert shown <= kept, alert.name
        assert kept <= labels | _OF_PROMETHEUS, alert.name


@pytest.fixture(scope="module")
def promtool() -> Path:
    try:
        return locate("promtool", say=lambda line: None).path
    except StackError as error:
        missing("promtool", str(error))


def firing(promtool: Path, folder: Path, series: Mapping[str, str], alert: str, *, expected: bool) -> str:
    """Run an alert on given series; empty where it is as expected at the end of the hour."""
    (folder / "rules.yaml").write_text(alerting_rules())
    at_the_end = {"expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)', "eval_time": "1h"}
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [{**at_the_end, "exp_samples": [{"labels": "{}", "value": int(expected)}]}],
            }
        ],
    }
    (folder / "test.yaml").write_text(json.dumps(test))
    done = subprocess.run(
        [promtool, "test", "rules", folder / "test.yaml"], capture_output=True, text=True, check=False, timeout=60
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.components
@pytest.mark.parametrize("alert", [alert.name for alert in SELF.alerts])
def test_it_fires_when_something_is_wrong_and_only_then(alert: str, promtool: Path, tmp_path: Path) -> None:
    assert firing(promtool, tmp_path, _WELL[alert], alert, expected=False) == ""
    assert firing(promtool, tmp_path, _BROKEN[alert], alert, expected=True) == ""
    # Nothing at all is no alert either: a service that does not push, or is not there.
    assert firing(promtool, tmp_path, {}, alert, expected=False) == ""


def query(stack: Stack, expression: str) -> list[dict[str, dict[str, str]]]:
    answer = httpx.get(f"{stack.prometheus_url}/api/v1/query", params={"query": expression}, timeout=30)
    return answer.raise_for_status().json()["data"]["result"]


@pytest.mark.components
def test_a_service_with_too_many_series_raises_it_in_a_real_prometheus(tmp_path: Path) -> None:
    rules = tmp_path / "alerts.yaml"
    rules.write_text(alerting_rules())
    bridge = init(
        service_name="crowded",
        prometheus=PrometheusOptions(mode="server", port=0),
        otlp=False,
        cardinality_limit=2,
        instrument=False,
    )
    try:
        orders = metrics.get_meter("shop").create_counter("orders")
        for number in range(10):
            orders.add(1, {"order": number})
        address = bridge.metrics_url.split("/")[2]
        options = StackOptions(
            run_dir=tmp_path / "stack",
            otelcol=False,
            scrape=(ScrapeTarget("crowded", address),),
            scrape_interval=0.5,
            rule_files=(rules,),
        )
        try:
            stack = Stack(options, say=lambda line: None).up()
        except StackError as error:
            missing("Prometheus", str(error))
        try:
            deadline = time.monotonic() + 60
            found: list[dict[str, str]] = []
            while not found and time.monotonic() < deadline:
                time.sleep(0.5)
                found = [result["metric"] for result in query(stack, 'ALERTS{alertstate="firing"}')]
            assert [(one["alertname"], one["otelbridge_metric_name"]) for one in found] == [
                ("OtelbridgeOverflow", "orders")
            ]
        finally:
            stack.down()
    finally:
        shutdown()
