"""Which HTTP libraries are measured, and switching that on and off."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.propagators.textmap import default_setter
from opentelemetry.trace import NoOpTracerProvider

from otelbridge.concurrency import forks
from otelbridge.diagnostics import late_warnings, warn_once
from otelbridge.domains.recording import Registration
from otelbridge.errors import unknown_name
from otelbridge.instrumentation import discovery
from otelbridge.instrumentation.http.clients import aiohttp, httpx, urllib3
from otelbridge.instrumentation.http.clients.exchanges import Exchanges
from otelbridge.instrumentation.http.clients.official import Official
from otelbridge.instrumentation.http.exclusion import compile_patterns, user_patterns
from otelbridge.instrumentation.http.stability import choose_stable_conventions, stable_conventions_wanted
from otelbridge.instrumentation.imports import when_imported
from otelbridge.instrumentation.patches import Patches
from otelbridge.metrics._sdk import global_meter_provider
from otelbridge.metrics.switch import switch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType

    from opentelemetry.trace import TracerProvider

_OURS = "_otelbridge_measured"
# Of what is replaced: a library may be imported while another thread ends the measuring.
_lock = forks.lock()


@dataclass(frozen=True, slots=True)
class _Library:
    package: str
    """What is measured, which may be a library below."""

    official: Official


def _library(name: str, package: str, module: str, instrumentor: str, variable: str) -> _Library:
    return _Library(package, Official(name, f"opentelemetry.instrumentation.{module}", instrumentor, variable))


_LIBRARIES = {
    "httpx": _library("httpx", "httpx", "httpx", "HTTPXClientInstrumentor", "HTTPX"),
    "httpx2": _library("httpx2", "httpx2", "httpx", "HTTPX2ClientInstrumentor", "HTTPX"),
    "requests": _library("requests", "urllib3", "requests", "RequestsInstrumentor", "REQUESTS"),
    "urllib3": _library("urllib3", "urllib3", "urllib3", "URLLib3Instrumentor", "URLLIB3"),
    "aiohttp-client": _library(
        "aiohttp-client", "aiohttp", "aiohttp_client", "AioHttpClientInstrumentor", "AIOHTTP_CLIENT"
    ),
}
_MODULES: dict[str, ModuleType] = {"httpx": httpx, "httpx2": httpx, "urllib3": urllib3, "aiohttp": aiohttp}


def instrument_clients(names: Iterable[str], tracer_provider: TracerProvider | None = None) -> Registration:
    """Record the requests HTTP libraries make, in the stable HTTP conventions.

    A library is measured as soon as the application imports it. Every request that is sent counts once, with the status
    code of its answer or the exception it failed with; so do retries and redirects. The current context goes along. Not
    recorded are requests under ``suppress_instrumentation``, as exporters make them, and those the user's
    ``OTEL_PYTHON_EXCLUDED_URLS`` names. Where the user's ``OTEL_SEMCONV_STABILITY_OPT_IN`` asks for old conventions,
    the official instrumentations record instead.

    Args:
        names: ``httpx``, ``httpx2``, ``requests``, ``urllib3``, ``aiohttp-client``; or ``auto`` for those that are
            installed. ``requests`` is measured where it goes over urllib3, and so with it.
        tracer_provider: Where spans go, which the official instrumentations make where they are installed; None makes
            none.

    Returns:
        A handle whose `close()` switches off what was switched on here. What is measured already stays as it is.

    Raises:
        ConfigError: A name is not known, or a pattern of the user is no regular expression.
        MissingDependencyError: A library is not installed.
    """
    asked = tuple(names)
    for name in asked:
        if name not in _LIBRARIES and name != discovery.AUTO:
            raise unknown_name("HTTP client", name, (*_LIBRARIES, discovery.AUTO))
    chosen = [_LIBRARIES[name] for name in discovery.select(asked) if name in _LIBRARIES]
    stable = stable_conventions_wanted()
    with ExitStack() as undo:
        measured = _measure_all(chosen if stable else (), undo)
        started = _start(chosen, tracer_provider, undo, metrics=not stable)
        for exchanges, officials in measured:
            exchanges.others = [official for official in officials if official not in started and _shared()]
        return Registration(undo.pop_all().close)


def _start(
    chosen: Sequence[_Library], tracer_provider: TracerProvider | None, undo: ExitStack, *, metrics: bool
) -> Sequence[Official]:
    if tracer_provider is None and not metrics:
        return ()
    meters, tracers = switch if metrics else NoOpMeterProvider(), tracer_provider or NoOpTracerProvider()
    if any(discovery.found(library.official.module) for library in chosen):
        choose_stable_conventions(metrics=metrics)
    started = [library.official for library in chosen if library.official.start(meters, tracers)]
    for official in started:
        undo.callback(official.stop)
    return started


def _measure_all(chosen: Sequence[_Library], undo: ExitStack) -> Sequence[tuple[Exchanges, Sequence[Official]]]:
    by_package: dict[str, list[Official]] = {}
    for library in chosen:
        by_package.setdefault(library.package, []).append(library.official)
    return [(_measure(package, officials, undo), officials) for package, officials in by_package.items()]


def _measure(package: str, officials: Sequence[Official], undo: ExitStack) -> Exchanges:
    module: Any = _MODULES[package]
    exchanges = Exchanges(
        module.describe,
        module.url,
        compile_patterns(*(user_patterns(official.variable) for official in officials)),
        setter=urllib3.KeywordSetter() if package == "urllib3" else default_setter,
        suppressing=[_LIBRARIES[name].official for name in ("requests", "urllib3")] if package == "urllib3" else (),
    )
    replaced = ExitStack()

    def replace(_module: ModuleType) -> None:
        with late_warnings, _lock:
            if exchanges.open:
                _replace(package, officials, exchanges, replaced)

    def rest() -> None:
        with late_warnings, _lock:
            exchanges.open = False
            replaced.close()

    undo.callback(rest)
    undo.callback(when_imported(package, replace).close)
    return exchanges


def _replace(package: str, officials: Sequence[Official], exchanges: Exchanges, undo: ExitStack) -> None:
    module: Any = _MODULES[package]
    targets = module.targets(package)
    if _OURS in vars(targets[0]):  # by an earlier call, or under another name: httpx2 can stand in for httpx
        return
    patches = tuple(map(Patches, targets))
    for each in patches:
        undo.callback(each.undo)
    module.replace(package, patches, exchanges)
    missing = [name for each in patches for name in each.missing]
    if missing:
        undo.close()
        warn_once(
            ("http.client", package),
            "The installed version of %s has no %s; its requests are not recorded. Install one that otelbridge knows.",
            package,
            ", ".join(missing),
        )
        return
    setattr(targets[0], _OURS, True)
    undo.callback(delattr, targets[0], _OURS)
    for official in officials:
        undo.callback(switch.mute(official.module, partial(_say_muted, official)))
        if official.active():
            _say_muted(official)


def _say_muted(official: Official) -> None:
    warn_once(
        ("http.client", "muted", official.module),
        "What %s records stays away, since otelbridge measures the same requests, failures included; its spans stay. "
        "Leave %s out of instrument= to have it the other way round.",
        official.module,
        official.library,
    )


def _shared() -> bool:
    """Whether others record to the very provider that stands behind ours, past the switch."""
    return switch.provider is not None and global_meter_provider() is switch.provider
