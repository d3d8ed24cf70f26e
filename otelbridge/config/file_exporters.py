"""OTLP exporters of the configuration file, of metrics and of spans alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otelbridge.config import checks, pairs, urls
from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.configuration.models import PushMetricExporter, SpanExporter

PROTOCOLS: Mapping[str, str] = {"otlp_http": "http/protobuf", "otlp_grpc": "grpc"}
"""The wire protocol of each exporter."""

# The file gives full URLs, so the endpoint of one signal says nothing about the other's.
_DEFAULT_ENDPOINTS: Mapping[tuple[str, str], str] = {
    ("otlp_http", "metrics"): "http://localhost:4318/v1/metrics",
    ("otlp_http", "traces"): "http://localhost:4318/v1/traces",
    ("otlp_grpc", "metrics"): "http://localhost:4317",
    ("otlp_grpc", "traces"): "http://localhost:4317",
}


def otlp_of(exporter: PushMetricExporter | SpanExporter) -> str | None:
    """Name the OTLP exporter, ``otlp_http`` or ``otlp_grpc``, that a section chooses, if it is one."""
    return next((name for name in PROTOCOLS if getattr(exporter, name) is not None), None)


def chosen(exporter: Any, names: tuple[str, ...]) -> str:
    """Name the exporter a section chooses, as the file spells it.

    Args:
        exporter: The section as loaded; the schema lets it hold one exporter.
        names: The standard's exporters, as fields of the section.

    Returns:
        The name, for messages.
    """
    found = next((name for name in names if getattr(exporter, name) is not None), None)
    return (found or next(iter(exporter.additional_properties), "nothing")).replace("_development", "/development")


def read_connection(where: str, name: str, section: Any, signal: str) -> dict[str, Any]:
    """Read what exporters of both signals have in common.

    Args:
        where: Key path of the exporter.
        name: ``otlp_http`` or ``otlp_grpc``.
        section: The exporter as loaded.
        signal: ``metrics`` or ``traces``.

    Returns:
        Values by the name of the field of `OtlpOptions`; ``endpoint`` is the full URL and ``headers`` are
        those of the signal.

    Raises:
        ConfigError: A value cannot be used.
    """
    encoding = getattr(section, "encoding", None)
    if encoding is not None and encoding.value != "protobuf":
        raise ConfigError(
            f"{where}.encoding is {encoding.value!r}, which otelbridge does not speak", "Use protobuf, or leave it out"
        )
    tls = section.tls
    endpoint = section.endpoint or _DEFAULT_ENDPOINTS[name, signal]
    said = {
        "protocol": PROTOCOLS[name],
        "endpoint": urls.endpoint(f"{where}.endpoint", endpoint),
        "headers": _headers(where, section),
        "timeout": None if section.timeout is None else checks.milliseconds(f"{where}.timeout", section.timeout),
        "compression": _compression(f"{where}.compression", section.compression),
        "certificate": tls.ca_file if tls else None,
        "client_key": tls.key_file if tls else None,
        "client_certificate": tls.cert_file if tls else None,
        "insecure": getattr(tls, "insecure", None),
    }
    return {key: value for key, value in said.items() if value is not None}


def _compression(where: str, value: str | None) -> str | None:
    return None if value is None else checks.choice(checks.COMPRESSIONS)(where, value)


def _headers(where: str, section: Any) -> dict[str, str] | None:
    if section.headers is None and section.headers_list is None:
        return None
    found = dict(pairs.headers(f"{where}.headers_list", section.headers_list or ""))
    for pair in section.headers or ():
        if pair.value is not None:
            found.update([checks.header(f"{where}.headers", pair.name, pair.value)])
    return found
