"""Under `opentelemetry-instrument` with its own distribution, in an application that calls `init()`."""

from __future__ import annotations

import signal
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.cells.servers import COMMANDS, eventually, running
from tests.components import free_port
from tests.receiver import Receiver

pytestmark = pytest.mark.endtoend


def _pushed(receiver: Receiver, name: str) -> set[str]:
    """Who has pushed a metric, by the name of the service's SDK."""
    return {
        next((each.value.string_value for each in resource.resource.attributes if each.key == "service.name"), "")
        for path, _, message in receiver.requests
        if path == "/v1/metrics"
        for resource in message.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
    }


@pytest.mark.parametrize("exporter", ["", "none", "console,prometheus"])
def test_their_spans_and_our_metrics(exporter, tmp_path) -> None:
    receiver, port, own_port = Receiver(), free_port(), free_port()
    environment = {
        "OTEL_PYTHON_DISTRO": "distro",
        "OTEL_PYTHON_CONFIGURATOR": "configurator",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "theirs",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(own_port),
        **({"OTEL_METRICS_EXPORTER": exporter} if exporter else {}),
    }
    command = [
        str(Path(sys.executable).with_name("opentelemetry-instrument")),
        *COMMANDS["uvicorn"]("tests.beside.measured_app:app", port, 1),
    ]
    try:
        with running(command, log_file=tmp_path / "log", port=port, environment=environment) as server:
            eventually(server.answers, lambda: f"the server is ready:\n{server.log()}")
            assert server.ask("/users/1")[0] == 200
            status, page = server.ask("/metrics")
            if "prometheus" in exporter:
                theirs = urllib.request.urlopen(f"http://localhost:{own_port}/metrics").read().decode()
                assert "library_calls_total" in theirs
                assert "business_revenue" not in theirs
            server.send(signal.SIGINT)
            server.process.wait(60)
            log = server.log()
    finally:
        receiver.close()
    text = page.decode()
    assert status == 200
    assert 'business_revenue_total{currency="EUR"} 2' in text
    assert "library_calls" not in text
    requests = [line for line in text.splitlines() if line.startswith("http_server_request_duration_seconds_count")]
    assert [line.rpartition(" ")[2] for line in requests if 'http_route="/users/{number}"' in line] == ["1"]
    assert "http_server_duration" not in text
    assert [span.name for span in receiver.spans()].count("GET /users/{number}") == 1
    assert [span.name for span in receiver.spans()].count("inside") == 1
    assert log.count("has a global meter provider already") == 1
    assert log.count("has a tracer provider already") == 1
    assert '"business.revenue"' not in log
    pushes = not exporter  # their distribution says otlp where nobody does
    assert _pushed(receiver, "library.calls") == ({"theirs"} if pushes else set())
    assert _pushed(receiver, "business.revenue") == ({"shop"} if pushes else set())
