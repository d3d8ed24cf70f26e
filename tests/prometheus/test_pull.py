"""The pull path assembled: reader, site, own port, mounting. All over real HTTP, on the SDK's provider and on ours."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from otelbridge.config.options import Prometheus
from otelbridge.diagnostics import forget_warnings
from otelbridge.errors import ConfigError
from otelbridge.metrics.provider import MeterProvider
from otelbridge.prometheus.mount import mount
from otelbridge.prometheus.pull import Pull
from otelbridge.prometheus.reader import PrometheusReader
from otelbridge.prometheus.readiness import ComponentHealth
from tests.components import free_port
from tests.prometheus.endpoint_kit import eventually

pytestmark = pytest.mark.endtoend


def _healthy() -> list[ComponentHealth]:
    return [ComponentHealth("metrics", "service", "healthy")]


def _always() -> bool:
    return True


@pytest.fixture(params=[SdkMeterProvider, MeterProvider], ids=["SDK", "otelbridge"])
def provider_class(request):
    return request.param


@pytest.fixture
def pull(provider_class):
    forget_warnings()
    pull = Pull(Prometheus(port=0), _healthy)
    provider = provider_class([pull.reader], shutdown_on_exit=False)
    provider.get_meter("test").create_counter("orders", "{order}", "Orders taken.").add(3, {"kind": "web"})
    yield pull
    pull.close()
    provider.shutdown()


def _client(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def test_text_by_default(pull) -> None:
    exposition = pull.reader.render()
    assert exposition.content_type.startswith("text/plain; version=")
    families = {family.name: family for family in parse_text(exposition.body.decode())}
    (sample,) = families["orders"].samples
    assert (sample.name, sample.labels, sample.value) == ("orders_total", {"kind": "web"}, 3.0)
    assert "target_info" in families


def test_openmetrics_when_asked_for(pull) -> None:
    exposition = pull.reader.render("application/openmetrics-text; version=1.0.0")
    assert exposition.content_type.startswith("application/openmetrics-text")
    assert any(family.name == "orders" for family in parse_openmetrics(exposition.body.decode()))


def test_every_instrument_is_the_same_from_the_store_as_from_data_points() -> None:
    pages = []
    for kind in (SdkMeterProvider, MeterProvider):
        reader = PrometheusReader(disable_target_info=True)
        views = [View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())]
        provider = kind([reader], resource=Resource({"service.name": "x"}), views=views, shutdown_on_exit=False)
        meter = provider.get_meter("lib", "1.0", "https://schema.test/1", {"scope.key": "v"})
        for at in range(3):
            attributes = {"k": f"v{at}"}
            meter.create_counter("c", "s", "Counted.").add(at + 0.5, attributes)
            meter.create_up_down_counter("u").add(-at, attributes)
            meter.create_gauge("g", "By").set(at, attributes)
            meter.create_histogram("h", "s").record(at * 100, attributes)
            meter.create_histogram("exponential").record(at, attributes)
        meter.create_observable_gauge("o", [lambda _: [__import__("opentelemetry.metrics").metrics.Observation(7)]])
        reader.render()
        meter.create_counter("c", "s", "Counted.").add(1, {"k": "later"})
        pages.append([reader.render(accept).body for accept in (None, "application/openmetrics-text; version=1.0.0")])
        provider.shutdown()
        assert b"c_seconds" not in reader.render().body
    assert pages[0] == pages[1]
    assert b'c_seconds_total{k="later"' in pages[1][0]


@pytest.mark.parametrize("scope_labels", [True, False])
def test_scope_labels_and_target_info_are_options(provider_class, scope_labels: bool) -> None:
    pull = Pull(Prometheus(scope_labels=scope_labels, target_info=False), _healthy)
    provider = provider_class([pull.reader], shutdown_on_exit=False)
    provider.get_meter("test").create_counter("orders").add(1)
    text = pull.reader.render().body.decode()
    provider.shutdown()
    assert ("otel_scope_name" in text) is scope_labels
    assert "target_info" not in text


def test_resource_attributes_are_labels_by_choice(provider_class) -> None:
    pull = Pull(Prometheus(resource_labels=("deployment.environment.name",)), _healthy)
    resource = Resource({"service.name": "shop", "deployment.environment.name": "test"})
    provider = provider_class([pull.reader], resource=resource, shutdown_on_exit=False)
    provider.get_meter("test").create_counter("orders").add(1)
    text = pull.reader.render().body.decode()
    provider.shutdown()
    assert 'orders_total{deployment_environment_name="test"} 1' in text


def test_a_page_that_is_too_large_loses_its_largest_families_whole(provider_class, caplog) -> None:
    forget_warnings()
    reader = PrometheusReader(max_bytes=2000)
    provider = provider_class([reader], shutdown_on_exit=False)
    meter = provider.get_meter("test")
    for at in range(100):
        meter.create_counter("large").add(1, {"k": f"{at}"})
    meter.create_counter("small").add(1)
    for _ in range(2):
        text = reader.render().body.decode()
        assert "small_total" in text
        assert "large" not in text
    provider.shutdown()
    assert caplog.text.count("left out are the largest families: large_total") == 1


def test_a_text_that_is_no_utf8_does_not_cost_the_scrape(provider_class) -> None:
    reader = PrometheusReader(scope_info_enabled=False)
    provider = provider_class([reader], shutdown_on_exit=False)
    counter = provider.get_meter("test").create_counter("files")
    counter.add(1, {"name": "caf\udce9"})
    counter.add(2, {"name": "plain"})
    for accept in (None, "application/openmetrics-text; version=1.0.0"):
        text = reader.render(accept).body.decode()
        assert 'files_total{name="plain"} 2' in text
        assert text.count("files_total{") == 2
    provider.shutdown()


def test_the_own_port_serves_metrics_and_health(pull) -> None:
    port = pull.serve(_always)
    assert port.serving
    base = port.url.removesuffix("/metrics")
    assert "orders_total" in httpx.get(port.url).text
    assert httpx.get(f"{base}/healthz").status_code == 200
    assert httpx.get(f"{base}/-/ready").json() == {
        "status": "ready",
        "components": [{"name": "metrics", "type": "service", "state": "healthy"}],
    }
    assert httpx.get(f"{port.url}/more").status_code == 404
    port.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("otelbridge-metrics")]


def test_health_can_be_left_out() -> None:
    pull = Pull(Prometheus(port=0, health=False), _healthy)
    port = pull.serve(_always)
    assert httpx.get(port.url.replace("/metrics", "/healthz")).status_code == 404
    port.close()
    pull.close()


def test_a_token_is_asked_for(pull) -> None:
    guarded = Pull(Prometheus(port=0, bearer_token="s3cret"), _healthy)
    provider = MeterProvider([guarded.reader], shutdown_on_exit=False)
    port = guarded.serve(_always)
    assert httpx.get(port.url).status_code == 401
    assert httpx.get(port.url, headers={"authorization": "Bearer s3cret"}).status_code == 200
    port.close()
    guarded.close()
    provider.shutdown()
    assert "s3cret" not in repr(guarded.config)


def test_an_address_others_reach_is_not_served_to_everybody() -> None:
    with pytest.raises(ConfigError, match=r"everybody who reaches 0\.0\.0\.0.*insecure=True"):
        Pull(Prometheus(host="0.0.0.0", port=0), _healthy).serve(_always)
    port = Pull(Prometheus(host="0.0.0.0", port=0, insecure=True), _healthy).serve(_always)
    assert port.serving
    port.close()


def test_a_port_in_use_is_an_error_for_the_one_whose_turn_it_is(pull) -> None:
    first = pull.serve(_always)
    taken = urlsplit(first.url).port
    with pytest.raises(ConfigError, match=f"localhost:{taken}.*prometheus=False"):
        Pull(Prometheus(port=taken), _healthy).serve(_always)
    first.close()


def test_an_ipv6_address_in_use_is_named_as_in_a_url() -> None:
    first = Pull(Prometheus(host="::1", port=0), _healthy).serve(_always)
    taken = urlsplit(first.url).port
    with pytest.raises(ConfigError, match=rf"\[::1\]:{taken}"):
        Pull(Prometheus(host="::1", port=taken), _healthy).serve(_always)
    first.close()


def test_who_waits_takes_over_when_its_turn_comes(pull) -> None:
    first = pull.serve(_always)
    taken = urlsplit(first.url).port
    turn, asked = threading.Event(), []
    second = Pull(Prometheus(port=taken), _healthy).serve(lambda: turn.is_set() and not asked.append(1))
    assert not second.serving
    assert second.url == first.url
    turn.set()
    eventually(lambda: len(asked) > 1)
    assert not second.serving  # the port is still taken: it tries on
    first.close()
    eventually(lambda: second.serving)
    assert httpx.get(second.url).status_code == 200
    second.close()


async def test_the_endpoint_negotiates_and_refuses(pull) -> None:
    async with _client(pull.endpoint()) as client:
        answer = await client.get("/", headers={"accept": "application/openmetrics-text"})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.headers["cache-control"] == "no-store"
        assert (await client.head("/")).content == b""
        assert (await client.delete("/")).status_code == 405


async def test_rendering_leaves_the_event_loop_free(provider_class) -> None:
    release, entered = threading.Event(), threading.Event()

    def slowly(_options):
        entered.set()
        release.wait(10)
        return []

    pull = Pull(Prometheus(), _healthy)
    provider = provider_class([pull.reader], shutdown_on_exit=False)
    provider.get_meter("test").create_observable_gauge("slow", [slowly])
    async with _client(pull.endpoint()) as client:
        scrape = asyncio.create_task(client.get("/"))
        await asyncio.to_thread(entered.wait, 10)
        assert entered.is_set()
        assert not scrape.done()
        release.set()
        assert (await scrape).status_code == 200
    pull.close()
    provider.shutdown()


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
async def test_mounted_route_wins_over_a_catch_all_and_can_be_taken_off(kind, pull) -> None:
    async def catch_all(request):
        return PlainTextResponse("caught")

    app = kind(routes=[Route("/{rest:path}", catch_all)])
    unmount = mount(app, "/metrics", pull.endpoint())
    async with _client(app) as client:
        assert "orders_total" in (await client.get("/metrics")).text
        assert (await client.get("/metrics/more")).text == "caught"
        unmount()
        unmount()
        assert (await client.get("/metrics")).text == "caught"


async def test_mounting_stays_out_of_the_api_description(pull) -> None:
    app = FastAPI()
    mount(app, "/metrics", pull.endpoint())
    assert "/metrics" not in app.openapi()["paths"]


def test_a_taken_path_is_an_error(pull) -> None:
    app = FastAPI()
    app.get("/metrics")(lambda: "mine")
    with pytest.raises(ConfigError, match="serves /metrics already"):
        mount(app, "/metrics", pull.endpoint())


def test_an_object_without_routes_is_an_error(pull) -> None:
    with pytest.raises(ConfigError, match="object, which has no routes"):
        mount(object(), "/metrics", pull.endpoint())


def test_workers_share_one_port_and_the_next_one_takes_over(tmp_path) -> None:
    script = """
import os, signal, sys, time, urllib.request, otelbridge
from opentelemetry import metrics
port = int(sys.argv[1])
otelbridge.init(service_name="port", prometheus=otelbridge.PrometheusOptions(mode="server", port=port), instrument=[])
counter = metrics.get_meter("m").create_counter("c")
counter.add(1)
children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        counter.add(1)
        time.sleep(600)
        os._exit(0)
    children.append(child)
def shown():
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=60) as answer:
                (line,) = [line for line in answer.read().decode().splitlines() if line.startswith("c_total")]
            if line == "c_total 3":
                return line
        except OSError:
            pass
        time.sleep(0.1)
    return line
print(shown())
otelbridge.shutdown()
print(shown())
os.kill(children[0], signal.SIGKILL)
print(shown())
for child in children:
    os.kill(child, signal.SIGKILL)
"""
    quiet = ["-W", "ignore::DeprecationWarning"]  # from 3.12 on, forking with threads is one
    ran = subprocess.run(
        [sys.executable, *quiet, "-c", script, str(free_port())],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (ran.stdout.split("\n")[:3], ran.stderr) == (["c_total 3"] * 3, "")


def test_a_forked_child_neither_holds_the_port_nor_waits_for_the_server() -> None:
    script = """
import os, sys, otelbridge
bridge = otelbridge.init(prometheus=otelbridge.PrometheusOptions(mode="server", port=0), instrument=[])
read, write = os.pipe()
ready, tell = os.pipe()
child = os.fork()
if child == 0:
    os.close(write)
    os.write(tell, b"1")
    os.read(read, 1)
    sys.exit(7)
os.read(ready, 1)
port = int(bridge.metrics_url.split(":")[2].split("/")[0])
otelbridge.shutdown()
otelbridge.init(prometheus=otelbridge.PrometheusOptions(mode="server", port=port), instrument=[])
os.close(write)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    quiet = ["-W", "ignore::DeprecationWarning"]  # from 3.12 on, forking with threads is one
    ran = subprocess.run(
        [sys.executable, *quiet, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (ran.stdout.strip(), ran.stderr) == ("7", "")


async def test_health_is_mounted_where_it_is_wanted(pull) -> None:
    wanted = Pull(Prometheus(health=True), _healthy)
    assert set(wanted.endpoints()) == {"/metrics", "/healthz", "/-/ready"}
    app = Starlette()
    for path, endpoint in wanted.endpoints().items():
        mount(app, path, endpoint)
    async with _client(app) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/-/ready")).json()["status"] == "ready"
    assert set(Pull(Prometheus(health=False), _healthy).endpoints()) == {"/metrics"}


def test_a_web_config_file_protects_the_port(tmp_path) -> None:
    import bcrypt

    hashed = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(4)).decode()
    file = tmp_path / "web.yml"
    file.write_text(f"basic_auth_users:\n  alice: {hashed}\n")
    pull = Pull(Prometheus(port=0, web_config_file=str(file)), _healthy)
    provider = MeterProvider([pull.reader], shutdown_on_exit=False)
    port = pull.serve(_always)
    assert httpx.get(port.url).status_code == 401
    assert httpx.get(port.url, auth=("alice", "s3cret")).status_code == 200
    port.close()
    pull.close()
    provider.shutdown()


def test_an_exemplar_stays_until_there_is_a_newer_one() -> None:
    # Whoever else looks at the page, in a format without exemplars or with, takes none away.
    def traces(page: bytes) -> set[str]:
        families = parse_openmetrics(page.decode())
        return {s.exemplar.labels["trace_id"] for family in families for s in family.samples if s.exemplar}

    reader = PrometheusReader()
    provider = MeterProvider([reader], exemplar_filter=AlwaysOnExemplarFilter(), shutdown_on_exit=False)
    meter = provider.get_meter("test")
    for trace_id in (0xA, 0xB):
        span = NonRecordingSpan(SpanContext(trace_id, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)))
        with use_span(span):
            meter.create_counter("orders").add(1)
            meter.create_histogram("wait", "s", explicit_bucket_boundaries_advisory=[1.0]).record(0.5)
        reader.render("text/plain")
        for _ in range(2):
            page = reader.render("application/openmetrics-text; version=1.0.0").body
            assert traces(page) == {f"{trace_id:032x}"}
            assert page.count(b"trace_id=") == 2
    provider.shutdown()
