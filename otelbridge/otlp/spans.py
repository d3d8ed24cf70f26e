"""Spans over OTLP and on the console, so that spans and exemplars have a home. Metrics never depend on it."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

from otelbridge.diagnostics import warn_once
from otelbridge.metrics._sdk import global_tracer_provider, processes_spans
from otelbridge.otlp.bounded import begin
from otelbridge.otlp.exporters import create_span_exporter
from otelbridge.otlp.seat import has_seat, seat_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.resources import Resource

    from otelbridge.config.options import Otlp
    from otelbridge.otlp.exporters import DeliveringSpanExporter
    from otelbridge.otlp.seat import Seat

_CLOSE_TIMEOUT = 10.0


class Spans:
    """The span pipeline of one bridge.

    OpenTelemetry's global tracer provider can be set once in a process, so a provider that is there
    already, the user's or one of an earlier start, is used. Where it sends spans nowhere yet, they go to our
    destinations; else they are its owner's, so that nothing arrives twice.

    Args:
        resource: The service, for a provider made here.
        destinations: Where spans go.
        console: Whether each is printed to standard output, too, when it ends.
    """

    def __init__(self, resource: Resource, destinations: tuple[Otlp, ...], *, console: bool = False) -> None:
        existing = global_tracer_provider()
        self.provider: trace.TracerProvider = existing or TracerProvider(resource=resource, shutdown_on_exit=False)
        self._ended: bool | None = None
        self._seat = _free_seat(self.provider)
        if self._seat is None:
            destinations, console = (), False
        self._exporters = [create_span_exporter(destination) for destination in destinations]
        self._processors = [BatchSpanProcessor(exporter) for exporter in self._exporters]
        printed = [SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stdout))] if console else []
        self._seated = (*self._processors, *printed)
        if self._seat is not None:
            self._seat.taken_by = self._seated
        if existing is None:
            trace.set_tracer_provider(self.provider)

    def force_flush(self, timeout: float) -> bool:
        """Send what is waiting, to all destinations at the same time.

        Args:
            timeout: Seconds for it.

        Returns:
            Whether every destination took it in time.
        """
        return self.begin_flush()(timeout)

    def begin_flush(self) -> Callable[[float], bool]:
        """Begin to send what is waiting.

        Returns:
            What waits for it at most some seconds, and gives what `force_flush` does.
        """
        return self._begin(lambda processor, _exporter: processor.force_flush())

    def close(self, timeout: float = _CLOSE_TIMEOUT) -> bool:
        """Send what is waiting and stop. The provider stays, silent, for whoever holds its tracers.

        Args:
            timeout: Seconds for it.

        Returns:
            As `force_flush`. Further calls give what the first one gave.
        """
        if self._ended is None:

            def end(processor: BatchSpanProcessor, exporter: DeliveringSpanExporter) -> None:
                exporter.end_within(timeout)
                processor.shutdown()

            self._ended = self._begin(end)(timeout)
            if self._seat is not None:
                self._seat.leave(self._seated)
        return self._ended

    def _begin(self, work: Callable[[BatchSpanProcessor, DeliveringSpanExporter], object]) -> Callable[[float], bool]:
        before = [exporter.failures for exporter in self._exporters]
        waits = [
            begin(partial(work, *pair), "otelbridge-spans")
            for pair in zip(self._processors, self._exporters, strict=True)
        ]
        for exporter in self._exporters:
            exporter.hurry()

        def wait(seconds: float) -> bool:
            deadline = time.monotonic() + seconds
            done = [each(deadline - time.monotonic()) for each in waits]
            return all(done) and before == [exporter.failures for exporter in self._exporters]

        return wait


def _free_seat(provider: trace.TracerProvider) -> Seat | None:
    if isinstance(provider, TracerProvider) and (has_seat(provider) or not processes_spans(provider)):
        return seat_at(provider)
    warn_once(
        ("tracer provider", "global"),
        "The process has a tracer provider already (%s.%s): spans go where its owner sends them, and otelbridge "
        "exports none. To have otelbridge export them, call init() before that provider is set, or set it without "
        "span processors.",
        type(provider).__module__,
        type(provider).__qualname__,
    )
    return None
