"""`init`, `shutdown` and what lies between, with real readers, servers and sockets."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.metrics import get_meter, get_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool

import otelbridge
from otelbridge.errors import ConfigError
from otelbridge.metrics.switch import switch
from tests.cells.servers import eventually
from tests.receiver import Receiver

pytestmark = pytest.mark.endtoend

_OWN_PORT = otelbridge.PrometheusOptions(mode="server", port=0)


@pytest.fixture(autouse=True)
def stopped(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME", "OTEL_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    yield
    otelbridge.shutdown()


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(("otelbridge", "Otel"))}


def _run(script: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_own_port_serves_what_domains_record() -> None:
    bridge = otelbridge.init(service_name="shop", prometheus=_OWN_PORT)
    otelbridge.business.revenue.add(0.10, {"currency": "EUR", "business.revenue.source": "answers"})
    page = httpx.get(bridge.metrics_url).text
    assert 'business_revenue_total{business_revenue_source="answers",currency="EUR"} 0.1' in page
    assert 'service_name="shop"' in page
    assert bridge.render() != ""


def test_a_probe_names_what_the_service_is_made_of() -> None:
    told, receiver = ["healthy"], Receiver()
    otlp = otelbridge.OtlpOptions(endpoint=receiver.url, timeout=1)
    bridge = otelbridge.init(service_name="shop", prometheus=_OWN_PORT, otlp=otlp)
    component = otelbridge.health.component("payments", lambda: told[0], type="integration")

    def states() -> tuple[int, dict[str, str]]:
        answer = httpx.get(str(bridge.metrics_url).replace("/metrics", "/-/ready"))
        return answer.status_code, {each["name"]: each["state"] for each in answer.json()["components"]}

    try:
        assert bridge.force_flush()
        push = "otlp_http_metric_exporter/0"
        assert states() == (200, {"metrics": "healthy", push: "healthy", "payments": "healthy"})
        told[0] = "unhealthy"
        assert states() == (503, {"metrics": "healthy", push: "healthy", "payments": "unhealthy"})
        page = httpx.get(str(bridge.metrics_url)).text
        labels = (
            'health_component_name="payments",health_component_state="unhealthy",health_component_type="integration"'
        )
        assert f"health_component_status{{{labels}}} 1" in page
    finally:
        component.close()
        receiver.close()
    assert not bridge.force_flush(2)
    assert states() == (200, {"metrics": "healthy", push: "degraded"})


async def test_application_serves_and_is_recorded() -> None:
    app = FastAPI()
    app.get("/items/{item}")(lambda item: {"item": item})
    bridge = otelbridge.init(service_name="shop", app=app)
    assert bridge.metrics_url == "/metrics"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        await client.get("/items/1")
        await client.get("/metrics")
        page = (await client.get("/metrics")).text
    (line,) = [line for line in page.splitlines() if line.startswith("http_server_request_duration_seconds_count")]
    assert 'http_route="/items/{item}"' in line
    assert line.endswith(" 1")
    otelbridge.shutdown()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/metrics")).status_code == 404
        assert (await client.get("/items/1")).status_code == 200


async def test_what_asks_for_the_metrics_is_no_request_of_the_application() -> None:
    """Nor who probes it; also where the endpoint is mounted by hand, and below a middleware that copies the scope."""

    class Copying:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            await self.app(dict(scope), receive, send)

    app = FastAPI()
    app.add_middleware(Copying)
    app.get("/orders/{order_id}")(lambda order_id: order_id)
    bridge = otelbridge.init(service_name="shop", app=app, prometheus=otelbridge.PrometheusOptions(health=True))
    app.mount("/internal", bridge.endpoint)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for path in ("/metrics", "/healthz", "/-/ready", "/internal/", "/orders/1"):
            assert (await client.get(path)).status_code == 200, path
        text = (await client.get("/metrics")).text
    counts = [line for line in text.splitlines() if line.startswith("http_server_request_duration_seconds_count")]
    assert [line.partition('http_route="')[2].partition('"')[0] for line in counts] == ["/orders/{order_id}"]
    active = [line for line in text.splitlines() if line.startswith("http_server_active_requests{")]
    assert {line.rpartition(" ")[2] for line in active} == {"0"}


async def test_a_mounted_application_is_counted_once() -> None:
    app, inner = FastAPI(), FastAPI()
    inner.get("/items/{item}")(lambda item: {"item": item})
    app.mount("/inner", inner)
    bridge = otelbridge.init(service_name="shop", app=app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/inner/items/1")).status_code == 200
    lines = [
        line for line in bridge.render().splitlines() if line.startswith("http_server_request_duration_seconds_count")
    ]
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["1"]
    assert 'http_route="/inner/items/{item}"' in lines[0]


def test_engines_are_recorded_one_or_several() -> None:
    one, two, three = (create_engine("sqlite://", poolclass=StaticPool) for _ in range(3))
    bridge = otelbridge.init(prometheus=_OWN_PORT, engine=[one, two])
    bridge.instrument_engine(three)
    for engine in (one, two, three):
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    counts = [
        line for line in bridge.render().splitlines() if line.startswith("db_client_operation_duration_seconds_count")
    ]
    assert sum(float(line.rsplit(" ", 1)[1]) for line in counts) == 3
    for engine in (one, two, three):
        engine.dispose()


def test_the_same_settings_again_give_the_same_bridge() -> None:
    view = View(instrument_name="a")
    bridge = otelbridge.init(service_name="shop", prometheus=_OWN_PORT, views=[view])
    assert otelbridge.init(service_name="shop", prometheus=_OWN_PORT, views=[view]) is bridge


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"service_name": "other"}, "service_name"),
        ({"domains": ["agents"]}, "domains"),
        ({"app": FastAPI()}, "app"),
        ({"otlp": "http://127.0.0.1:1"}, "otlp"),
    ],
)
def test_other_settings_are_an_error_that_names_them(changed, named) -> None:
    settings = {"service_name": "shop", "prometheus": _OWN_PORT}
    bridge = otelbridge.init(**settings)
    with pytest.raises(ConfigError, match=rf"other settings for: .*{named}.*shutdown\(\) first"):
        otelbridge.init(**{**settings, **changed})
    assert httpx.get(bridge.metrics_url).status_code == 200


def test_shutdown_then_init_works_and_starts_from_zero() -> None:
    counter = get_meter("mine").create_counter("mine.count")
    pages = []
    for amount in (3, 5):
        bridge = otelbridge.init(prometheus=_OWN_PORT)
        counter.add(amount)
        pages.append(httpx.get(bridge.metrics_url).text)
        assert otelbridge.shutdown()
    assert "mine_count_total 3\n" in pages[0]
    assert "mine_count_total 5\n" in pages[1]


def test_nothing_is_left_after_shutdown() -> None:
    before = _threads()
    bridge = otelbridge.init(prometheus=_OWN_PORT, otlp="http://127.0.0.1:1")
    assert _threads() > before
    bridge.shutdown(timeout=0.5)
    # A callback that is under way comes to its end; nobody waits for it.
    eventually(lambda: _threads() == before, lambda: f"{_threads() - before} end")
    with pytest.raises(httpx.ConnectError):
        httpx.get(bridge.metrics_url)


def test_instruments_made_before_init_work_after_it() -> None:
    printed = _run("""
from opentelemetry import metrics
counter = metrics.get_meter("mine").create_counter("mine.count")
import otelbridge
decorated = otelbridge.tasks.task("job", queue="q")(lambda: None)
bridge = otelbridge.init(prometheus=otelbridge.PrometheusOptions(mode="server", port=0))
counter.add(2)
decorated()
print(bridge.render())
""")
    assert "mine_count_total 2\n" in printed
    assert 'task_duration_seconds_count{task_name="job",task_queue_name="q",task_result="success"} 1' in printed


def test_a_provider_of_ones_own_gets_the_data_and_keeps_the_exports() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    bridge = otelbridge.init(meter_provider=provider)
    otelbridge.business.revenue.add(2, currency="EUR")
    assert "business.revenue" in reader.get_metrics_data().to_json()
    assert bridge.metrics_url is None
    assert bridge.endpoint is None
    otelbridge.shutdown()
    otelbridge.business.revenue.add(2, currency="EUR")
    assert '"value": 2' in reader.get_metrics_data().to_json()
    provider.shutdown()


def test_a_provider_of_ones_own_excludes_our_exports() -> None:
    provider = MeterProvider(shutdown_on_exit=False)
    with pytest.raises(ConfigError, match="the settings otlp belong to that provider"):
        otelbridge.init(meter_provider=provider, otlp="http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="otelbridge's own provider"):
        otelbridge.init(meter_provider=switch)


def test_the_global_provider_is_ours_after_init() -> None:
    printed = _run("""
import otelbridge, opentelemetry.metrics as m
otelbridge.init(prometheus="off")
print(type(m.get_meter_provider()).__name__)
""")
    assert printed.strip() == "SwitchMeterProvider"


def test_a_failed_start_leaves_nothing_behind() -> None:
    before = _threads()
    app = FastAPI()
    routes = list(app.routes)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = otelbridge.PrometheusOptions(mode="server", port=taken.getsockname()[1])
        with pytest.raises(ConfigError, match="cannot listen"):
            otelbridge.init(app=app, prometheus=options, otlp="http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="certificate"):
        otelbridge.init(app=app, otlp=otelbridge.OtlpOptions(endpoint="https://127.0.0.1:1", certificate="absent"))
    assert _threads() == before
    assert list(app.routes) == routes
    assert switch.provider is None
    otelbridge.init(app=app)


def test_app_endpoint_without_an_app_is_an_error() -> None:
    with pytest.raises(ConfigError, match="there is no app="):
        otelbridge.init(prometheus="app")


def test_unknown_names_are_errors() -> None:
    with pytest.raises(ConfigError, match="agents"):
        otelbridge.init(domains=["agent"], prometheus="off")
    with pytest.raises(ConfigError, match="fastapi"):
        otelbridge.init(instrument=["fastpi"], prometheus="off")
    with pytest.raises(TypeError, match="servce_name"):
        otelbridge.init(servce_name="shop")


def test_domains_that_are_left_out_stay_silent() -> None:
    bridge = otelbridge.init(prometheus=_OWN_PORT, domains=["business"])
    otelbridge.business.revenue.add(1, currency="EUR")
    otelbridge.cost.record(1, "EUR")
    page = bridge.render()
    assert "business_revenue_total" in page
    assert "cost_usage_total" not in page
    assert "process_uptime" not in page


def test_switched_off_by_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    bridge = otelbridge.init(prometheus=_OWN_PORT, otlp="http://127.0.0.1:1")
    assert bridge.metrics_url is None
    assert bridge.render() == ""
    assert switch.provider is None


def test_environment_and_file_are_read(monkeypatch, tmp_path) -> None:
    file = tmp_path / "otel.yaml"
    file.write_text("""
file_format: "1.0"
resource:
  attributes:
    - {name: service.name, value: from-file}
    - {name: deployment.environment.name, value: from-file}
distribution:
  otelbridge:
    domains: [business]
""")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-environment")
    bridge = otelbridge.init(prometheus=_OWN_PORT, config=file)
    attributes = bridge.resource.attributes
    assert attributes["service.name"] == "from-environment"
    assert attributes["deployment.environment.name"] == "from-file"
    assert bridge.config.domains == {"business"}
    monkeypatch.setenv("OTEL_CONFIG_FILE", str(file))
    assert otelbridge.init(prometheus=_OWN_PORT) is bridge


def test_a_dead_collector_leaves_application_and_scrape_alone(caplog) -> None:
    caplog.set_level(logging.CRITICAL, "opentelemetry")
    options = otelbridge.OtlpOptions(endpoint="http://127.0.0.1:1", interval=0.05, timeout=0.2)
    bridge = otelbridge.init(prometheus=_OWN_PORT, otlp=options)
    for _ in range(20):
        otelbridge.business.revenue.add(1, currency="EUR")
        assert httpx.get(bridge.metrics_url).status_code == 200
    assert 'business_revenue_total{currency="EUR"} 20' in bridge.render()
    bridge.shutdown(timeout=0.5)


def test_without_init_recording_does_nothing() -> None:
    otelbridge.business.revenue.add(1, currency="EUR")
    with otelbridge.agents.invocation("planner") as call:
        call.tokens(input=1, output=1)
    assert otelbridge.force_flush()
    assert otelbridge.shutdown()


def test_flush_and_exit_push_to_a_receiver() -> None:
    receiver = Receiver()
    printed = _run(
        """
import otelbridge
otelbridge.init(service_name="job", prometheus="off")
otelbridge.business.revenue.add(7, currency="EUR")
print(otelbridge.force_flush())
otelbridge.business.revenue.add(1, currency="EUR")
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
    )
    receiver.close()
    sums = [
        metric.sum.data_points[0].as_double or metric.sum.data_points[0].as_int
        for _, _, message in receiver.requests
        for resource in message.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "business.revenue"
    ]
    assert printed.strip() == "True"
    assert sums == [7, 8]


def test_import_pulls_in_nothing_heavy() -> None:
    printed = _run("""
import sys, otelbridge
for name in ("agents", "business", "cost", "database", "health", "tasks"):
    getattr(otelbridge, name)
heavy = ("fastapi", "starlette", "sqlalchemy", "grpc", "streamlit", "psutil", "yaml", "requests", "opentelemetry.sdk")
print([name for name in heavy if name in sys.modules])
otelbridge.init(prometheus="off", instrument=[])
# The SDK's own process detector imports psutil where it is installed.
heavy = ("fastapi", "starlette", "sqlalchemy", "grpc", "streamlit", "yaml")
print([name for name in heavy if name in sys.modules])
""")
    assert printed.split("\n")[:2] == ["[]", "[]"]


def test_the_door_lists_and_refuses_names() -> None:
    assert set(otelbridge.__all__) == set(dir(otelbridge))
    for name in otelbridge.__all__:
        assert getattr(otelbridge, name) is not None
    with pytest.raises(AttributeError, match="agent_s"):
        _ = otelbridge.agent_s


def test_global_instruments_are_guarded(caplog) -> None:
    bridge = otelbridge.init(prometheus=_OWN_PORT)
    counter = get_meter_provider().get_meter("mine").create_counter("mine.count")
    counter.add("five")
    counter.add(2)
    assert "mine.count leaves out the amount 'five'" in caplog.text
    assert "mine_count_total 2\n" in bridge.render()


def test_a_bridge_that_was_shut_down_itself_does_not_come_back() -> None:
    bridge = otelbridge.init(prometheus=_OWN_PORT)
    assert bridge.shutdown()
    assert not bridge.running
    again = otelbridge.init(prometheus=_OWN_PORT)
    assert again is not bridge
    assert httpx.get(again.metrics_url).status_code == 200


def test_the_first_destinations_stop_when_a_later_one_cannot_be_made() -> None:
    before = _threads()
    bad = otelbridge.OtlpOptions(endpoint="https://127.0.0.1:1", certificate="absent")
    with pytest.raises(ConfigError, match="certificate"):
        otelbridge.init(prometheus="off", otlp=[otelbridge.OtlpOptions(endpoint="http://127.0.0.1:1"), bad])
    assert _threads() == before


def test_an_interrupted_shutdown_still_takes_everything_down(monkeypatch) -> None:
    def interrupted(self, timeout):
        raise KeyboardInterrupt

    before = _threads()
    bridge = otelbridge.init(prometheus=_OWN_PORT)
    monkeypatch.setattr("otelbridge.metrics.pipeline.Pipeline.shutdown", interrupted)
    with pytest.raises(KeyboardInterrupt):
        otelbridge.shutdown()
    assert switch.provider is None
    assert _threads() == before
    with pytest.raises(httpx.ConnectError):
        httpx.get(bridge.metrics_url)


def test_meter_provider_takes_a_provider_and_may_come_with_the_endpoint_off() -> None:
    with pytest.raises(ConfigError, match="is a int, which is no meter provider"):
        otelbridge.init(meter_provider=42)
    provider = MeterProvider(shutdown_on_exit=False)
    with pytest.raises(ConfigError, match="the settings traces belong"):
        otelbridge.init(meter_provider=provider, traces=True)
    assert otelbridge.init(meter_provider=provider, prometheus=False, otlp=False, traces=False).running
    provider.shutdown()


def test_a_view_with_a_name_nearly_right_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"Write 'business\.revenue' if that is meant"):
        otelbridge.init(prometheus="off", views=[View(instrument_name="business_revenue_total")])


def test_init_from_many_threads_gives_one_bridge() -> None:
    with ThreadPoolExecutor(8) as pool:
        bridges = set(pool.map(lambda _: otelbridge.init(prometheus=_OWN_PORT), range(16)))
    assert len(bridges) == 1
