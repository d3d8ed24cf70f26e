"""The readers that push, made from settings."""

from __future__ import annotations

import hashlib
from collections import Counter
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
    from collections.abc import Callable, Iterable

    from otelbridge.config.options import Otlp, OtlpProtocol
    from otelbridge.metrics.processes import Processes
    from otelbridge.otlp.delivery import Transport

_CONSOLE_INTERVAL_MILLIS = 10_000.0

# With their names by the conventions for SDK metrics, "otel.component.type".
_TRANSPORTS: dict[OtlpProtocol, tuple[Callable[[Otlp], Transport], str]] = {
    "http/protobuf": (HttpTransport, "otlp_http_metric_exporter"),
    "grpc": (GrpcTransport, "otlp_grpc_metric_exporter"),
}


def create_delivery(otlp: Otlp) -> Delivery:
    """Make what brings requests to a destination.

    Args:
        otlp: The destination.

    Returns:
        The delivery. It connects when it first sends, so a dead receiver does not stop a start.

    Raises:
        MissingDependencyError: gRPC was asked for and is not installed.
        ConfigError: The endpoint, a header, or a certificate or key file cannot be used.
    """
    read_credentials(otlp)  # a wrong path is a mistake without TLS, too
    create, _ = _TRANSPORTS[otlp.protocol]
    # Totals make up for what did not arrive, and deltas are kept until they do: either way they come late.
    return Delivery(create(otlp), safe_url(otlp.metrics_endpoint))


def component_of(otlp: Otlp) -> str:
    """Name the kind of exporter, by the conventions for SDK metrics.

    Args:
        otlp: The destination.
    """
    return _TRANSPORTS[otlp.protocol][1]


def create_otlp_reader(otlp: Otlp, processes: Processes | None = None, destination: str = "") -> PushReader:
    """Make the reader that pushes to one destination at its interval.

    Args:
        otlp: The destination.
        processes: The group of processes this one belongs to; None for one that is alone.
        destination: What tells the destination from the others; by default what `destination_keys` gives where it is
            the only one.

    Returns:
        A running reader; hand it to one provider.

    Raises:
        MissingDependencyError: gRPC was asked for and is not installed.
        ConfigError: The endpoint, a header, or a certificate or key file cannot be used.
    """
    return PushReader(
        create_delivery(otlp),
        interval=otlp.interval,
        timeout=otlp.timeout,
        processes=processes,
        destination=destination or destination_keys([otlp])[0],
        component=component_of(otlp),
        **preferences(otlp),
    )


def destination_keys(destinations: Iterable[Otlp]) -> list[str]:
    """Give each destination a key by which every process and every start knows it again.

    It can be part of a file's name, and nothing secret goes into it: neither the headers nor what an endpoint has of
    credentials. Destinations that only differ in those are told apart by their order.

    Args:
        destinations: The destinations, in the order of the configuration.

    Returns:
        A key each.
    """
    known: Counter[str] = Counter()
    keys: list[str] = []
    for otlp in destinations:
        facts = (otlp.protocol, safe_url(otlp.metrics_endpoint), otlp.temporality)
        digest = hashlib.sha256(ascii(facts).encode()).hexdigest()[:16]
        known[digest] += 1
        keys.append(f"{digest}-{known[digest]}")
    return keys


def create_console_reader() -> PeriodicExportingMetricReader:
    """Make the reader that prints everything to standard output every ten seconds."""
    return PeriodicExportingMetricReader(ConsoleMetricExporter(), export_interval_millis=_CONSOLE_INTERVAL_MILLIS)
