"""Meter providers that others have made: the global one, and the one of `init(meter_provider=...)`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import MeterProvider

from otelbridge.diagnostics import inform, warn, warn_once
from otelbridge.errors import ConfigError
from otelbridge.metrics._sdk import global_meter_provider
from otelbridge.metrics.hosts import reader_host
from otelbridge.metrics.switch import switch
from otelbridge.prometheus.mount import serves

if TYPE_CHECKING:
    from otelbridge.config.options import Config, PrometheusChoice, Settings


def owner() -> MeterProvider | None:
    """Give the global meter provider where somebody else has set it."""
    provider = global_meter_provider()
    return None if provider is switch else provider


def tell_of_owner() -> None:
    """Say who keeps what other libraries measure, where that is not us."""
    provider = owner()
    if provider is not None:
        warn_once(
            ("meter provider", "global"),
            "The process has a global meter provider already (%s): what other libraries measure goes there and stays "
            "with its owner. What otelbridge measures is shown and pushed by otelbridge. To have both together, call "
            "init() before that provider is set, or record to it with "
            "init(meter_provider=opentelemetry.metrics.get_meter_provider()).",
            _class_of(provider),
        )


def for_provider(config: Config, arguments: Settings, provider: MeterProvider, app: Any) -> Config:
    """Leave out what belongs to the owner of a provider.

    Args:
        config: The settings, decided.
        arguments: What the caller said.
        provider: The provider of ``init(meter_provider=...)``.
        app: The application, if any.

    Returns:
        The settings without push and spans. The endpoint stays where it was asked for, or where there is an
        application that does not serve its path yet, and the provider takes a reader.

    Raises:
        ConfigError: It is no provider, or ours; or something was asked for that belongs to its owner.
    """
    if not isinstance(provider, MeterProvider):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"meter_provider= is a {type(provider).__qualname__}, which is no meter provider",
            "Pass an opentelemetry.metrics.MeterProvider, such as the SDK's",
        )
    if provider is switch:
        raise ConfigError(
            "meter_provider= is otelbridge's own provider",
            "Leave meter_provider= out; init() records to it anyway",
        )
    said = {
        "otlp": arguments.otlp,
        "views": arguments.views,
        "workers": arguments.workers,
        "cardinality_limit": arguments.cardinality_limit,
        "traces": arguments.traces,
        "hide_secrets": arguments.hide_secrets is not None,
        "prometheus_client": arguments.prometheus_client,
    }
    theirs = [name for name, value in said.items() if value]
    if theirs:
        raise ConfigError(
            f"With meter_provider= the settings {', '.join(theirs)} belong to that provider",
            "Set them where the provider is made, or leave meter_provider= out",
        )
    asked = arguments.prometheus is not None and arguments.prometheus.mode != "off"
    mode = _mode(config, provider, app, asked=asked)
    return replace(
        config, prometheus=replace(config.prometheus, mode=mode), otlp=(), spans=(), console=False, traces=False
    )


def _mode(config: Config, provider: MeterProvider, app: Any, *, asked: bool) -> PrometheusChoice:
    mode, path = config.prometheus.mode, config.prometheus.path
    if mode == "off" or not (asked or app is not None):
        return "off"
    if reader_host(provider) is None:
        name = _class_of(provider)
        problem = f"The meter provider ({name}) takes no further reader, so that otelbridge cannot show what it holds"
        if asked:
            raise ConfigError(problem, "Pass the SDK's MeterProvider, or leave prometheus= out")
        warn("%s. Pass the SDK's MeterProvider for an endpoint.", problem)
        return "off"
    if mode == "app" and not asked and serves(app, path):
        inform("The application serves %s already, so that otelbridge, with meter_provider=, does not.", path)
        return "off"
    return mode


def _class_of(provider: object) -> str:
    return f"{type(provider).__module__}.{type(provider).__qualname__}"
