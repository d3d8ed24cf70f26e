"""Our own section of the configuration file, ``distribution.otelbridge``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from otelbridge.config import checks, urls
from otelbridge.config.options import OtlpOptions, PrometheusOptions
from otelbridge.config.prometheus_checks import PROMETHEUS_CHECKS
from otelbridge.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from otelbridge.config.checks import Check

SECTION = "distribution.otelbridge"
"""The key path of the section."""

_MAPPINGS = frozenset({"prometheus", "otlp", "cardinality_limits", "basic_users"})
_OTLP_CHECKS: Mapping[str, Check] = {"headers_file": checks.headers_file, "proxy": urls.proxy}


def read_distribution(section: Mapping[str, object]) -> dict[str, Any]:
    """Read our section.

    Args:
        section: The mapping below ``distribution.otelbridge``. Keys without a value count as not said.

    Returns:
        Values by the name of the field of `Settings`.

    Raises:
        ConfigError: A key is unknown, or a value cannot be used.
    """
    return _checked(SECTION, section, KEYS)


def _checked(where: str, section: Mapping[str, object], known: Mapping[str, Check]) -> dict[str, Any]:
    for key in section:
        _refuse_glued(where, key)
        if key not in known:
            raise unknown_name(f"key in {where}", key, known)
        _refuse_nested(f"{where}.{key}", key, section[key])
    return {key: known[key](f"{where}.{key}", value) for key, value in section.items() if value is not None}


def _refuse_glued(where: str, text: object) -> None:
    # To YAML "bearer_token:abc" is one word, and what is behind the colon may be secret.
    name, colon, _ = str(text).partition(":")
    if colon:
        raise ConfigError(
            f"{where} has {name + ':...'!r} as one word (the rest is not shown)", "Put a space behind the colon"
        )


def _refuse_nested(where: str, key: str, value: object) -> None:
    # Keys that are indented too far end up here, a token among them.
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    if key not in _MAPPINGS and any(isinstance(item, Mapping) for item in items):
        raise ConfigError(f"{where} holds keys of its own (not shown, they may be secret)", "Check the indentation")


def _prometheus(where: str, value: object) -> PrometheusOptions:
    if isinstance(value, str):
        _refuse_glued(where, value)
    if isinstance(value, (str, bool)):
        value = {"mode": value}
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{where} is {type(value).__name__}, which is no mapping",
            f"Give a mapping with some of: {', '.join(PROMETHEUS_CHECKS)}; or the mode alone",
        )
    said = dict(cast("Mapping[str, object]", value))
    # YAML 1.1 reads the bare words on and off as truth values.
    if isinstance(said.get("mode"), bool):
        said["mode"] = "auto" if said["mode"] else "off"
    return PrometheusOptions(**_checked(where, said, PROMETHEUS_CHECKS))


def _otlp(where: str, value: object) -> OtlpOptions:
    if isinstance(value, str):
        _refuse_glued(where, value)
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{where} is {type(value).__name__}, which is no mapping",
            f"Give a mapping with some of: {', '.join(_OTLP_CHECKS)}; the exporter itself has its own section",
        )
    return OtlpOptions(**_checked(where, cast("Mapping[str, object]", value), _OTLP_CHECKS))


def _instrument(where: str, value: object) -> tuple[str, ...]:
    if isinstance(value, bool):
        return ("auto",) if value else ()
    return ("auto",) if value == "auto" else checks.names(where, value)


KEYS: Mapping[str, Check] = {
    "service_version": checks.text,
    "environment": checks.text,
    "prometheus": _prometheus,
    "otlp": _otlp,
    "domains": checks.names,
    "instrument": _instrument,
    "find_engines": checks.flag,
    "traces": checks.flag,
    "detectors": checks.detectors,
    "workers": checks.choice(checks.WORKERS),
    "run_directory": checks.directory,
    "cardinality_limit": checks.limit,
    "series_limit": checks.limit,
    "hide_secrets": checks.flag,
    "prometheus_client": checks.flag,
}
"""The keys of the section and the check of each."""
