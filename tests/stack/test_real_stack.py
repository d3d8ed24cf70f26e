"""The Collector and Prometheus themselves, with telemetry sent by the SDK."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otelbridge.stack import (
    ComponentFailedError,
    Ports,
    Stack,
    StackError,
    StackOptions,
    ToolMissingError,
    locate,
)
from tests.components import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.components

SECONDS = 60.0


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    for name in ("otelcol", "prometheus"):
        try:
            locate(name, may_download=False, may_build=False)
        except ToolMissingError as error:
            missing(name, f"{error.problem}. `otelbridge stack build` gets it")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, tools: None) -> Iterator[Stack]:
    with Stack(StackOptions(run_dir=tmp_path_factory.mktemp("stack"), scrape_interval=0.2)) as running:
        yield running


def fetch(url: str, **headers: str) -> str:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


def eventually(what: Callable[[], Any]) -> Any:
    """The first result that is not empty."""
    deadline = time.monotonic() + SECONDS
    while not (result := what()):
        assert time.monotonic() < deadline, f"nothing within {SECONDS:g} s"
        time.sleep(0.1)
    return result


def query(stack: Stack, expression: str) -> list[tuple[dict[str, str], float]]:
    url = f"{stack.prometheus_url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    result = json.loads(fetch(url))["data"]["result"]
    return [(series["metric"], float(series["value"][1])) for series in result]


def record(exporter: MetricExporter, service: str, amount: int = 3) -> None:
    resource = Resource.create(
        {"service.name": service, "service.namespace": "shops", "service.instance.id": "one", "team.name": "blue"}
    )
    provider = MeterProvider([PeriodicExportingMetricReader(exporter)], resource=resource, shutdown_on_exit=False)
    meter = provider.get_meter("a.scope", "1.0")
    meter.create_counter("shop.orders", unit="{order}").add(amount, {"http.request.method": "GET"})
    meter.create_histogram("shop.wait", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0]).record(0.5)
    assert provider.force_flush()
    provider.shutdown()


def lines(text: str, **wanted: str) -> list[str]:
    return [line for line in text.splitlines() if all(f'{key}="{value}"' in line for key, value in wanted.items())]


def test_http_arrives_at_the_collector_under_the_names_of_a_direct_scrape(stack: Stack) -> None:
    record(HttpExporter(f"{stack.otlp_http_endpoint}/v1/metrics"), "over-http")
    exposed = lines(fetch(stack.collector_metrics_url), job="shops/over-http")
    own = 'instance="one",job="shops/over-http"'
    assert [line for line in exposed if not line.startswith("target_info")] == [
        f'shop_orders_total{{http_request_method="GET",{own}}} 3',
        f'shop_wait_seconds_bucket{{{own},le="0.1"}} 0',
        f'shop_wait_seconds_bucket{{{own},le="1"}} 1',
        f'shop_wait_seconds_bucket{{{own},le="+Inf"}} 1',
        f"shop_wait_seconds_sum{{{own}}} 0.5",
        f"shop_wait_seconds_count{{{own}}} 1",
    ]
    (info,) = [line for line in exposed if line.startswith("target_info")]
    assert 'team_name="blue"' in info
    assert "service_name" not in info


def test_grpc_arrives_in_prometheus_with_the_labels_of_the_sender(stack: Stack) -> None:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter

    record(GrpcExporter(stack.otlp_grpc_endpoint, insecure=True), "over-grpc", 5)
    found = eventually(lambda: query(stack, 'shop_orders_total{job="shops/over-grpc"}'))
    assert found == [
        (
            {
                "__name__": "shop_orders_total",
                "http_request_method": "GET",
                "instance": "one",
                "job": "shops/over-grpc",
            },
            5.0,
        )
    ]


def test_bucket_bounds_are_written_alike_in_prometheus_whatever_the_format(stack: Stack) -> None:
    record(HttpExporter(f"{stack.otlp_http_endpoint}/v1/metrics"), "bounds")
    found = eventually(lambda: query(stack, 'shop_wait_seconds_bucket{job="shops/bounds"}'))
    assert {labels["le"]: value for labels, value in found} == {"0.1": 0.0, "1.0": 1.0, "+Inf": 1.0}


def test_prometheus_scrapes_the_collector_itself(stack: Stack) -> None:
    record(HttpExporter(f"{stack.otlp_http_endpoint}/v1/metrics"), "seen")
    assert eventually(lambda: query(stack, 'up{job="otelcol-self"} == 1'))
    accepted = 'sum(otelcol_receiver_accepted_metric_points{receiver="otlp"}) > 0'
    assert eventually(lambda: query(stack, accepted))
    assert "otelcol_process_uptime" in fetch(stack.collector_self_metrics_url)


def test_spans_have_a_home(stack: Stack) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{stack.otlp_http_endpoint}/v1/traces")))
    with provider.get_tracer("a.scope").start_as_current_span("work"):
        pass
    provider.shutdown()
    log = stack.run_dir / "otelcol.log"
    assert eventually(lambda: re.search(r"debug.*traces.*\"spans\": 1", log.read_text(), re.IGNORECASE))


def test_prometheus_takes_otlp_too(stack: Stack) -> None:
    version = locate("prometheus", may_download=False, may_build=False).version
    if int(version.split(".")[0]) < 3:
        missing("Prometheus 3", f"the one at hand is {version}")
    record(HttpExporter(f"{stack.prometheus_url}/api/v1/otlp/v1/metrics"), "directly", 7)
    found = eventually(lambda: query(stack, 'shop_orders_total{job="shops/directly"}'))
    assert [value for _, value in found] == [7.0]


def test_nothing_in_the_configuration_is_deprecated_or_wrong(stack: Stack) -> None:
    record(HttpExporter(f"{stack.otlp_http_endpoint}/v1/metrics"), "quiet")
    logs = (stack.run_dir / "otelcol.log").read_text() + (stack.run_dir / "prometheus.log").read_text()
    loud = [line for line in logs.splitlines() if re.search(r"\b(warn|error|deprecat\w*|alias)\b", line, re.IGNORECASE)]
    assert loud == []


def test_a_second_stack_in_the_same_directory_is_refused(stack: Stack) -> None:
    with pytest.raises(StackError, match="otelcol and prometheus already run"):
        Stack(StackOptions(run_dir=stack.run_dir)).up()
    assert all(component.alive for component in stack.components)


def test_everything_listens_on_the_loopback_interface_alone(stack: Stack) -> None:
    if sys.platform != "linux":
        missing("/proc/net/tcp", "only Linux lists its sockets there")
    ports = {urllib.parse.urlsplit(url).port for component in stack.components for url in component.urls.values()}
    listening: dict[int, set[str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for row in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = row.split()
            address, port = local.split(":")
            if state == "0A" and int(port, 16) in ports:
                listening.setdefault(int(port, 16), set()).add(address)
    assert listening == {port: {"0100007F"} for port in ports}


def test_forwarded_data_waits_on_disk_for_a_receiver_that_is_away(tmp_path: Path) -> None:
    away = Ports().settled()
    sender = Stack(
        StackOptions(
            run_dir=tmp_path / "agent",
            prometheus=False,
            collector_environ={
                "OTELBRIDGE_METRICS_EXPORTERS": "[prometheus, otlp_http/forward]",
                "OTELBRIDGE_FORWARD_ENDPOINT": f"http://127.0.0.1:{away.otlp_http}",
            },
        )
    )
    with sender:
        record(HttpExporter(f"{sender.otlp_http_endpoint}/v1/metrics"), "forwarded")
        assert lines(fetch(sender.collector_metrics_url), job="shops/forwarded")
        # SIGKILL: what was acknowledged must already lie on the disk.
        os.kill(sender.components[0].pid, signal.SIGKILL)
        eventually(lambda: not sender.components[0].alive)
    receiver = Stack(StackOptions(run_dir=tmp_path / "gateway", prometheus=False, ports=away))
    with receiver, sender:
        assert lines(fetch(sender.collector_metrics_url), job="shops/forwarded") == []
        found = eventually(lambda: lines(fetch(receiver.collector_metrics_url), job="shops/forwarded"))
        assert 'shop_orders_total{http_request_method="GET",instance="one",job="shops/forwarded"} 3' in found


def test_scope_labels_come_back_on_request(tmp_path: Path) -> None:
    wanted = {"OTELBRIDGE_WITHOUT_SCOPE_LABELS": "false"}
    with Stack(StackOptions(run_dir=tmp_path, prometheus=False, collector_environ=wanted)) as stack:
        record(HttpExporter(f"{stack.otlp_http_endpoint}/v1/metrics"), "scoped")
        exposed = lines(fetch(stack.collector_metrics_url), otel_scope_name="a.scope", otel_scope_version="1.0")
        assert [line for line in exposed if line.startswith("shop_orders_total{")]


def test_a_configuration_that_the_collector_refuses_stops_everything_with_its_words(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("receivers:\n  nonsense:\n")
    stack = Stack(StackOptions(run_dir=tmp_path / "run", collector_config=config))
    with pytest.raises(ComponentFailedError, match="nonsense"):
        stack.up()
    assert stack.components == []


def test_when_the_second_component_fails_the_first_is_stopped_again(tmp_path: Path) -> None:
    said: list[str] = []
    rules = tmp_path / "rules.yml"
    rules.write_text("groups: nonsense\n")
    stack = Stack(StackOptions(run_dir=tmp_path / "run", rule_files=(rules,)), said.append)
    with pytest.raises(ComponentFailedError, match="prometheus"):
        stack.up()
    assert "otelcol ended" in said
    assert stack.components == []


def otelbridge(run_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "otelbridge", "stack", *arguments, "--run-dir", str(run_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "run"
    Stack(StackOptions(run_dir=tmp_path / "run")).down()


def test_the_command_line_brings_a_stack_up_and_down_and_leaves_no_process(run_dir: Path) -> None:
    up = otelbridge(run_dir, "up", "--scrape", "shop=127.0.0.1:1/m", "--no-download", "--no-build")
    assert up.returncode == 0, up.stderr
    assert "ready; stop it with: otelbridge stack down" in up.stdout
    components = Stack(StackOptions(run_dir=run_dir)).components
    assert [component.name for component in components] == ["otelcol", "prometheus"]
    status = otelbridge(run_dir, "status")
    assert status.returncode == 0
    for component in components:
        assert f"{component.name} runs (process {component.pid})" in status.stdout
        assert all(url in status.stdout and url in up.stdout for url in component.urls.values())
    assert "http://127.0.0.1:1/m" in eventually(lambda: targets(components[1].urls["web"]))
    down = otelbridge(run_dir, "down")
    assert (down.returncode, down.stdout.splitlines()) == (0, ["prometheus ended", "otelcol ended"])
    assert not any(component.alive for component in components)
    assert otelbridge(run_dir, "status").returncode == 1


def targets(prometheus: str) -> list[str]:
    found = json.loads(fetch(f"{prometheus}/api/v1/targets"))["data"]["activeTargets"]
    return [target["scrapeUrl"] for target in found]
