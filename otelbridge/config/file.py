"""What the configuration file says: OpenTelemetry's declarative configuration, read into settings.

The file is loaded and checked against the standard's schema by the package `opentelemetry-configuration`.
What of it concerns us and cannot be honoured is an error, never silently left out.
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from otelbridge.config import service
from otelbridge.config.distribution import SECTION, read_distribution
from otelbridge.config.file_readers import read_readers
from otelbridge.config.file_resource import read_resource
from otelbridge.config.file_spans import read_spans
from otelbridge.config.file_views import read_views
from otelbridge.config.options import OtlpOptions, PrometheusOptions, Settings
from otelbridge.diagnostics import logger
from otelbridge.errors import ConfigError, MissingDependencyError, unknown_name

if TYPE_CHECKING:
    import os
    from collections.abc import Generator

    from opentelemetry.configuration import OpenTelemetryConfiguration

_OURS = ("file_format", "disabled", "resource", "meter_provider", "tracer_provider", "distribution")
_LEFT_TO_OTHERS = ("log_level", "attribute_limits", "logger_provider", "propagator", "instrumentation_development")
_LOADER = "opentelemetry.configuration.file._loader"


def settings_from_file(path: str | os.PathLike[str]) -> Settings:
    """Read a configuration file.

    Args:
        path: A ``.yaml``, ``.yml`` or ``.json`` file.

    Returns:
        What it says.

    Raises:
        ConfigError: The file cannot be read, does not fit the schema, or says something that cannot be
            honoured. The message names the key path, and no value that may be secret.
        MissingDependencyError: The extra ``file`` is not installed.
    """
    model = _load(path)
    for key in model.additional_properties:
        raise unknown_name("key", key, (*_OURS, *_LEFT_TO_OTHERS))
    left = [name.replace("_development", "/development") for name in _LEFT_TO_OTHERS if getattr(model, name)]
    if left:
        logger.info("Of the configuration file %s, these sections are left to others: %s", path, ", ".join(left))
    own = read_distribution((model.distribution or {}).get("otelbridge") or {})
    resource, detectors = read_resource(model.resource)
    prometheus, otlp, console = read_readers(model.meter_provider)
    span_exporters, destinations = read_spans(model.tracer_provider, otlp)
    filter_ = model.meter_provider.exemplar_filter if model.meter_provider else None
    return Settings(
        **service.lift("resource", resource, own),
        detectors=own.get("detectors", detectors),
        prometheus=_combined(own.get("prometheus"), prometheus),
        otlp=_with_own(own.get("otlp"), destinations),
        domains=own.get("domains"),
        views=read_views(model.meter_provider),
        instrument=own.get("instrument"),
        find_engines=own.get("find_engines"),
        traces=own.get("traces", True if span_exporters else None),
        span_exporters=span_exporters,
        exemplar_filter=None if filter_ is None else filter_.value,
        console=console,
        workers=own.get("workers"),
        run_directory=own.get("run_directory"),
        cardinality_limit=own.get("cardinality_limit"),
        series_limit=own.get("series_limit"),
        hide_secrets=own.get("hide_secrets"),
        prometheus_client=own.get("prometheus_client"),
        enabled=None if model.disabled is None else not model.disabled,
    )


def _load(path: str | os.PathLike[str]) -> OpenTelemetryConfiguration:
    try:
        from opentelemetry.configuration import ConfigurationError, load_config_file
    except ImportError as error:
        raise MissingDependencyError("A configuration file", "opentelemetry-configuration", "file") from error
    try:
        with _quiet():
            return load_config_file(path)
    except ConfigurationError as error:
        problem, cure = _explain(error)
    except Exception as error:  # whatever a strange file provokes in the loader is still a bad file
        problem, cure = f"it cannot be read ({type(error).__name__})", "Check its form and its encoding, UTF-8"
    # Raised out here, without the loader's errors attached: they hold the file's content, headers and all.
    raise ConfigError(f"The configuration file {str(path)!r} cannot be used: {problem}", cure)


@contextmanager
def _quiet() -> Generator[None, None, None]:
    # The loader logs some errors with an excerpt of the file. The error that is raised says it without.
    def keep(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR

    loader = logging.getLogger(_LOADER)
    loader.addFilter(keep)
    try:
        yield
    finally:
        loader.removeFilter(keep)


def _explain(error: Exception) -> tuple[str, str]:
    cause: Any = error.__cause__
    if hasattr(cause, "absolute_path"):
        return _explain_schema(cause), "Compare it with the schema of OpenTelemetry's declarative configuration 1.x"
    mark = getattr(cause, "problem_mark", None)
    if mark is not None:
        # Names in the parser's words are cut out, as a password that begins with * or ! would be one.
        problem = re.sub(r"'[^']{3,}'", "(not shown)", str(cause.problem))
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}", "Correct the YAML there"
    if cause is not None:
        return f"{type(cause).__name__}", "Check that it is readable YAML or JSON in UTF-8"
    return str(error), "Give the path of a readable .yaml, .yml or .json file with the key file_format: '1.0'"


def _explain_schema(cause: Any) -> str:
    # The validator's own message quotes the value it objects to, which may hold headers.
    where = _key_path(cause.absolute_path)
    if cause.validator == "required":
        return f"{where} lacks one of the keys {', '.join(cause.validator_value)}"
    if cause.validator == "additionalProperties":
        extra = [str(key) for key in cause.instance if key not in cause.schema.get("properties", {})]
        known = ", ".join(cause.schema.get("properties", {}))
        return f"{where} has the unknown key {', '.join(extra)} (known: {known})"
    return f"{where} does not match the schema ({cause.validator}: {cause.validator_value})"[:500]


def _key_path(parts: Any) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return path.removeprefix(".") or "the top level"


def _with_own(own: OtlpOptions | None, standard: tuple[OtlpOptions, ...] | None) -> tuple[OtlpOptions, ...] | None:
    said: dict[str, Any] = {name: value for name, value in vars(own).items() if value is not None} if own else {}
    if not said:
        return standard
    if "headers_file" in said and standard is not None and len(standard) > 1:
        # Each has credentials of its own, and nothing says whose these are.
        raise ConfigError(
            f"{SECTION}.otlp.headers_file is for one OTLP exporter, and the file has {len(standard)}",
            "Keep one and let a collector fan out, or give OtlpOptions(headers_file=...) in init(otlp=[...])",
        )
    return tuple(replace(each, **said) for each in standard or (OtlpOptions(),))


def _combined(own: PrometheusOptions | None, standard: PrometheusOptions | None) -> PrometheusOptions | None:
    # Without a pull reader the standard's part says off, unless ours speaks of pull.
    if own is not None and standard is not None and standard.mode == "off":
        return own
    if own is None or standard is None:
        return own or standard
    said = {each.name: (getattr(own, each.name), getattr(standard, each.name)) for each in fields(own)}
    return PrometheusOptions(**{name: both[1] if both[0] is None else both[0] for name, both in said.items()})
