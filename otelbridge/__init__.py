"""OpenTelemetry-first metrics for Python services: one call, Prometheus and OTLP at once.

    import otelbridge

    otelbridge.init(service_name="shop", app=app, engine=engine)

    with otelbridge.agents.invocation("planner", model="gpt-5", provider="openai") as call:
        call.tokens(input=812, output=64)

Everything public is here and is loaded when it is first used, so that a library which only records
does not pay for exporters it never starts. With `init` comes all that records.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from otelbridge.interpreters import refuse_subinterpreter
from otelbridge.version import __version__

if TYPE_CHECKING:
    from otelbridge.bridge import Bridge
    from otelbridge.config.options import OtlpOptions, PrometheusOptions
    from otelbridge.domains import agents, business, cost, database, health, tasks
    from otelbridge.errors import ConfigError, MissingDependencyError, OtelbridgeError
    from otelbridge.jobs import job
    from otelbridge.lifecycle import force_flush, init, shutdown

__all__ = [
    "Bridge",
    "ConfigError",
    "MissingDependencyError",
    "OtelbridgeError",
    "OtlpOptions",
    "PrometheusOptions",
    "__version__",
    "agents",
    "business",
    "cost",
    "database",
    "force_flush",
    "health",
    "init",
    "job",
    "shutdown",
    "tasks",
]

_HOMES = {
    "Bridge": "otelbridge.bridge",
    "ConfigError": "otelbridge.errors",
    "MissingDependencyError": "otelbridge.errors",
    "OtelbridgeError": "otelbridge.errors",
    "OtlpOptions": "otelbridge.config.options",
    "PrometheusOptions": "otelbridge.config.options",
    "force_flush": "otelbridge.lifecycle",
    "init": "otelbridge.lifecycle",
    "job": "otelbridge.jobs",
    "shutdown": "otelbridge.lifecycle",
}
_DOMAINS = ("agents", "business", "cost", "database", "health", "tasks")


def __getattr__(name: str) -> object:
    """Load a public name when it is first used (PEP 562)."""
    if name not in _DOMAINS and name not in _HOMES:
        raise AttributeError(f"module 'otelbridge' has no attribute {name!r}")
    try:
        domain = name in _DOMAINS
        value = import_module(f"otelbridge.domains.{name}") if domain else getattr(import_module(_HOMES[name]), name)
    except ImportError:
        # Some of what OpenTelemetry imports, ctypes for one, cannot be loaded in every sub-interpreter.
        refuse_subinterpreter()
        raise
    globals()[name] = value
    if name == "init":
        # Whoever records first may do so when no descriptor is left to read a module with.
        for each in (*_DOMAINS, "job"):
            __getattr__(each)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
