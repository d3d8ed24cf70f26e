"""Transports against the Collector and Prometheus themselves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from otelbridge.config.options import Otlp
from otelbridge.otlp.grpc import GrpcTransport
from otelbridge.otlp.http import HttpTransport
from otelbridge.otlp.verdict import Outcome
from otelbridge.stack import Stack, StackOptions, ToolMissingError, locate
from tests.components import missing
from tests.otlp.faults import request

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.components


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    for name in ("otelcol", "prometheus"):
        try:
            locate(name, may_download=False, may_build=False)
        except ToolMissingError as error:
            missing(name, error.problem)
    with Stack(StackOptions(run_dir=tmp_path_factory.mktemp("stack"))) as running:
        yield running


def _transport(stack: Stack, receiver: str, compression: str) -> HttpTransport | GrpcTransport:
    kind, url = {
        "collector over HTTP": (HttpTransport, f"{stack.otlp_http_endpoint}/v1/metrics"),
        "collector over gRPC": (GrpcTransport, stack.otlp_grpc_endpoint),
        "Prometheus": (HttpTransport, f"{stack.prometheus_url}/api/v1/otlp/v1/metrics"),
    }[receiver]
    return kind(Otlp(metrics_endpoint=url, traces_endpoint=url, compression=compression))


def _now(padding: int = 0) -> bytes:
    message = ExportMetricsServiceRequest.FromString(request(padding=padding))
    point = message.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    point.time_unix_nano = time.time_ns()
    return message.SerializeToString()


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("receiver", ["collector over HTTP", "collector over gRPC", "Prometheus"])
def test_a_request_is_taken(stack, receiver, compression) -> None:
    transport = _transport(stack, receiver, compression)
    assert [transport.post(_now(), 10).outcome for _ in range(3)] == [Outcome.DELIVERED] * 3
    transport.close()


@pytest.mark.parametrize("receiver", ["collector over HTTP", "collector over gRPC", "Prometheus"])
def test_garbage_is_refused_with_a_reason(stack, receiver) -> None:
    transport = _transport(stack, receiver, "none")
    verdict = transport.post(b"\xff\xff\xff", 10)
    assert verdict.outcome is Outcome.REFUSED
    assert verdict.message
    assert transport.post(_now(), 10).arrived
    transport.close()


@pytest.mark.parametrize("receiver", ["collector over HTTP", "collector over gRPC"])
def test_a_request_that_is_too_large_is_refused(stack, receiver) -> None:
    transport = _transport(stack, receiver, "none")
    assert transport.post(_now(padding=30 << 20), 20).outcome is Outcome.REFUSED
    transport.close()
