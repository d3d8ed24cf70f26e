"""Requests made with real HTTP libraries to a real server: what is recorded of each, and what is not."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys

import aiohttp
import httpx
import pytest
import requests
import urllib3
from opentelemetry import context as otel_context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

import otelbridge
from otelbridge.catalogue.http import CLIENT_REQUEST_DURATION
from otelbridge.errors import ConfigError, MissingDependencyError
from otelbridge.instrumentation import discovery
from otelbridge.instrumentation.http import instrument_clients
from otelbridge.instrumentation.http.clients import libraries
from otelbridge.instrumentation.http.clients.exchange import Exchange, keep, kept, take
from otelbridge.instrumentation.http.clients.exchanges import Exchanges
from otelbridge.metrics.switch import switch
from tests.instrumentation.outgoing import CALLS, NAMES, Server, refused
from tests.receiver import Receiver

DURATION = CLIENT_REQUEST_DURATION.name
COUNT = "http_client_request_duration_seconds_count"
SPAN = NonRecordingSpan(SpanContext(0xA0, 0xB0, is_remote=True, trace_flags=TraceFlags(1)))


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def instrument(recorded):
    registrations = []

    def instrument(*names, **options):
        registrations.append(instrument_clients(names, **options))
        return registrations[-1]

    yield instrument
    for registration in registrations:
        registration.close()


@pytest.fixture(params=CALLS)
def call(request, instrument):
    """Makes one request with an instrumented client."""
    name, call = CALLS[request.param]
    instrument(name)
    return call


def told(recorded) -> dict[tuple, int]:
    """Method, status and failure of each point, and its count."""
    return {
        tuple(attributes.get(key) for key in ("http.request.method", "http.response.status_code", "error.type")): count
        for attributes, (count, _) in recorded.points(DURATION)
    }


def methods() -> list[object]:
    targets = [target for name, module in libraries._MODULES.items() for target in module.targets(name)]
    return [dict(vars(target)) for target in targets]


@pytest.mark.parametrize("client", CALLS)
async def test_one_library(client, server, instrument, recorded) -> None:
    name, call = CALLS[client]
    before = methods()
    registration = instrument(name)
    assert await call(f"{server.url}/answer") == 200
    assert await call(f"{server.url}/empty") == 204
    assert await call(f"{server.url}/missing", method="POST") == 404
    target = {"server.address": "127.0.0.1", "server.port": server.port}
    assert sorted((attributes for attributes, _ in recorded.points(DURATION)), key=str) == [
        {"http.request.method": "GET", "http.response.status_code": 200, **target},
        {"http.request.method": "GET", "http.response.status_code": 204, **target},
        {"http.request.method": "POST", "http.response.status_code": 404, "error.type": "404", **target},
    ]
    registration.close()
    registration.close()
    assert methods() == before
    await call(f"{server.url}/answer")
    assert [count for _, (count, _) in recorded.points(DURATION)] == [1, 1, 1]


async def test_redirects_are_requests_of_their_own(call, server, recorded) -> None:
    assert await call(f"{server.url}/moved") == 200
    assert told(recorded) == {("GET", 302, None): 1, ("GET", 200, None): 1}


def test_retries_are_requests_of_their_own(instrument, server, recorded) -> None:
    instrument("urllib3")
    with urllib3.PoolManager(retries=urllib3.Retry(2, status_forcelist=[503], raise_on_status=False)) as pool:
        assert pool.request("GET", f"{server.url}/busy").status == 503
        with pytest.raises(urllib3.exceptions.MaxRetryError):
            pool.request("GET", refused(), retries=1)
    assert told(recorded) == {
        ("GET", 503, "503"): 3,
        ("GET", None, "urllib3.exceptions.NewConnectionError"): 2,
    }


async def test_a_method_of_nobody_is_another(call, server, recorded) -> None:
    await call(f"{server.url}/answer", method="SHOP")
    assert told(recorded) == {("_OTHER", 200, None): 1}


async def test_what_is_on_already_counts_once(server, instrument, recorded) -> None:
    registrations = [instrument("requests", "urllib3"), instrument("urllib3"), instrument("auto")]
    for _, call in CALLS.values():
        await call(f"{server.url}/answer")
    assert told(recorded) == {("GET", 200, None): len(CALLS)}
    for registration in registrations:
        registration.close()


def test_httpx2_in_the_place_of_httpx_counts_once() -> None:
    script = """
import httpx2, sys
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otelbridge.instrumentation.http import instrument_clients
from otelbridge.metrics.switch import switch
httpx2.alias_httpx()
reader = InMemoryMetricReader()
switch.connect(MeterProvider([reader]))
registration = instrument_clients(("httpx", "httpx2"))
import httpx
assert httpx.Client is httpx2.Client
try:
    httpx.get(sys.argv[1])
except httpx.ConnectError:
    pass
registration.close()
(metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
print([point.count for point in metric.data.data_points])
"""
    done = subprocess.run([sys.executable, "-c", script, refused()], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[1]", done.stderr


async def test_auto_takes_what_is_installed(server, instrument, recorded, monkeypatch) -> None:
    monkeypatch.setitem(discovery._KNOWN, "httpx2", discovery.Instrumentation((discovery.Need("no_such", "none"),)))
    instrument("auto")
    for client in ("httpx", "httpx2", "requests", "aiohttp"):
        await CALLS[client][1](f"{server.url}/answer")
    assert told(recorded) == {("GET", 200, None): 3}


async def test_init_finds_every_client(server) -> None:
    options = otelbridge.PrometheusOptions(mode="server", port=0)
    bridge = otelbridge.init(service_name="shop", prometheus=options, workers="separate")
    try:
        for _, call in CALLS.values():
            await call(f"{server.url}/missing")
        (line,) = [line for line in bridge.render().splitlines() if line.startswith(COUNT)]
    finally:
        otelbridge.shutdown()
    assert line == (
        f'{COUNT}{{error_type="404",http_request_method="GET",http_response_status_code="404",'
        f'server_address="127.0.0.1",server_port="{server.port}"}} {len(CALLS)}'
    )


AFTERWARDS = """
import asyncio, sys, otelbridge
libraries = {"aiohttp", "httpx", "httpx2", "requests", "urllib3"}
options = otelbridge.PrometheusOptions(mode="server", port=0)
finders = list(sys.meta_path)
otelbridge.init(prometheus=options, workers="separate")
otelbridge.shutdown()
assert sys.meta_path == finders
bridge = otelbridge.init(prometheus=options, workers="separate")
assert not libraries & sys.modules.keys()
from tests.instrumentation.outgoing import CALLS
for _, call in CALLS.values():
    asyncio.run(call(sys.argv[1]))
name = "http_client_request_duration_seconds_count"
(count,) = [line.rpartition(" ")[2] for line in bridge.render().splitlines() if line.startswith(name)]
print(count)
otelbridge.shutdown()
asyncio.run(call(sys.argv[1]))
"""


def test_libraries_are_left_to_the_application_to_import(server) -> None:
    command = [sys.executable, "-W", "error", "-c", AFTERWARDS, f"{server.url}/answer"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (told.stdout.strip(), told.returncode) == (str(len(CALLS)), 0), told.stderr


def test_what_is_imported_after_the_end_is_left_as_it_is() -> None:
    script = """
from otelbridge.instrumentation.http import instrument_clients
registration = instrument_clients(("auto",))
registration.close()
import httpx, urllib3.connectionpool
assert httpx.HTTPTransport.handle_request.__module__ == "httpx._transports.default"
assert urllib3.connectionpool.HTTPConnectionPool._make_request.__module__ == "urllib3.connectionpool"
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], timeout=120, check=True)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'httpx'"):
        instrument_clients(("htpx",))
    with pytest.raises(ConfigError, match="Unknown HTTP client 'sqlalchemy'"):
        instrument_clients(("sqlalchemy",))


def test_missing_package_names_the_extra(monkeypatch) -> None:
    lacking = discovery.Instrumentation((discovery.Need("no_such", "no-such"),), "httpx")
    monkeypatch.setitem(discovery._KNOWN, "httpx", lacking)
    with pytest.raises(MissingDependencyError, match=r"no-such.*otelbridge\[httpx\]"):
        instrument_clients(("httpx",))


def test_a_version_without_what_is_replaced_is_reported(recorded, monkeypatch, caplog) -> None:
    monkeypatch.delattr("urllib3.connectionpool.HTTPConnectionPool._make_request")
    before = methods()
    instrument_clients(("urllib3",)).close()
    assert "urllib3 has no _make_request; its requests are not recorded" in caplog.text
    assert methods() == before


def test_what_cannot_be_described_is_let_through(recorded, caplog) -> None:
    def describe(request):
        raise ValueError(request)

    assert Exchanges(describe, str, None).begin("a request") is None
    assert "ValueError" in caplog.text


async def test_the_context_goes_along(call, server) -> None:
    await call(f"{server.url}/answer")
    token = otel_context.attach(set_span_in_context(SPAN))
    try:
        await call(f"{server.url}/answer")
    finally:
        otel_context.detach(token)
    without, along = (head.lower() for head in server.requests)
    assert "traceparent" not in without
    assert "traceparent: 00-000000000000000000000000000000a0-00000000000000b0-01\r\n" in along


def test_the_context_stays_out_of_the_headers_of_a_pool(instrument, server) -> None:
    instrument("urllib3")
    headers = {"Shop": "1"}
    token = otel_context.attach(set_span_in_context(SPAN))
    try:
        with urllib3.PoolManager(headers=headers) as pool:
            pool.request("GET", f"{server.url}/answer")
    finally:
        otel_context.detach(token)
    assert headers == {"Shop": "1"}
    assert "traceparent" in server.requests[0]


@pytest.mark.parametrize("suppress", [suppress_instrumentation, suppress_http_instrumentation])
async def test_suppressed(suppress, call, server, recorded) -> None:
    with suppress():
        await call(f"{server.url}/answer")
    assert recorded.points(DURATION) == []


async def test_excluded(server, instrument, recorded, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_HTTPX_EXCLUDED_URLS", "nothing,answer")
    monkeypatch.setenv("OTEL_PYTHON_EXCLUDED_URLS", "missing")
    instrument(*NAMES)
    for client in CALLS:
        await CALLS[client][1](f"{server.url}/answer")
        await CALLS[client][1](f"{server.url}/missing")
    assert told(recorded) == {("GET", 404, "404"): 4, ("GET", 200, None): 3}


def test_a_pattern_that_is_none(monkeypatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_HTTPX_EXCLUDED_URLS", "(")
    with pytest.raises(ConfigError, match="OTEL_PYTHON_HTTPX_EXCLUDED_URLS holds"):
        instrument_clients(("httpx",))


async def test_pushing_is_not_recorded(server, instrument, recorded) -> None:
    """A real exporter in a real periodic reader, while the libraries it could use are instrumented."""
    instrument(*NAMES)
    receiver = Receiver()
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(f"{receiver.url}/v1/metrics"), export_interval_millis=600_000
    )
    provider = MeterProvider([reader], shutdown_on_exit=False)
    try:
        provider.get_meter("test").create_counter("orders").add(1)
        assert provider.force_flush()
        assert len(receiver.requests) == 1
        assert recorded.points(DURATION) == []
        await CALLS["requests"][1](f"{server.url}/answer")
        assert [count for _, (count, _) in recorded.points(DURATION)] == [1]
    finally:
        provider.shutdown()
        receiver.close()
    assert sum(count for _, (count, _) in recorded.points(DURATION)) == 1


def test_an_answer_that_is_let_go_has_not_failed(instrument, server, recorded) -> None:
    instrument("httpx", "requests", "urllib3")
    with httpx.Client() as client, client.stream("GET", f"{server.url}/stalled"):
        pass
    with httpx.Client() as client, client.stream("GET", f"{server.url}/stalled") as response:
        for _ in response.iter_raw():
            break
    requests.get(f"{server.url}/stalled", stream=True, timeout=60).close()
    requests.get(f"{server.url}/stalled", stream=True, timeout=60)  # it is dropped
    with urllib3.PoolManager() as pool:
        pool.request("GET", f"{server.url}/stalled", preload_content=False).release_conn()
    assert told(recorded) == {("GET", 200, None): 5}


async def test_an_answer_of_aiohttp_that_is_let_go_has_not_failed(instrument, server, recorded) -> None:
    instrument("aiohttp-client")
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{server.url}/stalled"):
            pass
        (await session.get(f"{server.url}/stalled")).close()
        with pytest.raises(ValueError, match="of the application"):
            async with session.get(f"{server.url}/stalled"):
                raise ValueError("of the application")
    assert told(recorded) == {("GET", 200, None): 3}


@pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning")
async def test_an_answer_of_aiohttp_that_is_dropped_counts_with_its_connection(instrument, server, recorded) -> None:
    instrument("aiohttp-client")
    async with aiohttp.ClientSession() as session:
        await session.get(f"{server.url}/stalled")

    async def counted() -> None:
        while told(recorded) != {("GET", 200, None): 1}:
            await asyncio.sleep(0)
            gc.collect()  # it refers to itself

    await asyncio.wait_for(counted(), 60)


def test_an_upgrade_is_over_at_its_head(instrument, server, recorded) -> None:
    instrument("httpx")
    headers = {"Connection": "upgrade", "Upgrade": "shop"}
    with httpx.Client(headers=headers) as client, client.stream("GET", f"{server.url}/upgraded"):
        assert told(recorded) == {("GET", 101, None): 1}
    assert told(recorded) == {("GET", 101, None): 1}


def test_through_a_proxy_the_address_is_that_of_the_service(instrument, server, recorded) -> None:
    instrument("httpx", "urllib3")
    with urllib3.ProxyManager(server.url) as pool, httpx.Client(proxy=server.url) as client:
        assert pool.request("GET", "http://shop.example/answer").status == 200
        assert client.get("http://shop.example/answer").status_code == 200
    ((attributes, (count, _)),) = recorded.points(DURATION)
    assert (attributes["server.address"], attributes["server.port"], count) == ("shop.example", 80, 2)
    assert server.requests[0].startswith("GET http://shop.example/answer ")


def test_a_proxy_that_is_not_there(instrument, recorded) -> None:
    instrument("urllib3")
    with urllib3.ProxyManager(refused(), retries=False) as pool, pytest.raises(urllib3.exceptions.ProxyError):
        pool.request("GET", "https://shop.example/answer")
    ((attributes, (count, _)),) = recorded.points(DURATION)
    assert count == 1
    assert attributes == {
        "http.request.method": "CONNECT",
        "server.address": "shop.example",
        "server.port": 443,
        "error.type": "urllib3.exceptions.NewConnectionError",
    }


def test_what_another_thread_takes_first_is_taken_once() -> None:
    class Answer:
        """Its exchange is taken by somebody else in the moment it is looked at."""

        def __getattribute__(self, name: str) -> object:
            found = super().__getattribute__(name)
            if found is exchange:
                del super().__getattribute__("__dict__")[name]
            return found

    exchange, answer = Exchange(("GET", "shop.example", 80)), Answer()
    keep(answer, exchange)
    assert kept(answer) is exchange
    assert take(answer) is None
    keep(answer, exchange)
    assert take(answer) is exchange
    assert take(answer) is None


async def test_another_provider(call, server, recorded) -> None:
    await call(f"{server.url}/answer")
    switch.disconnect()
    await call(f"{server.url}/answer")
    switch.connect(recorded.provider)
    await call(f"{server.url}/answer")
    assert told(recorded) == {("GET", 200, None): 2}
