"""Merges the sources into one `Config`: arguments over environment over file over defaults."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, cast

from otelbridge.config.checks import DETECTORS
from otelbridge.config.destinations import resolve_otlp
from otelbridge.config.options import Config
from otelbridge.config.pull import resolve_prometheus
from otelbridge.errors import unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otelbridge.config.options import Settings

_DOMAINS_SAID_BY = ("domains", "OTELBRIDGE_DOMAINS", "distribution.otelbridge.domains")


def resolve(
    arguments: Settings, environment: Settings, file: Settings, *, app: bool | None, known_domains: frozenset[str]
) -> Config:
    """Decide every setting.

    Args:
        arguments: What the caller says.
        environment: What the environment says.
        file: What the configuration file says.
        app: Whether an application is given, which then serves the metrics by default; None where applications are
            found later.
        known_domains: The domains there are; all of them record by default.

    Returns:
        Settings in which nothing is left open.

    Raises:
        ConfigError: A domain is unknown, or settings of the pull path contradict each other.
    """
    sources = (arguments, environment, file)
    traces = _first(sources, "traces", False)
    span_exporters = _first(sources, "span_exporters", None) or ("otlp",)
    otlp, spans = resolve_otlp([source.otlp for source in sources])
    return Config(
        service_name=_first(sources, "service_name", None),
        service_version=_first(sources, "service_version", None),
        environment=_first(sources, "environment", None),
        resource_attributes=_merged([source.resource_attributes for source in sources]),
        detectors=_first(sources, "detectors", DETECTORS),
        prometheus=resolve_prometheus([source.prometheus for source in sources], app=app),
        otlp=otlp,
        domains=_domains(sources, known_domains),
        views=tuple(view for source in sources for view in source.views or ()),
        instrument=_first(sources, "instrument", ("auto",)),
        find_engines=_first(sources, "find_engines", True),
        traces=traces,
        spans=spans if traces and "otlp" in span_exporters else (),
        spans_on_console=traces and "console" in span_exporters,
        exemplar_filter=_first(sources, "exemplar_filter", "trace_based"),
        console=_first(sources, "console", False),
        workers=_first(sources, "workers", "merged"),
        run_directory=_first(sources, "run_directory", None),
        cardinality_limit=_first(sources, "cardinality_limit", 2000),
        series_limit=_first(sources, "series_limit", 50_000),
        hide_secrets=_first(sources, "hide_secrets", True),
        prometheus_client=_first(sources, "prometheus_client", "auto"),
        enabled=_first(sources, "enabled", True),
    )


def differences(one: Config, other: Config) -> tuple[str, ...]:
    """Name the settings in which two configurations differ.

    Args:
        one: A configuration.
        other: Another.

    Returns:
        Names of fields of `Config`, in their order, without values, which may be secret. Views count as
        equal when they say the same, since a file makes new ones each time it is read.
    """
    return tuple(each.name for each in fields(Config) if not _alike(getattr(one, each.name), getattr(other, each.name)))


def _first(sources: Sequence[object], name: str, default: Any) -> Any:
    said = (getattr(source, name) for source in sources)
    return next((value for value in said if value is not None), default)


def _merged(mappings: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for mapping in reversed(mappings):
        merged.update(mapping or {})
    return merged


def _domains(sources: Sequence[Settings], known: frozenset[str]) -> frozenset[str]:
    for source, where in zip(sources, _DOMAINS_SAID_BY, strict=True):
        for name in source.domains or ():
            if name not in known:
                raise unknown_name(f"domain in {where}", name, known)
    return frozenset(_first(sources, "domains", known))


def _alike(one: object, other: object) -> bool:
    if one == other:
        return True
    if type(one) is not type(other) or callable(one):
        return False
    if isinstance(one, tuple):
        mine, theirs = cast("tuple[object, ...]", one), cast("tuple[object, ...]", other)
        return len(mine) == len(theirs) and all(_alike(*pair) for pair in zip(mine, theirs, strict=True))
    # The SDK's views and aggregations have no equality of their own, only what they hold, which may be nothing.
    held: dict[str, object] = getattr(one, "__dict__", {})
    also: dict[str, object] = getattr(other, "__dict__", {})
    return hasattr(one, "__dict__") and held.keys() == also.keys() and all(_alike(held[key], also[key]) for key in held)
