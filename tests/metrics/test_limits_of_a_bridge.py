"""Limits and self-metrics as `init` sets them up."""

from __future__ import annotations

import pytest
from opentelemetry.metrics import get_meter

import otelbridge
from otelbridge import OtlpOptions, PrometheusOptions
from tests.receiver import Receiver

pytestmark = pytest.mark.endtoend


@pytest.fixture(autouse=True)
def stopped(monkeypatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    yield
    otelbridge.shutdown()


def _flood(name: str, sets: int) -> None:
    counter = get_meter("lib").create_counter(name)
    for number in range(sets):
        counter.add(1, {"id": number})


def _lines(page: str, metric: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith(metric)]


def test_each_reader_has_the_limits_of_its_options() -> None:
    receiver = Receiver()
    bridge = otelbridge.init(
        prometheus=PrometheusOptions(mode="server", port=0, cardinality_limits={"counter": 2}),
        otlp=OtlpOptions(endpoint=receiver.url, cardinality_limits={"default": 3}, interval=3600),
        cardinality_limit=4,
    )
    _flood("limits.apart", 10)
    assert len(_lines(bridge.render(), "limits_apart_total{")) == 3
    assert bridge.force_flush()
    (_, _, message) = receiver.requests[-1]
    receiver.close()
    points = [
        len(metric.sum.data_points)
        for scope in message.resource_metrics[0].scope_metrics
        for metric in scope.metrics
        if metric.name == "limits.apart"
    ]
    assert points == [4]


def test_the_series_limit_is_that_of_the_process(monkeypatch) -> None:
    monkeypatch.setenv("OTELBRIDGE_SERIES_LIMIT", "5")
    bridge = otelbridge.init(prometheus=PrometheusOptions(mode="server", port=0), instrument=False)
    _flood("limits.first", 4)
    _flood("limits.second", 4)
    lines = _lines(bridge.render(), "limits_")
    assert len(lines) <= 7
    assert sum(float(line.rsplit(" ", 1)[1]) for line in lines) == 8


def test_the_bridge_speaks_of_itself() -> None:
    bridge = otelbridge.init(
        prometheus=PrometheusOptions(mode="server", port=0), cardinality_limit=3, service_name="itself"
    )
    _flood("limits.self", 4)
    bridge.render()
    page = bridge.render()
    (overflow,) = _lines(page, 'otelbridge_metric_overflow{otelbridge_metric_name="limits.self"')
    (live,) = _lines(page, "otelbridge_process_live")
    (degraded,) = _lines(page, "otelbridge_process_degraded{")
    (held,) = _lines(page, "otelbridge_series_held")
    assert [float(line.rsplit(" ", 1)[1]) for line in (overflow, live, degraded)] == [1, 1, 0]
    assert float(held.rsplit(" ", 1)[1]) > 3


def test_a_domain_that_is_off_says_nothing_of_itself() -> None:
    bridge = otelbridge.init(prometheus=PrometheusOptions(mode="server", port=0), domains=["health"])
    assert "otelbridge_" not in bridge.render()
