"""The official instrumentations of HTTP libraries: for spans, and for metrics in the old conventions."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import inform, warn_once
from otelbridge.instrumentation import discovery

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider


@dataclass(frozen=True, slots=True)
class Official:
    """The official instrumentation of one library."""

    library: str
    """Name of the library, as `otelbridge.instrumentation.discovery` has it."""

    module: str
    """Where it is, which is also the name of its meter."""

    instrumentor: str
    """Name of its class."""

    variable: str
    """What environment variables call it, for instance ``HTTPX``."""

    def active(self) -> bool:
        """Tell whether somebody has switched it on. Nothing is imported."""
        kind = getattr(sys.modules.get(self.module), self.instrumentor, None)
        return kind is not None and bool(kind().is_instrumented_by_opentelemetry)

    def start(self, meter_provider: MeterProvider, tracer_provider: TracerProvider) -> bool:
        """Switch it on.

        Args:
            meter_provider: Where its measurements go.
            tracer_provider: Where its spans go.

        Returns:
            False where somebody else has, where it is not installed, or does not support the library's version.
        """
        if not discovery.found(self.module):
            inform("Spans of %s, and metrics in the old conventions, need the package %s.", self.library, self._package)
            return False
        instrumentor = self._get()
        if instrumentor is None or instrumentor.is_instrumented_by_opentelemetry:
            return False
        instrumentor.instrument(meter_provider=meter_provider, tracer_provider=tracer_provider)
        if instrumentor.is_instrumented_by_opentelemetry:
            return True
        warn_once(
            ("http.client", self.library),
            "%s does not support the installed version of %s; there are no spans of its requests, and no metrics in "
            "the old conventions. Install a version it supports (%s).",
            self._package,
            self.library,
            ", ".join(instrumentor.instrumentation_dependencies()),
        )
        return False

    def stop(self) -> None:
        """Switch it off."""
        self._get().uninstrument()

    @property
    def _package(self) -> str:
        return self.module.replace(".", "-").replace("_", "-")

    def _get(self) -> Any:
        kind = getattr(import_module(self.module), self.instrumentor, None)
        return None if kind is None else kind()


def stable_names() -> bool:
    """Tell whether the official instrumentations, if any is loaded, record under the stable names."""
    module = sys.modules.get("opentelemetry.instrumentation._semconv")
    if module is None:
        return False
    # There is no public way to ask.
    stability, signal = module._OpenTelemetrySemanticConventionStability, module._OpenTelemetryStabilitySignalType
    return stability._get_opentelemetry_stability_opt_in_mode(signal.HTTP) is not module._StabilityMode.DEFAULT
