"""A real Prometheus scrapes a registry of prometheus_client, and a real collector is pushed it: both show the same."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import prometheus_client as client
import pytest
from prometheus_client.core import SummaryMetricFamily

import otelbridge
from otelbridge.stack import ScrapeTarget, Stack, StackError, StackOptions
from tests.components import free_port, missing
from tests.neighbour.pages import samples

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.components

NAMES = ("http_requests_total", "temperature_celsius", "latency_seconds", "size_bytes", "build_info", "phase", "wait")


class Quantiles:
    def collect(self) -> list[Any]:
        family = SummaryMetricFamily("wait", "Waiting.", count_value=3, sum_value=1.5)
        family.add_sample("wait", {"quantile": "0.5"}, 0.25)
        return [family]

    def describe(self) -> list[Any]:
        return []


def populate(registry: client.CollectorRegistry) -> None:
    requests = client.Counter("http_requests", "Requests.", ["method"], registry=registry)
    requests.labels("GET").inc(3, exemplar={"trace_id": "0" * 31 + "1", "span_id": "0" * 15 + "2"})
    requests.labels("PÜT").inc(2)
    client.Gauge("temperature", "Now.", unit="celsius", registry=registry).set(-2.5)
    latency = client.Histogram("latency", "Time.", unit="seconds", registry=registry, buckets=(0.1, 1))
    latency.observe(0.3)
    latency.observe(7)
    client.Summary("size", "Bytes.", unit="bytes", registry=registry).observe(4)
    client.Info("build", "Build.", registry=registry).info({"version": "1.2"})
    client.Enum("phase", "State.", states=["up", "down"], registry=registry).state("down")
    registry.register(Quantiles())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Any]]:
    port = free_port()
    options = StackOptions(
        run_dir=tmp_path_factory.mktemp("neighbour") / "stack",
        scrape=(ScrapeTarget("direct", f"127.0.0.1:{port}"),),
        scrape_interval=1.0,
    )
    try:
        running = Stack(options, say=lambda line: None).up()
    except StackError as error:
        missing("collector and Prometheus", str(error))
    registry = client.CollectorRegistry()
    populate(registry)
    bridge = otelbridge.init(
        service_name="neighbour",
        prometheus=otelbridge.PrometheusOptions(mode="server", port=port),
        otlp=running.otlp_http_endpoint,
        instrument=[],
        domains=[],
        prometheus_client=registry,
    )
    try:
        assert otelbridge.force_flush()
        yield running, bridge
    finally:
        otelbridge.shutdown()
        running.down()


def ours(page: str) -> dict[Any, float]:
    """The samples of the registry, without what tells the two ways apart."""
    found = {}
    for (name, labels), value in samples(page).items():
        if name.startswith(NAMES) and not name.endswith("_created"):
            kept = tuple((key, text) for key, text in labels if key not in ("job", "instance", "otel_scope_name"))
            found[name, kept] = value
    return found


def test_the_collector_shows_what_the_page_shows(stack) -> None:
    running, bridge = stack
    direct = ours(bridge.render())
    deadline = time.monotonic() + 60
    while (collected := ours(httpx.get(running.collector_metrics_url, timeout=30).text)) != direct:
        assert time.monotonic() < deadline, {
            key: (direct.get(key), collected.get(key))
            for key in direct.keys() | collected.keys()
            if direct.get(key) != collected.get(key)
        }
        time.sleep(0.5)
    assert len(direct) == 16


def test_prometheus_has_every_series_and_its_type(stack) -> None:
    running, bridge = stack

    def ask(path: str, **params: str) -> Any:
        answer = httpx.get(f"{running.prometheus_url}/api/v1/{path}", params=params, timeout=30)
        return answer.raise_for_status().json()["data"]

    direct = ours(bridge.render())
    deadline = time.monotonic() + 60
    while True:
        results = ask("query", query='{job="direct",__name__=~"' + "|".join(f"{name}.*" for name in NAMES) + '"}')[
            "result"
        ]
        found = {}
        for result in results:
            labels = {key: text for key, text in result["metric"].items() if key not in ("job", "instance")}
            name = labels.pop("__name__")
            for key in ("le", "quantile"):
                if key in labels:
                    labels[key] = repr(float(labels[key]))
            if not name.endswith("_created"):
                found[name, tuple(sorted(labels.items()))] = float(result["value"][1])
        if found == direct:
            break
        assert time.monotonic() < deadline, (found, direct)
        time.sleep(0.5)
    kinds = {name: metadata[0]["type"] for name, metadata in ask("metadata").items()}
    assert kinds["latency_seconds"] == "histogram"
    assert kinds["wait"] == kinds["size_bytes"] == "summary"
    assert {kinds[name] for name in kinds if name.startswith("http_requests")} >= {"counter"}
