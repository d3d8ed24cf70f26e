"""OTLP exporters against a real receiver in the process: an HTTP server that parses what it gets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otelbridge.config.options import Otlp, OtlpOptions
from otelbridge.errors import ConfigError
from otelbridge.metrics.pipeline import Pipeline
from otelbridge.otlp.reader import create_otlp_reader
from otelbridge.otlp.spans import Spans
from tests.otlp import faults
from tests.otlp.pushing import SLACK, timed
from tests.receiver import Receiver

pytestmark = pytest.mark.endtoend


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def _otlp(url: str) -> Otlp:
    return Otlp(metrics_endpoint=f"{url}/v1/metrics", traces_endpoint=f"{url}/v1/traces", interval=3600, timeout=30)


def _pipeline(*otlp: Otlp) -> Pipeline:
    readers = [create_otlp_reader(one) for one in otlp]
    return Pipeline(Resource.create({"service.name": "shop"}), [], [], readers, "trace_based")


def _metrics(message) -> dict[str, object]:
    return {
        metric.name: metric
        for resource in message.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_metrics_arrive_with_headers_and_resource(receiver, compression) -> None:
    pipeline = _pipeline(replace(_otlp(receiver.url), headers={"x-key": "k1"}, compression=compression))
    pipeline.provider.get_meter("test").create_counter("orders").add(3, {"kind": "web"})
    assert pipeline.force_flush(60)
    pipeline.shutdown(60)
    path, headers, message = receiver.requests[0]
    assert (path, headers["x-key"]) == ("/v1/metrics", "k1")
    attributes = {a.key: a.value.string_value for a in message.resource_metrics[0].resource.attributes}
    assert attributes["service.name"] == "shop"
    (point,) = _metrics(message)["orders"].sum.data_points
    assert (point.as_int, point.attributes[0].value.string_value) == (3, "web")


@pytest.mark.parametrize(
    ("preference", "counter", "up_down"),
    [
        ("cumulative", "CUMULATIVE", "CUMULATIVE"),
        ("delta", "DELTA", "CUMULATIVE"),
        ("lowmemory", "DELTA", "CUMULATIVE"),
    ],
)
def test_temporality_preference(receiver, preference, counter, up_down) -> None:
    pipeline = _pipeline(replace(_otlp(receiver.url), temporality=preference))
    meter = pipeline.provider.get_meter("test")
    meter.create_counter("c").add(1)
    meter.create_up_down_counter("u").add(1)
    pipeline.shutdown(60)
    metrics = _metrics(receiver.requests[0][2])
    name = AggregationTemporality.Name
    assert name(metrics["c"].sum.aggregation_temporality) == f"AGGREGATION_TEMPORALITY_{counter}"
    assert name(metrics["u"].sum.aggregation_temporality) == f"AGGREGATION_TEMPORALITY_{up_down}"


def test_histogram_preference(receiver) -> None:
    pipeline = _pipeline(replace(_otlp(receiver.url), histogram_aggregation="base2_exponential_bucket_histogram"))
    pipeline.provider.get_meter("test").create_histogram("h").record(1)
    pipeline.shutdown(60)
    assert _metrics(receiver.requests[0][2])["h"].WhichOneof("data") == "exponential_histogram"


def test_several_destinations_each_get_everything(receiver) -> None:
    other = Receiver()
    pipeline = _pipeline(_otlp(receiver.url), _otlp(other.url))
    pipeline.provider.get_meter("test").create_counter("orders").add(2)
    pipeline.shutdown(60)
    for one in (receiver, other):
        assert _metrics(one.requests[0][2])["orders"].sum.data_points[0].as_int == 2
    other.close()


def test_stopping_twice_is_harmless(receiver) -> None:
    pipeline = _pipeline(_otlp(receiver.url))
    assert pipeline.shutdown(60)
    assert pipeline.shutdown(60)


def test_grpc_metrics_arrive() -> None:
    received: list[metrics_service_pb2.ExportMetricsServiceRequest] = []
    metadata: list[dict[str, str]] = []

    class Service(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request, context):  # noqa: N802  # the name is the service's
            received.append(request)
            metadata.append(dict(context.invocation_metadata()))
            return metrics_service_pb2.ExportMetricsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    url = f"http://127.0.0.1:{port}"
    pipeline = _pipeline(
        Otlp(
            metrics_endpoint=url,
            traces_endpoint=url,
            protocol="grpc",
            headers={"x-key": "k1"},
            compression="gzip",
            interval=3600,
            timeout=5,
        )
    )
    pipeline.provider.get_meter("test").create_counter("orders").add(4)
    pipeline.shutdown(60)
    server.stop(None)
    assert _metrics(received[0])["orders"].sum.data_points[0].as_int == 4
    assert metadata[0]["x-key"] == "k1"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("setting", ["certificate", "client_key", "client_certificate"])
def test_an_unreadable_file_is_an_error_that_names_it(protocol, setting, tmp_path) -> None:
    otlp = replace(_otlp("http://127.0.0.1:1"), protocol=protocol, **{setting: str(tmp_path / "absent.pem")})
    with pytest.raises(ConfigError, match=f"{setting} file .*absent.pem"):
        create_otlp_reader(otlp)


def test_credentials_in_urls_and_headers_are_in_no_repr() -> None:
    url = "https://u:s3cret@host/v1?key=s3cret"
    assert "s3cret" not in repr(Otlp(metrics_endpoint=url, traces_endpoint=url))
    assert "s3cret" not in repr(OtlpOptions(endpoint=url, metrics_endpoint=url, traces_endpoint=url))
    assert "s3cret" not in repr(Otlp(metrics_endpoint="m", traces_endpoint="t", headers={"k": "s3cret"}))


def test_console_reader_prints() -> None:
    script = """
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from otelbridge.metrics.pipeline import Pipeline
from otelbridge.otlp.reader import create_console_reader
pipeline = Pipeline(Resource.create({}), [], [], [create_console_reader()], "always_off")
pipeline.provider.get_meter("test").create_counter("orders").add(1)
pipeline.shutdown(60)
"""
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert '"orders"' in printed


@pytest.mark.parametrize("exporters", ["console", "otlp,console"])
def test_spans_are_printed_where_the_environment_says_so(receiver, exporters) -> None:
    script = """
import otelbridge
from opentelemetry.trace import get_tracer
bridge = otelbridge.init(service_name="shop", prometheus="off", workers="separate")
with get_tracer("test").start_as_current_span("work"):
    pass
print("ended")
bridge.shutdown(60)
with get_tracer("test").start_as_current_span("nobody's"):
    pass
"""
    url = f"{receiver.url}/v1/traces"
    environ = {**os.environ, "OTEL_TRACES_EXPORTER": exporters, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url}
    printed = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environ, timeout=120
    ).stdout
    span, rest = printed.split("ended")
    assert json.loads(span)["name"] == "work"
    assert rest.strip() == ""
    sent = [span.name for span in receiver.spans()]
    assert sent == (["work"] if "otlp" in exporters else [])


def test_spans_arrive(receiver) -> None:
    spans = Spans(Resource.create({"service.name": "shop"}), (_otlp(receiver.url),))
    with spans.provider.get_tracer("test").start_as_current_span("work"):
        pass
    assert spans.force_flush(60)
    spans.close()
    path, _, message = receiver.requests[0]
    assert path == "/v1/traces"
    assert message.resource_spans[0].scope_spans[0].spans[0].name == "work"


def test_one_start_after_the_other_leaves_one_processor_at_the_provider(receiver) -> None:
    first = Spans(Resource.create({}), (_otlp(receiver.url),))
    tracer = first.provider.get_tracer("test")
    assert isinstance(first.provider, TracerProvider)
    before = first.provider._active_span_processor._span_processors
    for number in range(3):
        spans = first if number == 0 else Spans(Resource.create({}), (_otlp(receiver.url),))
        assert spans.provider is first.provider
        with tracer.start_as_current_span(f"work {number}"):
            pass
        assert spans.close(60)
        with tracer.start_as_current_span("nobody's"):
            pass
    assert first.provider._active_span_processor._span_processors == before
    assert [span.name for span in receiver.spans()] == ["work 0", "work 1", "work 2"]


def test_spans_over_grpc_arrive() -> None:
    received: list[trace_service_pb2.ExportTraceServiceRequest] = []

    class Service(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):  # noqa: N802  # the name is the service's
            received.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), server)
    url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    spans = Spans(Resource.create({}), (Otlp(metrics_endpoint="http://h/", traces_endpoint=url, protocol="grpc"),))
    with spans.provider.get_tracer("test").start_as_current_span("work"):
        pass
    assert spans.close(60)
    server.stop(None)
    assert received[0].resource_spans[0].scope_spans[0].spans[0].name == "work"


@pytest.mark.parametrize("behaviour", [faults.hang, faults.answer(503), faults.answer(400)])
def test_spans_that_do_not_arrive_are_told_in_time(behaviour, caplog) -> None:
    with faults.Receiver(behaviour) as silent:
        spans = Spans(Resource.create({}), (_otlp(silent.url.removesuffix("/v1/metrics")),))
        tracer = spans.provider.get_tracer("test")
        for end in (spans.force_flush, spans.close):
            with tracer.start_as_current_span("work"):
                pass
            told = timed(lambda end=end: end(0.3))
            assert not told.result
            assert told.seconds < SLACK
        assert not spans.close(0.3)
    said = [record.getMessage() for record in caplog.records if str(silent.port) in record.getMessage()]
    assert [line.startswith("Spans do not arrive") for line in said] in ([], [True])


def test_a_flush_that_does_not_arrive_says_so() -> None:
    pipeline = _pipeline(_otlp("http://127.0.0.1:1"))
    assert pipeline.force_flush(60)  # there is nothing to lose yet
    pipeline.provider.get_meter("test").create_counter("orders").add(1)
    assert not pipeline.force_flush(0.5)
    pipeline.shutdown(0.5)


def test_a_flush_ends_in_its_time_though_the_receiver_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pipeline = _pipeline(replace(_otlp(f"http://127.0.0.1:{silent.getsockname()[1]}"), timeout=2))
        pipeline.provider.get_meter("test").create_counter("orders").add(1)
        assert not pipeline.force_flush(0.1)
        pipeline.shutdown(60)


def test_a_flush_that_arrives_says_so(receiver) -> None:
    pipeline = _pipeline(_otlp(receiver.url))
    pipeline.provider.get_meter("test").create_counter("orders").add(1)
    assert pipeline.force_flush(60)
    pipeline.shutdown(60)
