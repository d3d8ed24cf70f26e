"""The readers that push, made from settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader

from otelbridge.otlp.credentials import read_credentials
from otelbridge.otlp.delivery import Delivery
from otelbridge.otlp.grpc import GrpcTransport
from otelbridge.otlp.http import HttpTransport
from otelbridge.otlp.preferences import preferences
from otelbridge.otlp.push import PushReader
from otelbridge.otlp.redact import safe_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.config.options import Otlp, OtlpProtocol
    from otelbridge.metrics.processes import Processes
    from otelbridge.otlp.delivery import Transport

_CONSOLE_INTERVAL_MILLIS = 10_000.0

# With their names by the conventions for SDK metrics, "otel.component.type".
_TRANSPORTS: dict[OtlpProtocol, tuple[Callable[[Otlp], Transport], str]] = {
    "http/protobuf": (HttpTransport, "otlp_http_metric_exporter"),
    "grpc": (GrpcTransport, "otlp_grpc_metric_exporter"),
}


def create_otlp_reader(otlp: Otlp, processes: Processes | None = None) -> PushReader:
    """Make the reader that pushes to one destination at its interval.

    Args:
        otlp: The destination.
        processes: The group of processes this one belongs to; None for one that is alone.

    Returns:
        A running reader; hand it to one provider. It connects when it first pushes, so a dead receiver does not stop
        a start.

    Raises:
        MissingDependencyError: gRPC was asked for and is not installed.
        ConfigError: The endpoint, a header, or a certificate or key file cannot be used.
    """
    read_credentials(otlp)  # a wrong path is a mistake without TLS, too
    # Totals make up for what did not arrive, and deltas are kept until they do: either way they come late.
    create, component = _TRANSPORTS[otlp.protocol]
    return PushReader(
        Delivery(create(otlp), safe_url(otlp.metrics_endpoint)),
        interval=otlp.interval,
        timeout=otlp.timeout,
        processes=processes,
        component=component,
        **preferences(otlp),
    )


def create_console_reader() -> PeriodicExportingMetricReader:
    """Make the reader that prints everything to standard output every ten seconds."""
    return PeriodicExportingMetricReader(ConsoleMetricExporter(), export_interval_millis=_CONSOLE_INTERVAL_MILLIS)
