"""The scrape endpoint: reader, ASGI and WSGI applications, own server, mounting. All over real HTTP."""

from __future__ import annotations

import asyncio
import http.client
import socket
import struct
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from otelbridge.config.options import Prometheus
from otelbridge.errors import ConfigError
from otelbridge.prometheus.endpoint import AsgiEndpoint
from otelbridge.prometheus.mount import mount
from otelbridge.prometheus.reader import PrometheusPull
from otelbridge.prometheus.server import MetricsServer


@pytest.fixture
def pull():
    pull = PrometheusPull(Prometheus())
    provider = MeterProvider([pull.reader], shutdown_on_exit=False)
    provider.get_meter("test").create_counter("orders", "{order}", "Orders taken.").add(3, {"kind": "web"})
    yield pull
    provider.shutdown()


@pytest.fixture
def server(pull):
    server = MetricsServer(Prometheus(mode="server", host="localhost", port=0), pull)
    yield server
    server.close()


def _client(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def test_text_by_default(pull) -> None:
    exposition = pull.render()
    assert exposition.content_type.startswith("text/plain; version=")
    families = {family.name: family for family in parse_text(exposition.body.decode())}
    (sample,) = families["orders"].samples
    assert (sample.name, sample.labels, sample.value) == ("orders_total", {"kind": "web"}, 3.0)
    assert "target" in families or "target_info" in families


def test_openmetrics_when_asked_for(pull) -> None:
    exposition = pull.render("application/openmetrics-text; version=1.0.0")
    assert exposition.content_type.startswith("application/openmetrics-text")
    assert any(family.name == "orders" for family in parse_openmetrics(exposition.body.decode()))


@pytest.mark.parametrize("scope_labels", [True, False])
def test_scope_labels_and_target_info_are_options(scope_labels: bool) -> None:
    pull = PrometheusPull(Prometheus(scope_labels=scope_labels, target_info=False))
    provider = MeterProvider([pull.reader], shutdown_on_exit=False)
    provider.get_meter("test").create_counter("orders").add(1)
    text = pull.render().body.decode()
    provider.shutdown()
    assert ("otel_scope_name" in text) is scope_labels
    assert "target_info" not in text


def test_server_answers_its_exact_path_only(server) -> None:
    assert "orders_total" in httpx.get(server.url).text
    assert httpx.get(server.url + "/more").status_code == 404
    assert httpx.get(server.url.replace("/metrics", "/")).status_code == 404


def test_server_answers_get_and_head_only(server) -> None:
    head = httpx.head(server.url)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0
    post = httpx.post(server.url)
    assert (post.status_code, post.headers["allow"]) == (405, "GET, HEAD")


def test_server_listens_on_the_asked_address_only(server) -> None:
    assert urlsplit(server.url).hostname == "localhost"
    port = urlsplit(server.url).port
    own = socket.gethostbyname(socket.gethostname())
    if own.startswith("127."):
        own = "127.0.0.2"
    with pytest.raises(OSError, match=r"refused|unreachable"):
        socket.create_connection((own, port), timeout=2)


def test_an_idle_connection_holds_up_nobody(server) -> None:
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port)):
        assert httpx.get(server.url, timeout=5).status_code == 200


def test_a_port_in_use_is_an_error_that_names_it(pull) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"localhost:{port}.*prometheus=False"):
            MetricsServer(Prometheus(mode="server", port=port), pull)


def test_an_unknown_host_is_an_error_that_names_it(pull) -> None:
    with pytest.raises(ConfigError, match=r"no\.such\.host\.invalid:0"):
        MetricsServer(Prometheus(mode="server", host="no.such.host.invalid", port=0), pull)


def test_a_closed_server_frees_port_and_thread(pull) -> None:
    server = MetricsServer(Prometheus(mode="server", port=0), pull)
    port = urlsplit(server.url).port
    server.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "otelbridge-metrics"]
    again = MetricsServer(Prometheus(mode="server", port=port), pull)
    again.close()


async def test_asgi_endpoint_negotiates_and_refuses(pull) -> None:
    async with _client(AsgiEndpoint(pull)) as client:
        answer = await client.get("/", headers={"accept": "application/openmetrics-text"})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.headers["cache-control"] == "no-store"
        assert (await client.head("/")).content == b""
        assert (await client.delete("/")).status_code == 405


async def test_a_broken_rendering_is_a_500_and_goes_no_further(pull, caplog) -> None:
    class Broken(PrometheusPull):
        def render(self, accept=None):
            raise RuntimeError("boom")

    async with _client(AsgiEndpoint(Broken(Prometheus()))) as client:
        assert (await client.get("/")).status_code == 500
    assert "Rendering the metrics failed" in caplog.text


async def test_rendering_leaves_the_event_loop_free(pull) -> None:
    release = threading.Event()
    order: list[str] = []

    class Slow(PrometheusPull):
        def render(self, accept=None):
            release.wait(10)
            order.append("rendered")
            return pull.render(accept)

    async with _client(AsgiEndpoint(Slow(Prometheus()))) as client:
        scrape = asyncio.create_task(client.get("/"))
        await asyncio.sleep(0.05)
        order.append("loop went on")
        release.set()
        await scrape
    assert order == ["loop went on", "rendered"]


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
async def test_mounted_route_wins_over_a_catch_all_and_can_be_taken_off(kind, pull) -> None:
    async def catch_all(request):
        return PlainTextResponse("caught")

    app = kind(routes=[Route("/{rest:path}", catch_all)])
    unmount = mount(app, "/metrics", AsgiEndpoint(pull))
    async with _client(app) as client:
        assert "orders_total" in (await client.get("/metrics")).text
        assert (await client.get("/metrics/more")).text == "caught"
        unmount()
        unmount()
        assert (await client.get("/metrics")).text == "caught"


async def test_mounting_stays_out_of_the_api_description(pull) -> None:
    app = FastAPI()
    mount(app, "/metrics", AsgiEndpoint(pull))
    assert "/metrics" not in app.openapi()["paths"]


def test_a_taken_path_is_an_error(pull) -> None:
    app = FastAPI()
    app.get("/metrics")(lambda: "mine")
    with pytest.raises(ConfigError, match="serves /metrics already"):
        mount(app, "/metrics", AsgiEndpoint(pull))


def test_an_object_without_routes_is_an_error(pull) -> None:
    with pytest.raises(ConfigError, match="object, which has no routes"):
        mount(object(), "/metrics", AsgiEndpoint(pull))


def test_a_slow_client_loses_its_connection_not_the_server(server) -> None:
    parts = urlsplit(server.url)
    slow = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=5)
    slow.connect()
    slow.send(b"GET /metr")
    began = time.monotonic()
    assert httpx.get(server.url, timeout=5).status_code == 200
    assert time.monotonic() - began < 5
    slow.close()


def test_a_text_that_is_no_utf8_does_not_cost_the_scrape() -> None:
    pull = PrometheusPull(Prometheus())
    provider = MeterProvider([pull.reader], shutdown_on_exit=False)
    counter = provider.get_meter("test").create_counter("files")
    counter.add(1, {"name": "caf\udce9"})
    counter.add(2, {"name": "plain"})
    for accept in (None, "application/openmetrics-text; version=1.0.0"):
        text = pull.render(accept).body.decode()
        assert 'files_total{name="caf?"} 1.0' in text
        assert 'files_total{name="plain"} 2.0' in text
    provider.shutdown()


def test_a_host_name_that_cannot_be_one_is_an_error(pull) -> None:
    with pytest.raises(ConfigError, match="cannot listen on"):
        MetricsServer(Prometheus(mode="server", host="a" * 100, port=0), pull)


def test_clients_that_hang_up_leave_no_noise(server, capfd) -> None:
    address = urlsplit(server.url)
    rudely = struct.pack("ii", 1, 0)
    with socket.create_connection((address.hostname, address.port)) as client:
        client.send(b"GET /metrics HTTP/1.1\r\n")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, rudely)
    assert httpx.get(server.url).status_code == 200
    server.close()
    while any("process_request_thread" in thread.name for thread in threading.enumerate()):
        time.sleep(0.01)
    assert capfd.readouterr().err == ""


def test_a_forked_child_neither_holds_the_port_nor_waits_for_the_server() -> None:
    script = """
import os, sys, otelbridge
bridge = otelbridge.init(prometheus=otelbridge.PrometheusOptions(mode="server", port=0), instrument=[])
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.close(write)
    os.read(read, 1)
    sys.exit(7)
port = int(bridge.metrics_url.split(":")[2].split("/")[0])
otelbridge.shutdown()
otelbridge.init(prometheus=otelbridge.PrometheusOptions(mode="server", port=port), instrument=[])
os.close(write)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    quiet = ["-W", "ignore::DeprecationWarning"]  # from 3.12 on, forking with threads is one
    ran = subprocess.run(
        [sys.executable, *quiet, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout.strip(), ran.stderr) == ("7", "")
