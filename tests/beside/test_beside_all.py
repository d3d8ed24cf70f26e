"""Beside several neighbours at once: Logfire, Sentry, prometheus-fastapi-instrumentator and system-metrics."""

from __future__ import annotations

import pytest

from tests.beside.programs import outcome

pytestmark = pytest.mark.endtoend

_PROGRAM = """
import logfire, otelbridge, psutil, sentry_sdk
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_fastapi_instrumentator import Instrumentator
from sentry_sdk.transport import Transport

spans, sent, app = InMemorySpanExporter(), [], FastAPI()

class Kept(Transport):
    def capture_envelope(self, envelope):
        sent.extend(item.payload.json for item in envelope.items if item.type == "event")

@app.get("/users/{number}")
def user(number: int):
    with logfire.span("inside"):
        return 1 / number

steps = {
    "logfire": lambda: logfire.configure(
        send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(spans)]
    ),
    "sentry": lambda: sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", transport=Kept),
    "instrumentator": lambda: Instrumentator().instrument(app).expose(app),
    "system": lambda: SystemMetricsInstrumentor().instrument(),
    "ours": lambda: otelbridge.init(app=app),
}
for step in sys.argv[1:]:
    steps[step]()
with TestClient(app, raise_server_exceptions=False) as client:
    for number in (1, 2, 0):
        client.get(f"/users/{number}")
    page = client.get("/metrics").text
otelbridge.shutdown()
sentry_sdk.get_client().close()

def samples(name, label):
    return [
        line.rpartition(" ")[2]
        for line in page.splitlines()
        if line.startswith(f"{name}{{") and label in line and "/users/{number}" in line
    ]

memory = "process_memory_usage_bytes"
families = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")]
tell({
    "ours": [samples("http_server_request_duration_seconds_count", f'status_code="{code}"') for code in (200, 500)],
    "theirs": samples("http_request_duration_seconds_count", 'method="GET"'),
    "memory": counts(page, memory)[memory] / psutil.Process().memory_info().rss,
    "spans": [span.name for span in spans.get_finished_spans() if span.name == "inside"],
    "errors": [each["exception"]["values"][-1]["type"] for each in sent if "exception" in each],
    "once": len(families) == len(set(families)),
})
"""


@pytest.mark.parametrize(
    "order",
    [
        ("logfire", "sentry", "instrumentator", "system", "ours"),
        ("ours", "system", "instrumentator", "sentry", "logfire"),
        ("sentry", "instrumentator", "ours", "logfire", "system"),
    ],
)
def test_each_has_its_own_and_nothing_is_there_twice(order) -> None:
    told = outcome(_PROGRAM, *order).told
    assert told.pop("memory") < 1.5
    assert told == {
        "ours": [["2"], ["1"]],
        "theirs": ["3"],
        "spans": ["inside"] * 3,
        "errors": ["ZeroDivisionError"],
        "once": True,
    }
