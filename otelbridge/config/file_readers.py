"""The section ``meter_provider.readers`` of the configuration file: pull, push and console."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from otelbridge.config import checks
from otelbridge.config.file_exporters import chosen, otlp_of, read_connection
from otelbridge.config.options import OtlpOptions, PrometheusOptions
from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.configuration.models import (
        CardinalityLimits,
        ExperimentalPrometheusMetricExporter,
        IncludeExclude,
        MeterProvider,
        PeriodicMetricReader,
        PullMetricReader,
    )

    from otelbridge.config.options import TranslationStrategy

_PULL = ("prometheus_development",)
_PUSH = ("otlp_http", "otlp_grpc", "otlp_file_development", "console")
# The file writes one word of the environment's differently.
_TEMPORALITIES = {"low_memory": "lowmemory"}
_WILDCARD = re.compile(r"[*?]")
# The file spells the values of the specification in its own way.
_STRATEGIES: Mapping[str, TranslationStrategy] = {
    "underscore_escaping_with_suffixes": "UnderscoreEscapingWithSuffixes",
    "underscore_escaping_without_suffixes/development": "UnderscoreEscapingWithoutSuffixes",
    "no_utf8_escaping_with_suffixes/development": "NoUTF8EscapingWithSuffixes",
    "no_translation/development": "NoTranslation",
}

_NOT_HONOURED: Mapping[str, str] = {
    "producers": "Leave it out; other metrics reach the provider as instruments",
    "cardinality_limits": "Leave it out here, and set distribution.otelbridge.cardinality_limit for all readers",
    "max_export_batch_size_development": "Leave it out; an export is sent whole",
    "meter_configurator_development": "Leave it out, and switch domains off under distribution.otelbridge.domains",
}


def read_readers(
    section: MeterProvider | None,
) -> tuple[PrometheusOptions | None, tuple[OtlpOptions, ...] | None, bool | None]:
    """Read the readers.

    Args:
        section: ``meter_provider`` as loaded.

    Returns:
        The pull path, the push path and whether metrics are printed; None where there is no
        ``meter_provider``. Where there is one its readers are all there is: what it does not name is off.

    Raises:
        ConfigError: A value cannot be used, or something cannot be honoured.
    """
    if section is None:
        return None, None, None
    _refuse("meter_provider", section, ("meter_configurator_development",))
    pull: list[PrometheusOptions] = []
    push: list[OtlpOptions] = []
    console = False
    for number, reader in enumerate(section.readers):
        where = f"meter_provider.readers[{number}]"
        if reader.pull is not None:
            pull.append(_pull(f"{where}.pull", reader.pull))
        elif reader.periodic is not None and reader.periodic.exporter.console is not None:
            console = _console(f"{where}.periodic", reader.periodic)
        elif reader.periodic is not None:
            push.append(_periodic(f"{where}.periodic", reader.periodic))
    if len(pull) > 1:
        raise ConfigError(
            f"meter_provider.readers has {len(pull)} pull readers", "Keep one; any number of servers can scrape it"
        )
    return (
        pull[0] if pull else PrometheusOptions(mode="off"),
        tuple(push) or (OtlpOptions(enabled=False),),
        console,
    )


def _pull(where: str, reader: PullMetricReader) -> PrometheusOptions:
    _refuse(where, reader, ("producers",))
    exporter = reader.exporter.prometheus_development
    if exporter is None:
        raise ConfigError(
            f"{where}.exporter is {chosen(reader.exporter, _PULL)}, which is not known", "Use prometheus/development"
        )
    return replace(
        _prometheus(f"{where}.exporter.prometheus/development", exporter),
        cardinality_limits=_limits(f"{where}.cardinality_limits", reader.cardinality_limits),
    )


def _prometheus(where: str, exporter: ExperimentalPrometheusMetricExporter) -> PrometheusOptions:
    strategy = exporter.translation_strategy
    return PrometheusOptions(
        mode="auto",
        host=None if exporter.host is None else checks.host(f"{where}.host", exporter.host),
        port=None if exporter.port is None else checks.port(f"{where}.port", exporter.port),
        scope_labels=exporter.scope_info_enabled,
        target_info=exporter.target_info_enabled_development,
        translation_strategy=None if strategy is None else _STRATEGIES[strategy.value],
        resource_labels=_resource_labels(f"{where}.resource_constant_labels", exporter.resource_constant_labels),
    )


def _resource_labels(where: str, section: IncludeExclude | None) -> tuple[str, ...] | None:
    if section is None:
        return None
    if section.included is None:
        raise ConfigError(
            f"{where} does not say what is included, which means every attribute of the resource",
            "Name under included the attributes whose values are the same for long; target_info has them all",
        )
    excluded = section.excluded or []
    for key in (*section.included, *excluded):
        if _WILDCARD.search(key):
            raise ConfigError(f"{where} has the pattern {key!r}, which cannot be honoured", "Give the keys in full")
    return checks.names(f"{where}.included", [key for key in section.included if key not in excluded])


def _periodic(where: str, reader: PeriodicMetricReader) -> OtlpOptions:
    _refuse(where, reader, ("producers", "max_export_batch_size_development"))
    name = otlp_of(reader.exporter)
    if name is None:
        raise ConfigError(
            f"{where}.exporter is {chosen(reader.exporter, _PUSH)}, which is not known",
            "Use otlp_http, otlp_grpc or console",
        )
    section: Any = getattr(reader.exporter, name)
    said = read_connection(f"{where}.exporter.{name}", name, section, "metrics")
    said["metrics_endpoint"] = said.pop("endpoint")
    # These headers are for metrics; spans have an exporter of their own in the file.
    said["traces_headers"] = {}
    if reader.interval is not None:
        said["interval"] = checks.milliseconds(f"{where}.interval", reader.interval)
    if reader.timeout is not None:
        whole = checks.milliseconds(f"{where}.timeout", reader.timeout)
        said["timeout"] = min(whole, said.get("timeout", whole))
    if section.temporality_preference is not None:
        preference = section.temporality_preference.value
        said["temporality"] = _TEMPORALITIES.get(preference, preference)
    if section.default_histogram_aggregation is not None:
        said["histogram_aggregation"] = section.default_histogram_aggregation.value
    said["cardinality_limits"] = _limits(f"{where}.cardinality_limits", reader.cardinality_limits)
    return OtlpOptions(**said)


def _limits(where: str, section: CardinalityLimits | None) -> dict[str, int] | None:
    if section is None:
        return None
    return checks.cardinality_limits(where, {kind: limit for kind, limit in vars(section).items() if limit is not None})


def _console(where: str, reader: PeriodicMetricReader) -> bool:
    _refuse(where, reader, ("producers", "cardinality_limits", "max_export_batch_size_development"))
    fixed = {
        f"{where}.interval": reader.interval,
        f"{where}.timeout": reader.timeout,
        f"{where}.exporter.console.temporality_preference": getattr(
            reader.exporter.console, "temporality_preference", None
        ),
        f"{where}.exporter.console.default_histogram_aggregation": getattr(
            reader.exporter.console, "default_histogram_aggregation", None
        ),
    }
    for key, value in fixed.items():
        if value is not None:
            raise ConfigError(f"{key} cannot be honoured", "Leave it out; the console is for a first look only")
    return True


def _refuse(where: str, section: object, keys: Iterable[str]) -> None:
    for key in keys:
        if getattr(section, key) is not None:
            spelled = key.replace("_development", "/development")
            raise ConfigError(f"{where}.{spelled} cannot be honoured", _NOT_HONOURED[key])
