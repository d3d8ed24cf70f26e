"""Spans on their way: the SDK batches them, and what brings metrics to a receiver brings them, too."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otelbridge.otlp.credentials import read_credentials
from otelbridge.otlp.delivery import Delivery
from otelbridge.otlp.grpc import TRACES, GrpcTransport
from otelbridge.otlp.http import HttpTransport
from otelbridge.otlp.redact import safe_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from otelbridge.config.options import Otlp, OtlpProtocol
    from otelbridge.otlp.delivery import Transport


class DeliveringSpanExporter(SpanExporter):
    """Exports spans by a `Delivery`: within its time, with truthful results, and with no secret in any log.

    Args:
        delivery: Brings requests to the destination.
        timeout: Seconds one export may take.
    """

    def __init__(self, delivery: Delivery, timeout: float) -> None:
        self.failures = 0
        """Exports that did not arrive."""
        self._delivery = delivery
        self._timeout = timeout
        self._end = float("inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans.

        Args:
            spans: The spans.

        Returns:
            Whether the receiver took them.
        """
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        timeout = min(self._timeout, self._end - time.monotonic())
        report = self._delivery.send([encode_spans(spans).SerializeToString()], timeout, points=len(spans))
        if report.arrived:
            return SpanExportResult.SUCCESS
        self.failures += 1
        return SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 30_000) -> bool:  # noqa: ARG002  # nothing waits here
        """Do nothing: what was exported was sent."""
        return True

    def hurry(self) -> None:
        """End the pause of an export that waits to try again."""
        self._delivery.hurry()

    def end_within(self, seconds: float) -> None:
        """Let what is still exported be sent within some seconds, with one try each."""
        self._end = time.monotonic() + seconds
        self._delivery.close()

    def shutdown(self) -> None:
        """Close the connection."""
        self._delivery.close()


def create_span_exporter(otlp: Otlp) -> DeliveringSpanExporter:
    """Make the exporter of spans to one destination.

    Args:
        otlp: The destination.

    Returns:
        An exporter that is connected at its first export, so a dead receiver does not stop a start.

    Raises:
        MissingDependencyError: gRPC was asked for and is not installed.
        ConfigError: The endpoint, a header, or a certificate or key file cannot be used.
    """
    read_credentials(otlp)  # a wrong path is a mistake without TLS, too
    # Transports send to the endpoint of metrics, as far as they know.
    transport = _TRANSPORTS[otlp.protocol](replace(otlp, metrics_endpoint=otlp.traces_endpoint))
    delivery = Delivery(transport, safe_url(otlp.traces_endpoint), cumulative=False, subject="Spans")
    return DeliveringSpanExporter(delivery, otlp.timeout)


_TRANSPORTS: dict[OtlpProtocol, Callable[[Otlp], Transport]] = {
    "http/protobuf": HttpTransport,
    "grpc": lambda otlp: GrpcTransport(otlp, TRACES),
}
