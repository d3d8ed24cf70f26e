"""Beside the official instrumentations: their spans, our metrics, nothing twice, whoever comes first."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otelbridge.catalogue.http import CLIENT_REQUEST_DURATION
from otelbridge.instrumentation import discovery
from otelbridge.instrumentation.http import instrument_clients
from otelbridge.metrics.switch import switch
from tests.instrumentation.outgoing import CALLS, NAMES, Server, refused

DURATION = CLIENT_REQUEST_DURATION.name
OFFICIAL = {
    "httpx": HTTPXClientInstrumentor,
    "httpx2": HTTPX2ClientInstrumentor,
    "requests": RequestsInstrumentor,
    "urllib3": URLLib3Instrumentor,
    "aiohttp-client": AioHttpClientInstrumentor,
}


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter, provider
    provider.shutdown()


@pytest.fixture(params=CALLS)
def client(request):
    return CALLS[request.param]


async def ask(call, server) -> None:
    """One request that succeeds, one that fails."""
    assert await call(f"{server.url}/answer") == 200
    with pytest.raises(Exception):  # noqa: B017, PT011  # of six libraries
        await call(refused())


def scopes(reader) -> dict[str, dict[str, int]]:
    """Count of each metric, by scope."""
    data = reader.get_metrics_data()
    return {
        scope.scope.name: {
            metric.name: sum(point.count for point in metric.data.data_points) for metric in scope.metrics
        }
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
    }


OURS_ALONE = {"otelbridge.http": {DURATION: 2}}


@pytest.mark.parametrize("order", ["before", "after"])
async def test_spans_of_others_metrics_of_ours(order, client, server, spans, recorded, caplog) -> None:
    name, call = client
    exporter, tracers = spans
    theirs = OFFICIAL[name]()
    if order == "before":
        theirs.instrument(meter_provider=switch, tracer_provider=tracers)
    registration = instrument_clients((name,))
    if order == "after":
        theirs.instrument(meter_provider=switch, tracer_provider=tracers)
    try:
        await ask(call, server)
    finally:
        registration.close()
        theirs.uninstrument()
    assert scopes(recorded.reader) == OURS_ALONE
    assert len(exporter.get_finished_spans()) == 2
    (text,) = [record.getMessage() for record in caplog.records if record.name.startswith("otelbridge")]
    assert f"opentelemetry.instrumentation.{name.replace('-', '_').replace('httpx2', 'httpx')} records" in text


async def test_what_others_record_is_heard_again(client, server, recorded) -> None:
    name, call = client
    registration = instrument_clients((name,))
    OFFICIAL[name]().instrument(meter_provider=switch)
    registration.close()
    try:
        await call(f"{server.url}/answer")
    finally:
        OFFICIAL[name]().uninstrument()
    (recorders,) = scopes(recorded.reader)
    assert recorders.startswith("opentelemetry.instrumentation.")


async def test_a_provider_of_others_is_their_own(client, server, recorded) -> None:
    name, call = client
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    OFFICIAL[name]().instrument(meter_provider=provider)
    registration = instrument_clients((name,))
    try:
        await ask(call, server)
    finally:
        registration.close()
        OFFICIAL[name]().uninstrument()
    assert scopes(recorded.reader) == OURS_ALONE
    assert len(scopes(reader)) == 1
    provider.shutdown()


async def test_with_spans(client, server, spans, recorded) -> None:
    name, call = client
    exporter, tracers = spans
    registration = instrument_clients((name,), tracers)
    await ask(call, server)
    registration.close()
    await call(f"{server.url}/answer")
    assert scopes(recorded.reader) == OURS_ALONE
    good, bad = exporter.get_finished_spans()
    assert good.name == "GET"
    assert not bad.status.is_ok
    context = f"{good.context.trace_id:032x}-{good.context.span_id:016x}"
    assert context in server.requests[0].lower()
    assert not any(official().is_instrumented_by_opentelemetry for official in OFFICIAL.values())


async def test_requests_with_all_spans(server, spans, recorded) -> None:
    exporter, tracers = spans
    registration = instrument_clients(NAMES, tracers)
    await ask(CALLS["requests"][1], server)
    registration.close()
    assert scopes(recorded.reader) == OURS_ALONE
    assert len(exporter.get_finished_spans()) == 2  # those of requests; urllib3's are left out beneath them


async def test_without_the_official_package_there_are_no_spans(server, spans, recorded, monkeypatch, caplog) -> None:
    found = discovery.found
    monkeypatch.setattr(discovery, "found", lambda module: "opentelemetry" not in module and found(module))
    with caplog.at_level(logging.INFO, "otelbridge"):
        registration = instrument_clients(("httpx",), spans[1])
    await ask(CALLS["httpx"][1], server)
    registration.close()
    assert scopes(recorded.reader) == OURS_ALONE
    assert "need the package opentelemetry-instrumentation-httpx" in caplog.text


async def test_a_version_without_spans_is_measured(server, spans, recorded, monkeypatch, caplog) -> None:
    monkeypatch.setattr(HTTPXClientInstrumentor, "instrumentation_dependencies", lambda self: ("httpx < 0.1",))
    registration = instrument_clients(("httpx",), spans[1])
    await ask(CALLS["httpx"][1], server)
    registration.close()
    assert scopes(recorded.reader) == OURS_ALONE
    assert "httpx < 0.1" in caplog.text


SCRIPT = """
import json, logging, os, sys
import httpx
from opentelemetry import metrics
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
import otelbridge

order, url = sys.argv[1:]
logged = []
handler = logging.Handler()
handler.emit = lambda record: logged.append(record.getMessage())
logging.getLogger("otelbridge").addHandler(handler)
reader = InMemoryMetricReader()
provider = MeterProvider([reader])
if order == "before":
    HTTPXClientInstrumentor().instrument()
metrics.set_meter_provider(provider)
otelbridge.init(service_name="shop", meter_provider=provider, instrument=("httpx",))
if order == "after":
    HTTPXClientInstrumentor().instrument()
httpx.get(url)
counts = {
    f"{scope.scope.name} {metric.name}": sum(point.count for point in metric.data.data_points)
    for resource in reader.get_metrics_data().resource_metrics
    for scope in resource.scope_metrics
    for metric in scope.metrics
    if "duration" in metric.name
}
otelbridge.shutdown()
print(json.dumps([counts, logged]))
"""


@pytest.mark.endtoend
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("names", ["http", ""])
def test_a_provider_of_others_that_we_share(order, names, server, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", names)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, order, f"{server.url}/answer"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    counts, logged = json.loads(done.stdout)
    theirs = "opentelemetry.instrumentation.httpx"
    if names == "http":
        assert counts == {f"{theirs} {DURATION}": 1}
        assert any("records requests to the same meter provider" in text for text in logged)
    else:  # their old names are others
        assert counts == {f"{theirs} http.client.duration": 1, f"otelbridge.http {DURATION}": 1}


ZERO_CODE = """
import json, sys
import httpx
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
import otelbridge

prometheus = otelbridge.PrometheusOptions(mode="server", port=0)
bridge = otelbridge.init(service_name="shop", prometheus=prometheus, workers="separate")
assert HTTPXClientInstrumentor().is_instrumented_by_opentelemetry
httpx.get(sys.argv[1])
lines = [line for line in bridge.render().splitlines() if line.startswith("http_client") and "_count" in line]
otelbridge.shutdown()
print(json.dumps(lines))
"""


@pytest.mark.endtoend
def test_under_opentelemetry_instrument(server, tmp_path, monkeypatch) -> None:
    program = tmp_path / "program.py"
    program.write_text(ZERO_CODE)
    monkeypatch.setenv("OTEL_PYTHON_CONFIGURATOR", "none")  # the instrumentations alone, without an SDK
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from opentelemetry.instrumentation.auto_instrumentation import run; run()",
            sys.executable,
            str(program),
            f"{server.url}/answer",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = json.loads(done.stdout)
    assert line.startswith("http_client_request_duration_seconds_count")
    assert line.endswith(" 1")
