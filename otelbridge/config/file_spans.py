"""The section ``tracer_provider`` of the configuration file, of which we take the exporters to OTLP and the console."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from otelbridge.config.file_exporters import otlp_of, read_connection
from otelbridge.config.options import OtlpOptions
from otelbridge.diagnostics import logger
from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.configuration.models import SpanProcessor, TracerProvider

_UNREAD = ("limits", "sampler", "id_generator", "tracer_configurator_development")
# Spans and metrics of one destination share these, so where the file gives both they must agree.
_SHARED = ("protocol", "timeout", "compression", "certificate", "client_key", "client_certificate", "insecure")


def read_spans(
    section: TracerProvider | None, otlp: tuple[OtlpOptions, ...] | None
) -> tuple[tuple[str, ...] | None, tuple[OtlpOptions, ...] | None]:
    """Read the section.

    Args:
        section: ``tracer_provider`` as loaded.
        otlp: The destinations of metrics that the file names.

    Returns:
        Where spans go, of ``otlp`` and ``console``, None where nothing is said of it; and the destinations of OTLP,
        with that of the spans.

    Raises:
        ConfigError: A value cannot be used, or something cannot be honoured.
    """
    if section is None:
        return None, otlp
    exporters = [
        each
        for number, processor in enumerate(section.processors)
        for each in _exporters(f"tracer_provider.processors[{number}]", processor)
    ]
    found = [
        (where, name, getattr(exporter, name))
        for where, exporter in exporters
        if (name := otlp_of(exporter)) is not None
    ]
    console = ("console",) if any(exporter.console is not None for _, exporter in exporters) else ()
    _report_unread(section)
    if not found and not console:
        logger.info("The section tracer_provider has no exporter to OTLP or the console and is left to others.")
    if not found:
        return console or None, otlp
    if len(found) > 1:
        raise ConfigError(
            f"tracer_provider.processors has {len(found)} OTLP exporters", "Keep one, and let a collector fan out"
        )
    where, name, exporter = found[0]
    said = read_connection(f"{where}.{name}", name, exporter, "traces")
    return ("otlp", *console), _joined(f"{where}.{name}", said, otlp)


def _exporters(where: str, processor: SpanProcessor) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for kind in ("batch", "simple"):
        section = getattr(processor, kind)
        if section is not None:
            found.append((f"{where}.{kind}.exporter", section.exporter))
    return found


def _report_unread(section: TracerProvider) -> None:
    unread = [name for name in _UNREAD if getattr(section, name) is not None]
    if unread:
        logger.warning(
            "Of the section tracer_provider only the exporters are read, not: %s. The SDK takes these from "
            "OTEL_TRACES_SAMPLER and OTEL_SPAN_* variables.",
            ", ".join(name.replace("_development", "/development") for name in unread),
        )


def _joined(where: str, said: dict[str, Any], otlp: tuple[OtlpOptions, ...] | None) -> tuple[OtlpOptions, ...]:
    spans = {"traces_endpoint": said.pop("endpoint"), "traces_headers": said.pop("headers", {})}
    metrics = [options for options in otlp or () if options.metrics_endpoint]
    if not metrics:
        enabled = None if otlp is None else False
        return (OtlpOptions(enabled=enabled, **spans, **said),)
    fitting = [
        number
        for number, options in enumerate(metrics)
        if all(said.get(name) in (None, getattr(options, name)) for name in _SHARED)
    ]
    if not fitting:
        raise ConfigError(
            f"{where} differs from the OTLP exporter of metrics in one of: {', '.join(_SHARED)}",
            "Give both the same protocol, tls, timeout and compression; endpoint and headers may differ",
        )
    metrics[fitting[0]] = replace(metrics[fitting[0]], **spans)
    return tuple(metrics)
