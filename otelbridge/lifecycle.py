"""The door: `init`, `shutdown`, `force_flush`, and the one bridge of this process."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.metrics import MeterProvider, set_meter_provider
from opentelemetry.sdk.metrics.export import MetricReader

from otelbridge.attached import Attached
from otelbridge.bridge import Bridge, create_bridge
from otelbridge.catalogue.registry import DOMAIN_NAMES
from otelbridge.concurrency import forks
from otelbridge.concurrency.turn import during, inside
from otelbridge.config.arguments import settings_from_arguments
from otelbridge.config.environment import settings_from_environment
from otelbridge.config.options import Settings
from otelbridge.config.resolve import differences, resolve
from otelbridge.diagnostics import forget_warnings, inform, late_warnings
from otelbridge.errors import ConfigError
from otelbridge.metrics._sdk import global_meter_provider
from otelbridge.metrics.switch import switch
from otelbridge.owners import for_provider, owner, tell_of_owner
from otelbridge.reentrance import refuses, unless_refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from opentelemetry.sdk.metrics.view import View

    from otelbridge.config.options import (
        Config,
        MetricsRegistry,
        OtlpOptions,
        PrometheusOptions,
        ResourceValue,
        Workers,
    )

# What was recorded by then is little, and the application waits.
_HANDOVER_TIMEOUT = 1.0

_lock = forks.lock()
_bridge: Bridge | None = None


def init(
    *,
    service_name: str | None = None,
    service_version: str | None = None,
    environment: str | None = None,
    resource_attributes: Mapping[str, ResourceValue] | None = None,
    app: Any = None,
    engine: Any = None,
    prometheus: PrometheusOptions | Literal["auto", "app", "server", "off"] | bool | None = None,
    otlp: OtlpOptions | Sequence[OtlpOptions] | str | bool | None = None,
    domains: Iterable[str] | None = None,
    views: Iterable[View] | None = None,
    instrument: Iterable[str] | Literal["auto"] | bool | None = None,
    find_engines: bool | None = None,
    traces: bool | None = None,
    workers: Workers | None = None,
    cardinality_limit: int | None = None,
    hide_secrets: bool | None = None,
    prometheus_client: bool | MetricsRegistry | None = None,
    meter_provider: MeterProvider | None = None,
    metric_readers: Iterable[MetricReader] | None = None,
    config: str | os.PathLike[str] | None = None,
) -> Bridge:
    """Start metrics for this process: Prometheus by scrape and OTLP by push, at the same time.

    Every setting can also be said in the environment (``OTEL_*`` with their standard meaning,
    ``OTELBRIDGE_*``) and in a configuration file. Arguments win over the environment, the environment
    over the file, the file over the defaults.

    Calling it again with the same settings gives the same bridge; with others it is an error. After
    `shutdown` it can be called anew.

    Args:
        service_name: ``service.name`` of the resource.
        service_version: ``service.version`` of the resource.
        environment: ``deployment.environment.name`` of the resource, for instance ``production``.
        resource_attributes: Further resource attributes; they win over detected ones.
        app: A FastAPI or Starlette application: its requests are recorded, and it serves the metrics
            unless `prometheus` says otherwise.
        engine: A SQLAlchemy engine, sync or async, or a sequence of them. Others are found by themselves, see
            `find_engines`.
        prometheus: Where Prometheus scrapes: ``"app"`` (on the application, at ``/metrics``),
            ``"server"`` (own port 9464 on localhost), ``"off"`` or options. By default ``"app"`` when
            there is an application, else ``"server"``.
        otlp: Where OTLP is pushed: a base URL, options, several of them, True for the default
            endpoint, False for nowhere. By default wherever an endpoint is configured.
        domains: Domains that record; by default all.
        views: Views of your own. One replaces the catalogue's for the instruments it selects.
        instrument: Instrumentations to switch on; ``"auto"``, the default, takes what is installed.
        find_engines: Whether SQLAlchemy engines that were not passed here are recorded, by default True: each from
            its first connection on, whenever it was made.
        traces: Whether spans are made and exported too, over OTLP unless ``OTEL_TRACES_EXPORTER`` says otherwise.
        workers: ``"merged"``, the default, shows the worker processes of a service as one, ``"separate"``
            each by itself.
        cardinality_limit: How many attribute sets a stream keeps apart, by default 2000; what is more is
            counted together under ``otel.metric.overflow=true``. A view or a reader may say otherwise.
        hide_secrets: Whether attribute values that look like credentials are shown as ``[hidden]``, by default
            True. A key tells (``password``, ``api.key``), or the value (``Bearer ...``, a URL with a password).
        prometheus_client: Whether the metrics the application keeps with prometheus_client are scraped and
            pushed with ours: True, False, or a registry. By default its default registry is, as soon as
            something was registered there.
        meter_provider: A provider of your own to record to. Push is then its owner's. An application still gets the
            endpoint, and `prometheus` is heeded, where the provider takes a further reader, as the SDK's does.
        metric_readers: Readers of OpenTelemetry's SDK, or of anybody's, beside ours, for instance
            ``[PeriodicExportingMetricReader(exporter)]``. Each belongs to this call: it is flushed and, at the
            end, shut down with the rest.
        config: An OpenTelemetry declarative configuration file (YAML or JSON).

    Returns:
        The running bridge.

    Raises:
        ConfigError: A setting cannot be used, or a different bridge is running. Nothing is left
            half-started.
        MissingDependencyError: A feature was asked for whose optional package is not installed.
    """
    arguments = settings_from_arguments(
        service_name=service_name,
        service_version=service_version,
        environment=environment,
        resource_attributes=resource_attributes,
        prometheus=prometheus,
        otlp=otlp,
        domains=domains,
        views=views,
        instrument=instrument,
        find_engines=find_engines,
        traces=traces,
        workers=workers,
        cardinality_limit=cardinality_limit,
        hide_secrets=hide_secrets,
        prometheus_client=prometheus_client,
    )
    automatic = _bridge is not None and _bridge.attached.automatic
    decided = _decide(arguments, config, app=None if automatic else app is not None)
    attached = Attached(
        app=app,
        engines=_engines(engine),
        meter_provider=meter_provider,
        metric_readers=_readers(metric_readers, meter_provider),
        automatic=automatic,
    )
    if meter_provider is not None:
        decided = for_provider(decided, arguments, meter_provider, app)
    if inside() in ("init()", "shutdown()"):
        raise ConfigError(
            f"init() was called in the middle of {inside()} by the same thread, from a signal handler or finalizer",
            "Call it when that is over",
        )
    with late_warnings, _lock:
        return during("init()", lambda: _start(decided, attached))


def init_automatically() -> Bridge:
    """Do what `init()` does, as the environment says, for a program that does not call it.

    Applications are found by themselves. An `init()` of the program then adds its application and engines, or, with
    other settings, begins anew.

    Returns:
        The running bridge.

    Raises:
        ConfigError: As `init`.
        MissingDependencyError: As `init`.
    """
    decided = decide_automatically()
    with late_warnings, _lock:
        bridge = during("init()", lambda: _start(decided, Attached(automatic=True)))
        bridge.provisional = True
        return bridge


def decide_automatically() -> Config:
    """Give the settings of `init_automatically`, and raise what it raises for those that cannot be used."""
    return _decide(Settings(), None, app=None)


def shutdown(timeout: float = 10.0) -> bool:
    """Push once more and stop everything `init` started.

    Args:
        timeout: Seconds for the last push.

    Returns:
        Whether the last push arrived everywhere, and every reader stopped without an error; True when nothing was
        running. False at once, and nothing is stopped, for a callback, signal handler or finalizer in the middle of a
        scrape, a flush, `init` or `shutdown`.
    """
    return unless_refused("shutdown()", lambda: _end(timeout))


def force_flush(timeout: float = 10.0) -> bool:
    """Push what is recorded now, to every destination.

    Args:
        timeout: Seconds for it.

    Returns:
        Whether every destination acknowledged it; True when nothing is running. False at once for a callback, signal
        handler or finalizer in the middle of a scrape, a flush, `init` or `shutdown`.
    """
    bridge = _bridge
    if bridge is None:
        return not refuses("force_flush()")
    return bridge.force_flush(timeout)


atexit.register(shutdown)


def _start(config: Config, attached: Attached) -> Bridge:
    global _bridge
    if _bridge is not None and _bridge.running:
        if not _bridge.provisional:
            return _same(_bridge, config, attached)
        if _bridge.take(config, attached):
            return _bridge
        inform("init() has other settings than those otelbridge was started with, which it begins anew with.")
        _bridge.end(_HANDOVER_TIMEOUT)
    forget_warnings()
    if attached.meter_provider is None and config.enabled:
        tell_of_owner()
    _bridge = create_bridge(config, attached)
    if attached.meter_provider is None and config.enabled and global_meter_provider() is None:
        set_meter_provider(switch)
    return _bridge


def _end(timeout: float) -> bool:
    global _bridge
    with _lock:
        bridge, _bridge = _bridge, None
        return True if bridge is None else bridge.end(timeout)


def _decide(arguments: Settings, file: str | os.PathLike[str] | None, *, app: bool | None) -> Config:
    return resolve(
        arguments,
        settings_from_environment(os.environ, alone=owner() is None),
        _settings_from_file(file),
        app=app,
        known_domains=DOMAIN_NAMES,
    )


def _settings_from_file(argument: str | os.PathLike[str] | None) -> Settings:
    path = argument or os.environ.get("OTELBRIDGE_CONFIG_FILE") or os.environ.get("OTEL_CONFIG_FILE")
    if not path:
        return Settings()
    from otelbridge.config.file import settings_from_file

    return settings_from_file(path)


def _engines(engine: Any) -> tuple[Any, ...]:
    if engine is None:
        return ()
    return tuple(cast("Sequence[Any]", engine)) if isinstance(engine, (list, tuple)) else (engine,)


def _readers(readers: Iterable[MetricReader] | None, provider: MeterProvider | None) -> tuple[MetricReader, ...]:
    cure = "Give readers; one makes an exporter a reader by PeriodicExportingMetricReader(exporter)"
    if readers is None:
        return ()
    if provider is not None:
        raise ConfigError(
            "With meter_provider= the setting metric_readers belongs to that provider",
            "Set it where the provider is made, or leave meter_provider= out",
        )
    if not isinstance(readers, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"metric_readers is {type(readers).__name__}, not a list", cure)
    found = tuple(readers)
    for reader in found:
        if not isinstance(reader, MetricReader):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"metric_readers has a {type(reader).__name__}, which is no metric reader", cure)
    return found


def _same(running: Bridge, config: Config, attached: Attached) -> Bridge:
    changed = list(differences(running.config, config))
    changed += running.attached.differences(attached)
    if changed:
        raise ConfigError(
            f"otelbridge is running already, with other settings for: {', '.join(changed)}",
            "Call otelbridge.shutdown() first, or init() once at the start of the application; further engines "
            "and applications are added with bridge.instrument_engine() and bridge.instrument_app()",
        )
    return running
