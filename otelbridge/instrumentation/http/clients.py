"""Requests the process makes (H5), through the official instrumentations of the HTTP libraries.

What an OTLP exporter sends is not recorded: exporters run with instrumentation suppressed, which the
official instrumentations heed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import NoOpTracerProvider

from otelbridge.diagnostics import warn_once
from otelbridge.domains.recording import Registration
from otelbridge.errors import unknown_name
from otelbridge.instrumentation import discovery
from otelbridge.instrumentation.http.stability import choose_stable_conventions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

_INSTRUMENTORS = {
    "httpx": ("opentelemetry.instrumentation.httpx", "HTTPXClientInstrumentor"),
    "requests": ("opentelemetry.instrumentation.requests", "RequestsInstrumentor"),
    "urllib3": ("opentelemetry.instrumentation.urllib3", "URLLib3Instrumentor"),
    "aiohttp-client": ("opentelemetry.instrumentation.aiohttp_client", "AioHttpClientInstrumentor"),
}


def instrument_clients(
    names: Iterable[str], meter_provider: MeterProvider, tracer_provider: TracerProvider | None = None
) -> Registration:
    """Record the requests HTTP libraries make, in the stable HTTP conventions.

    Args:
        names: ``httpx``, ``requests``, ``urllib3``, ``aiohttp-client``; or ``auto`` for those that are
            installed together with their instrumentation.
        meter_provider: Where measurements go.
        tracer_provider: Where spans go; None makes none.

    Returns:
        A handle whose `close()` switches off what was switched on here. A library that somebody else
        has instrumented stays as it is.

    Raises:
        ConfigError: A name is not known.
        MissingDependencyError: A library or its instrumentation is not installed.
    """
    asked = tuple(names)
    for name in asked:
        if name not in _INSTRUMENTORS and name != discovery.AUTO:
            raise unknown_name("HTTP client", name, (*_INSTRUMENTORS, discovery.AUTO))
    chosen = [name for name in discovery.select(asked) if name in _INSTRUMENTORS]
    if chosen:
        choose_stable_conventions()
    tracers = tracer_provider or NoOpTracerProvider()
    started = [name for name in chosen if _start(name, meter_provider, tracers)]

    def close() -> None:
        while started:
            _instrumentor(started.pop()).uninstrument()

    return Registration(close)


def _start(name: str, meter_provider: MeterProvider, tracer_provider: TracerProvider) -> bool:
    """Switch one on; False where somebody else did, or the version of the library is not supported."""
    instrumentor = _instrumentor(name)
    if instrumentor.is_instrumented_by_opentelemetry:
        return False
    instrumentor.instrument(meter_provider=meter_provider, tracer_provider=tracer_provider)
    if not instrumentor.is_instrumented_by_opentelemetry:
        warn_once(
            ("http.client", name),
            "The official instrumentation of %s does not support the installed version; its requests are not "
            "recorded. Install a version it supports (%s).",
            name,
            ", ".join(instrumentor.instrumentation_dependencies()),
        )
        return False
    return True


def _instrumentor(name: str) -> Any:
    module, class_name = _INSTRUMENTORS[name]
    return getattr(import_module(module), class_name)()
