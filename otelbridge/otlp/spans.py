"""Spans over OTLP, so that instrumentations' spans and exemplars have a home. Metrics never depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otelbridge.diagnostics import logger
from otelbridge.metrics._sdk import global_tracer_provider
from otelbridge.otlp.exporters import create_span_exporter

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from otelbridge.config.options import Otlp


class Spans:
    """The span pipeline of one bridge.

    OpenTelemetry's global tracer provider can be set once in a process, so a provider that is there
    already, the user's or one of an earlier start, is used and given our processors.

    Args:
        resource: The service, for a provider made here.
        destinations: Where spans go.
    """

    def __init__(self, resource: Resource, destinations: tuple[Otlp, ...]) -> None:
        exporters = [create_span_exporter(destination) for destination in destinations]
        self._processors = [BatchSpanProcessor(exporter) for exporter in exporters]
        existing = global_tracer_provider()
        self.provider: trace.TracerProvider = existing or TracerProvider(resource=resource, shutdown_on_exit=False)
        if isinstance(self.provider, TracerProvider):
            for processor in self._processors:
                self.provider.add_span_processor(processor)
        else:
            logger.warning(
                "The tracer provider %s is not the SDK's, so spans stay with it and are not exported by otelbridge.",
                type(self.provider).__qualname__,
            )
        if existing is None:
            trace.set_tracer_provider(self.provider)

    def force_flush(self, timeout: float) -> bool:
        """Send what is waiting.

        Args:
            timeout: Seconds for each destination.

        Returns:
            Whether every destination took it in time.
        """
        taken = [processor.force_flush(int(timeout * 1000)) for processor in self._processors]
        return all(taken)

    def close(self) -> None:
        """Send what is waiting and stop. The provider stays, silent, for whoever holds its tracers."""
        for processor in self._processors:
            processor.shutdown()
