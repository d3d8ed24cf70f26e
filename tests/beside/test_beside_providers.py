"""Beside the SDK's providers, which somebody else has made: before and after ours."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.metrics import MeterProvider as ApiMeterProvider
from opentelemetry.metrics import NoOpMeter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otelbridge
from otelbridge.errors import ConfigError
from tests.beside.programs import outcome
from tests.receiver import Receiver

pytestmark = pytest.mark.endtoend

_GLOBAL = """
import otelbridge
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

reader, app = InMemoryMetricReader(), FastAPI()
app.get("/users/{number}")(lambda number: number)
steps = {
    "theirs": lambda: metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False)),
    "ours": lambda: otelbridge.init(service_name="shop", app=app),
}
for step in sys.argv[1:]:
    steps[step]()
metrics.get_meter("library").create_counter("library.calls").add(3)
otelbridge.business.revenue.add(2, currency="EUR")
client = TestClient(app)
client.get("/users/1")
data = reader.get_metrics_data()
theirs = [m.name for r in (data.resource_metrics if data else ()) for s in r.scope_metrics for m in s.metrics]
names = ("library_calls_total", "business_revenue_total", "http_server_request_duration_seconds_count")
tell([counts(client.get("/metrics").text, *names), theirs])
"""

_OURS = {"business_revenue_total": 2, "http_server_request_duration_seconds_count": 1}


def test_a_global_provider_keeps_what_others_measure_and_ours_is_ours() -> None:
    found = outcome(_GLOBAL, "theirs", "ours")
    assert found.told == [_OURS, ["library.calls"]]
    (line,) = found.lines_of("otelbridge")
    assert "has a global meter provider already (opentelemetry.sdk.metrics" in line
    assert "init(meter_provider=opentelemetry.metrics.get_meter_provider())" in line


def test_a_global_provider_that_comes_later_gets_nothing() -> None:
    found = outcome(_GLOBAL, "ours", "theirs")
    assert found.told == [{**_OURS, "library_calls_total": 3}, []]
    assert not found.lines_of("otelbridge")


def test_the_exporters_of_a_global_provider_are_not_ours() -> None:
    for exporter in ("none", "console", "otlp"):
        found = outcome(_GLOBAL, "theirs", "ours", OTEL_METRICS_EXPORTER=exporter)
        assert found.told == [_OURS, ["library.calls"]], exporter


@pytest.fixture
def app():
    application = FastAPI()
    application.get("/users/{number}")(lambda number: number)
    yield application
    otelbridge.shutdown()


class _Silent(ApiMeterProvider):
    """A provider that is not the SDK's."""

    def get_meter(self, name, version=None, schema_url=None, attributes=None):
        return NoOpMeter(name)


def test_a_provider_of_the_sdk_is_shown_on_the_application(app) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    theirs = provider.get_meter("theirs").create_counter("theirs.count")
    theirs.add(1)
    bridge = otelbridge.init(app=app, meter_provider=provider)
    assert bridge.metrics_url == "/metrics"
    theirs.add(2)
    otelbridge.business.revenue.add(2, currency="EUR")
    with TestClient(app) as client:
        client.get("/users/1")
        page = client.get("/metrics").text
        otelbridge.shutdown()
        assert client.get("/metrics").status_code == 404
    # A reader that comes later knows what was measured since.
    assert "theirs_count_total 2" in page
    assert 'business_revenue_total{currency="EUR"} 2' in page
    assert 'http_route="/users/{number}"' in page
    (metric,) = (
        metric
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "theirs.count"
    )
    assert metric.data.data_points[0].value == 3
    provider.shutdown()


def test_a_port_is_opened_for_a_provider_of_the_sdk_only_when_asked_for() -> None:
    provider = MeterProvider(shutdown_on_exit=False)
    assert otelbridge.init(meter_provider=provider).metrics_url is None
    otelbridge.shutdown()
    options = otelbridge.PrometheusOptions(mode="server", port=0)
    bridge = otelbridge.init(meter_provider=provider, prometheus=options)
    otelbridge.business.revenue.add(2, currency="EUR")
    assert str(bridge.metrics_url).startswith("http://")
    assert 'business_revenue_total{currency="EUR"} 2' in bridge.render()
    otelbridge.shutdown()
    provider.shutdown()


def test_another_provider_takes_no_reader(app, caplog) -> None:
    assert otelbridge.init(app=app, meter_provider=_Silent()).metrics_url is None
    assert "_Silent) takes no further reader" in caplog.text
    otelbridge.shutdown()
    with pytest.raises(ConfigError, match=r"_Silent\) takes no further reader.*Pass the SDK's MeterProvider"):
        otelbridge.init(app=app, meter_provider=_Silent(), prometheus="app")


def test_an_application_that_serves_a_provider_by_itself_goes_on(app) -> None:
    app.get("/metrics")(lambda: "theirs")
    provider = MeterProvider(shutdown_on_exit=False)
    assert otelbridge.init(app=app, meter_provider=provider).metrics_url is None
    with TestClient(app) as client:
        assert client.get("/metrics").json() == "theirs"
    otelbridge.shutdown()
    with pytest.raises(ConfigError, match="serves /metrics already"):
        otelbridge.init(app=app, meter_provider=provider, prometheus="app")
    provider.shutdown()


_SPANS = """
import otelbridge
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans = InMemorySpanExporter()

def theirs():
    provider = TracerProvider(shutdown_on_exit=False)
    if "exporting" in sys.argv:
        provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)

steps = {"theirs": theirs, "ours": lambda: otelbridge.init(prometheus="off", instrument=[])}
for step in sys.argv[1:3]:
    steps[step]()
with trace.get_tracer("library").start_as_current_span("work"):
    pass
otelbridge.force_flush(60)
tell([span.name for span in spans.get_finished_spans()])
"""


@pytest.mark.parametrize(
    ("order", "theirs", "ours"),
    [
        (("theirs", "ours", "exporting"), ["work"], []),
        (("ours", "theirs", "exporting"), [], ["work"]),
        (("theirs", "ours"), [], ["work"]),
    ],
)
def test_spans_are_exported_once(order, theirs, ours) -> None:
    receiver = Receiver()
    try:
        found = outcome(
            _SPANS, *order, OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{receiver.url}/v1/traces"
        )
    finally:
        receiver.close()
    assert (found.told, [span.name for span in receiver.spans()]) == (theirs, ours)
    stepped_aside = [line for line in found.lines_of("otelbridge") if "has a tracer provider already" in line]
    assert len(stepped_aside) == (order == ("theirs", "ours", "exporting"))
