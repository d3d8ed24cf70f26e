"""Which conventions are recorded is decided once a process, so each case runs in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.endtoend

VARIABLE = "OTEL_SEMCONV_STABILITY_OPT_IN"

SCRIPT = """
import asyncio, json, logging, os, sys
import httpx
from fastapi import FastAPI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from otelbridge.instrumentation.http import instrument_clients, instrument_http
from otelbridge.metrics.switch import switch

logged = []
handler = logging.Handler()
handler.emit = lambda record: logged.append(record.getMessage())
logging.getLogger("otelbridge").addHandler(handler)

if "earlier" in sys.argv:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    FastAPIInstrumentor.instrument_app(FastAPI())

reader = InMemoryMetricReader()
switch.connect(MeterProvider([reader]))
app = FastAPI()
app.get("/orders/{order_id}")(lambda order_id: order_id)
tracers = TracerProvider() if "spans" in sys.argv else None
instrument_http(app, tracer_provider=tracers)
if tracers is None:
    instrument_clients(("httpx",))

async def main():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        await client.get("/orders/1")

asyncio.run(main())
names = [
    metric.name
    for resource in reader.get_metrics_data().resource_metrics
    for scope in resource.scope_metrics
    for metric in scope.metrics
]
print(json.dumps({"names": names, "logged": logged, "variable": os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN")}))
"""


def run(*arguments: str, said: str | None = None) -> dict:
    environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
    if said is not None:
        environment[VARIABLE] = said
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("said", [None, ""])
def test_stable_by_default_and_the_environment_stays(said) -> None:
    result = run(said=said)
    assert "http.server.request.duration" in result["names"]
    assert "http.server.duration" not in result["names"]
    assert result["logged"] == []
    assert result["variable"] == said


def test_the_users_word_counts() -> None:
    both = run(said="http/dup")
    assert {"http.server.request.duration", "http.server.duration"} <= set(both["names"])
    assert both["logged"] == []
    old = run(said="database")
    assert "http.server.request.duration" not in old["names"]
    assert len(old["logged"]) == 1
    assert f"{VARIABLE}=database does not choose" in old["logged"][0]
    assert old["variable"] == "database"


def test_what_others_chose_earlier_leaves_what_is_measured_without_them_alone() -> None:
    result = run("earlier")
    assert "http.server.request.duration" in result["names"]
    assert "http.server.duration" not in result["names"]
    assert result["logged"] == []
    assert result["variable"] is None


def test_too_late_for_spans_leaves_the_metrics_alone() -> None:
    result = run("earlier", "spans")
    assert "http.server.request.duration" in result["names"]
    assert "http.server.duration" not in result["names"]
    (text,) = result["logged"]
    assert text.startswith("Spans of HTTP requests have the names of the old conventions, since another")
