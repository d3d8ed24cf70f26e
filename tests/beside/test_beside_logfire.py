"""Beside Logfire: before and after ours, and with ours recording to its provider."""

from __future__ import annotations

import pytest

from tests.beside.programs import outcome

pytestmark = pytest.mark.endtoend

_PROGRAM = """
import logfire, otelbridge
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry import metrics
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans, reader, app = InMemorySpanExporter(), InMemoryMetricReader(), FastAPI()

@app.get("/users/{number}")
def user(number: int):
    with logfire.span("inside"):
        return number

def theirs():
    logfire.configure(
        send_to_logfire=False,
        console=False,
        additional_span_processors=[SimpleSpanProcessor(spans)],
        metrics=logfire.MetricsOptions(additional_readers=[reader]),
    )
    logfire.instrument_fastapi(app)

def ours():
    given = {"meter_provider": metrics.get_meter_provider()} if "given" in sys.argv else {}
    otelbridge.init(app=app, **given)

steps = {"theirs": theirs, "ours": ours}
for step in sys.argv[1:3]:
    steps[step]()
metrics.get_meter("library").create_counter("library.calls").add(3)
logfire.metric_counter("logfire.calls").add(5)
otelbridge.business.revenue.add(2, currency="EUR")
with TestClient(app) as client:
    client.get("/users/1")
    page = client.get("/metrics").text
data = reader.get_metrics_data()
theirs = [m.name for r in (data.resource_metrics if data else ()) for s in r.scope_metrics for m in s.metrics]
names = ("library_calls_total", "logfire_calls_total", "business_revenue_total")
requests = "http_server_request_duration_seconds_count"
tell({
    "page": counts(page, *names, requests),
    "theirs": sorted(name for name in theirs if "calls" in name or "revenue" in name),
    "spans": [span.name for span in spans.get_finished_spans() if span.name in ("inside", "GET /users/{number}")],
})
"""

_REQUEST = {"business_revenue_total": 2, "http_server_request_duration_seconds_count": 1}
_LIBRARY, _LOGFIRE = {"library_calls_total": 3}, {"logfire_calls_total": 5}


@pytest.mark.parametrize(
    ("order", "page", "theirs", "lines"),
    [
        (("theirs", "ours"), _REQUEST, ["library.calls", "logfire.calls"], 1),
        (("ours", "theirs"), _REQUEST | _LIBRARY, ["logfire.calls"], 0),
        (
            ("theirs", "ours", "given"),
            _REQUEST | _LIBRARY | _LOGFIRE,
            ["business.revenue", "library.calls", "logfire.calls"],
            0,
        ),
    ],
)
def test_their_spans_and_our_metrics(order, page, theirs, lines) -> None:
    found = outcome(_PROGRAM, *order)
    assert found.told == {"page": page, "theirs": theirs, "spans": ["inside", "GET /users/{number}"]}
    said = [line for line in found.lines_of("otelbridge") if "meter provider already" in line]
    assert len(said) == lines
