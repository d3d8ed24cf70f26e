"""Our own section of the configuration file, ``distribution.otelbridge``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from otelbridge.config import checks
from otelbridge.config.arguments import PROMETHEUS_CHECKS
from otelbridge.config.options import PrometheusOptions
from otelbridge.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from otelbridge.config.checks import Check

SECTION = "distribution.otelbridge"
"""The key path of the section."""


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
        if key not in known:
            raise unknown_name(f"key in {where}", key, known)
    return {key: known[key](f"{where}.{key}", value) for key, value in section.items() if value is not None}


def _prometheus(where: str, value: object) -> PrometheusOptions:
    if isinstance(value, (str, bool)):
        value = {"mode": value}
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{where} is {value!r}", f"Give a mapping with some of: {', '.join(PROMETHEUS_CHECKS)}; or the mode alone"
        )
    said = dict(cast("Mapping[str, object]", value))
    # YAML 1.1 reads the bare words on and off as truth values.
    if isinstance(said.get("mode"), bool):
        said["mode"] = "auto" if said["mode"] else "off"
    return PrometheusOptions(**_checked(where, said, PROMETHEUS_CHECKS))


def _instrument(where: str, value: object) -> tuple[str, ...]:
    if isinstance(value, bool):
        return ("auto",) if value else ()
    return ("auto",) if value == "auto" else checks.names(where, value)


KEYS: Mapping[str, Check] = {
    "service_version": checks.text,
    "environment": checks.text,
    "prometheus": _prometheus,
    "domains": checks.names,
    "instrument": _instrument,
    "traces": checks.flag,
    "detectors": checks.detectors,
    "workers": checks.choice(checks.WORKERS),
    "run_directory": checks.directory,
    "cardinality_limit": checks.limit,
    "series_limit": checks.limit,
}
"""The keys of the section and the check of each."""
