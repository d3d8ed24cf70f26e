"""OTLP exporters for spans, one table entry a protocol."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from otelbridge.errors import MissingDependencyError
from otelbridge.otlp.credentials import read_credentials

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace.export import SpanExporter

    from otelbridge.config.options import Otlp, OtlpProtocol


def create_span_exporter(otlp: Otlp) -> SpanExporter:
    """Make the exporter of spans to one destination.

    Args:
        otlp: The destination.

    Returns:
        An exporter that is connected at its first export, so a dead receiver does not stop a start.

    Raises:
        MissingDependencyError: gRPC was asked for and is not installed.
        ConfigError: A certificate or key file cannot be read.
    """
    return _SPANS[otlp.protocol](otlp)


def _http_spans(otlp: Otlp) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(**_http_arguments(otlp, otlp.traces_endpoint))


def _grpc_spans(otlp: Otlp) -> SpanExporter:
    arguments = _grpc_arguments(otlp, otlp.traces_endpoint)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(**arguments)


def _http_arguments(otlp: Otlp, endpoint: str) -> dict[str, Any]:
    from opentelemetry.exporter.otlp.proto.http import Compression

    read_credentials(otlp)  # the exporter would notice a missing file only when it first sends
    return {
        "endpoint": endpoint,
        "certificate_file": otlp.certificate,
        "client_key_file": otlp.client_key,
        "client_certificate_file": otlp.client_certificate,
        "headers": otlp.headers,
        "timeout": otlp.timeout,
        "compression": Compression(otlp.compression),
    }


def _grpc_arguments(otlp: Otlp, endpoint: str) -> dict[str, Any]:
    try:
        import grpc

        import_module("opentelemetry.exporter.otlp.proto.grpc")
    except ImportError as error:
        raise MissingDependencyError("OTLP over gRPC", "opentelemetry-exporter-otlp-proto-grpc", "grpc") from error
    files = read_credentials(otlp)
    roots, key, chain = files["certificate"], files["client_key"], files["client_certificate"]
    compressions = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}
    return {
        "endpoint": endpoint,
        "insecure": otlp.insecure,
        "credentials": grpc.ssl_channel_credentials(roots, key, chain) if roots or key or chain else None,
        "headers": dict(otlp.headers),
        "timeout": otlp.timeout,
        "compression": compressions[otlp.compression],
    }


_SPANS: dict[OtlpProtocol, Callable[[Otlp], SpanExporter]] = {
    "http/protobuf": _http_spans,
    "grpc": _grpc_spans,
}
