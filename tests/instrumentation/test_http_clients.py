"""Requests made with real HTTP libraries to a real server, recorded in the stable conventions."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

import aiohttp
import httpx
import pytest
import requests
import urllib3
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from otelbridge.catalogue.http import CLIENT_REQUEST_DURATION
from otelbridge.errors import ConfigError, MissingDependencyError
from otelbridge.instrumentation import discovery
from otelbridge.instrumentation.http import instrument_clients
from otelbridge.metrics.switch import switch
from tests.instrumentation.serving import served
from tests.receiver import Receiver

DURATION = CLIENT_REQUEST_DURATION.name
NAMES = ("httpx", "requests", "urllib3", "aiohttp-client")


async def _httpx(url: str) -> int:
    async with httpx.AsyncClient() as client:
        return (await client.get(url)).status_code


async def _httpx_sync(url: str) -> int:
    return httpx.get(url).status_code


async def _requests(url: str) -> int:
    return requests.get(url, timeout=60).status_code


async def _urllib3(url: str) -> int:
    with urllib3.PoolManager() as pool:
        return pool.request("GET", url).status


async def _aiohttp(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status


CALLS = {
    "httpx": (_httpx, _httpx_sync),
    "requests": (_requests,),
    "urllib3": (_urllib3,),
    "aiohttp-client": (_aiohttp,),
}


@pytest.fixture(scope="module")
def url():
    async def answer(request):
        return PlainTextResponse("answer")

    with served(Starlette(routes=[Route("/answer/{key}", answer)])) as url:
        yield url


@pytest.fixture
def instrument(recorded):
    registrations = []

    def instrument(*names):
        registrations.append(instrument_clients(names, switch))
        return registrations[-1]

    yield instrument
    for registration in registrations:
        registration.close()


def counts_by_scope(recorded) -> dict[str, int]:
    """Each instrumentation records under its own scope."""
    return {
        scope_metrics.scope.name: sum(point.count for point in metric.data.data_points)
        for resource_metrics in recorded.reader.get_metrics_data().resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
        if metric.name == DURATION
    }


@pytest.mark.parametrize("name", NAMES)
async def test_one_library(name, url, instrument, recorded) -> None:
    registration = instrument(name)
    for call in CALLS[name]:
        assert await call(f"{url}/answer/1") == 200
        assert await call(f"{url}/nothing") == 404
    address = urlsplit(url)
    expected = {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": address.hostname,
        "server.port": address.port,
    }
    points = {
        attributes["http.response.status_code"]: (attributes, count)
        for attributes, (count, _) in recorded.points(DURATION)
    }
    calls = len(CALLS[name])
    assert points[200][1] == points[404][1] == calls
    assert {key: points[200][0].get(key) for key in expected} == expected
    assert points[404][0]["error.type"] == "404"
    assert set(points[404][0]) <= {*CLIENT_REQUEST_DURATION.attribute_keys, "network.protocol.version"}
    registration.close()
    registration.close()
    for call in CALLS[name]:
        await call(f"{url}/answer/1")
    assert sum(count for _, (count, _) in recorded.points(DURATION)) == 2 * calls


async def test_requests_over_urllib3_count_once(url, instrument, recorded) -> None:
    instrument("requests", "urllib3")
    await _requests(f"{url}/answer/1")
    ((_, (count, _)),) = recorded.points(DURATION)
    assert count == 1


async def test_auto_takes_what_is_installed(url, instrument, recorded, monkeypatch) -> None:
    monkeypatch.setitem(discovery._KNOWN, "requests", discovery.Instrumentation((discovery.Need("no_such", "none"),)))
    instrument("auto")
    await _requests(f"{url}/answer/1")
    await _httpx(f"{url}/answer/1")
    # The library without its instrumentation still goes over one that is instrumented.
    assert counts_by_scope(recorded) == {
        "opentelemetry.instrumentation.httpx": 1,
        "opentelemetry.instrumentation.urllib3": 1,
    }


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'httpx'"):
        instrument_clients(("htpx",), switch)
    with pytest.raises(ConfigError, match="Unknown HTTP client 'sqlalchemy'"):
        instrument_clients(("sqlalchemy",), switch)


def test_missing_package_names_the_extra(monkeypatch) -> None:
    lacking = discovery.Instrumentation((discovery.Need("no_such", "no-such"),), "httpx")
    monkeypatch.setitem(discovery._KNOWN, "httpx", lacking)
    with pytest.raises(MissingDependencyError, match=r"no-such.*otelbridge\[httpx\]"):
        instrument_clients(("httpx",), switch)


async def test_foreign_instrumentation_is_left_alone(url, recorded) -> None:
    HTTPXClientInstrumentor().instrument(meter_provider=switch)
    try:
        instrument_clients(("httpx",), switch).close()
        await _httpx(f"{url}/answer/1")
    finally:
        HTTPXClientInstrumentor().uninstrument()
    assert [count for _, (count, _) in recorded.points(DURATION)] == [1]


def test_unsupported_version_is_reported(instrument, recorded, monkeypatch, caplog) -> None:
    monkeypatch.setattr(HTTPXClientInstrumentor, "instrumentation_dependencies", lambda self: ("httpx < 0.1",))
    with caplog.at_level(logging.WARNING, "otelbridge"):
        instrument("httpx")
    assert "httpx < 0.1" in caplog.text


async def test_pushing_is_not_recorded(url, instrument, recorded) -> None:
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
        await _requests(f"{url}/answer/1")
        assert [count for _, (count, _) in recorded.points(DURATION)] == [1]
    finally:
        provider.shutdown()
        receiver.close()
    assert sum(count for _, (count, _) in recorded.points(DURATION)) == 1
