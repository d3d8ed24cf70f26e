"""The declarations of HTTP and system against the constants of the published conventions."""

from __future__ import annotations

import pytest
from opentelemetry.semconv._incubating.metrics import cpython_metrics, http_metrics, process_metrics, system_metrics
from opentelemetry.semconv.metrics import http_metrics as stable_http_metrics

from otelbridge.catalogue import http, system
from otelbridge.catalogue.model import Kind
from otelbridge.catalogue.naming import metric_name

PUBLISHED = {
    value
    for module in (cpython_metrics, http_metrics, process_metrics, system_metrics, stable_http_metrics)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}
WEBSOCKETS = http.DOMAIN.metrics[5:]
METRICS = (*http.DOMAIN.metrics[:5], *system.DOMAIN.metrics)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.id)
def test_names_are_those_of_the_conventions(metric) -> None:
    assert metric.name in PUBLISHED
    assert metric.convention == "semconv"
    assert (metric.buckets is not None) == (metric.kind is Kind.HISTOGRAM)


def test_websockets_are_named_in_the_style_of_the_conventions_which_have_none() -> None:
    assert [(metric.name, metric.convention) for metric in WEBSOCKETS] == [
        ("websocket.server.active_connections", "own"),
        ("websocket.server.connection.duration", "own"),
        ("websocket.server.messages", "own"),
    ]
    assert not any(name.startswith("websocket.") for name in PUBLISHED)


def test_ids_are_whole() -> None:
    assert [metric.id for metric in http.DOMAIN.metrics] == [f"H{number}" for number in range(1, 9)]
    assert [metric.id for metric in system.DOMAIN.metrics] == [f"Y{number}" for number in range(1, 14)]


def test_domains_record_through_their_meters() -> None:
    assert (http.DOMAIN.meter, system.DOMAIN.meter) == ("otelbridge.http", "otelbridge.system")
    assert all(metric.recorded_by == "otelbridge" for metric in http.DOMAIN.metrics)
    assert all(metric.recorded_by == "otelbridge" for metric in system.DOMAIN.metrics)


def test_server_metrics_allow_nothing_a_client_chooses() -> None:
    allowed = {
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "url.scheme",
        "network.protocol.version",
        "error.type",
    }
    for metric in (http.SERVER_REQUEST_DURATION, http.SERVER_REQUEST_BODY_SIZE, http.SERVER_RESPONSE_BODY_SIZE):
        assert metric.attribute_keys == allowed
    assert http.SERVER_ACTIVE_REQUESTS.attribute_keys == {"http.request.method", "url.scheme"}


def test_names_in_prometheus() -> None:
    assert [metric_name(metric) for metric in METRICS] == [
        "http_server_request_duration_seconds",
        "http_server_active_requests",
        "http_server_request_body_size_bytes",
        "http_server_response_body_size_bytes",
        "http_client_request_duration_seconds",
        "system_cpu_time_seconds_total",
        "system_cpu_logical_count",
        "system_memory_usage_bytes",
        "system_memory_linux_available_bytes",
        "system_filesystem_usage_bytes",
        "system_network_io_bytes_total",
        "process_uptime_seconds",
        "system_memory_limit_bytes",
        "process_cpu_time_seconds_total",
        "process_memory_usage_bytes",
        "process_thread_count",
        "process_unix_file_descriptor_count",
        "cpython_gc_collections_total",
    ]
