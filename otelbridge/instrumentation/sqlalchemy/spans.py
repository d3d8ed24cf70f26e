"""Spans of engines, by OpenTelemetry's own instrumentation of SQLAlchemy where it can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

from opentelemetry.metrics import NoOpMeter, NoOpMeterProvider

from otelbridge.concurrency import forks
from otelbridge.diagnostics import late_warnings, warn_once
from otelbridge.domains.recording import Registration
from otelbridge.instrumentation.sqlalchemy.identity import sync_engine_of

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider
    from sqlalchemy.engine import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine


class EngineSpans:
    """Makes spans of what engines do, with ``opentelemetry-instrumentation-sqlalchemy``.

    That package makes a metric of its own, under a name the conventions have given up; it is kept silent, since
    `instrument_engine` records the current ones. From the first engine on it is switched on for the process, so that
    nobody switches it on a second time. Where it is missing, does not support the installed SQLAlchemy or is in use
    already, one line in the log says so and no spans are made here.

    Args:
        tracer_provider: Where the spans go.
    """

    def __init__(self, tracer_provider: TracerProvider) -> None:
        self._tracer_provider = tracer_provider
        self._instrumentor: Any = None
        self._lock = forks.lock()

    def trace(self, engine: Engine | AsyncEngine) -> Registration:
        """Make spans of what an engine does. It is not kept alive.

        Args:
            engine: A sync or async engine.

        Returns:
            A handle whose `close()` ends it.

        Raises:
            ConfigError: It is no engine.
            MissingDependencyError: SQLAlchemy is not installed.
        """
        sync_engine = sync_engine_of(engine)
        with late_warnings, self._lock:
            if self._instrumentor is None:
                self._instrumentor = self._switched_on()
            if self._instrumentor is None:
                return Registration(lambda: None)
            self._trace(sync_engine)
        reference = ref(sync_engine)

        def close() -> None:
            living = reference()
            with late_warnings, self._lock:
                if living is not None and self._instrumentor is not None:
                    _untrace(living)

        return Registration(close)

    def close(self) -> None:
        """Make no more spans of any engine."""
        with late_warnings, self._lock:
            instrumentor, self._instrumentor = self._instrumentor, None
            if instrumentor is not None and instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()

    def _switched_on(self) -> Any:
        instrumentor = _usable_instrumentor()
        if instrumentor is not None:
            instrumentor.instrument(tracer_provider=self._tracer_provider, meter_provider=NoOpMeterProvider())
        return instrumentor

    def _trace(self, engine: Engine) -> None:
        from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
        from opentelemetry.instrumentation.sqlalchemy.version import __version__

        # Its own way to a further engine is to begin anew with all of them, which would take spans from the others.
        if not _listeners(engine):
            tracer = self._tracer_provider.get_tracer("opentelemetry.instrumentation.sqlalchemy", __version__)
            EngineTracer(tracer, engine, NoOpMeter("nowhere").create_up_down_counter("nothing"))


def _usable_instrumentor() -> Any:
    try:
        from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
        from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    except ImportError:
        return _no_spans("opentelemetry-instrumentation-sqlalchemy is not installed; otelbridge[sqlalchemy] brings it")
    instrumentor = SQLAlchemyInstrumentor()
    conflict = get_dependency_conflicts(instrumentor.instrumentation_dependencies())
    if conflict is not None:
        return _no_spans(f"opentelemetry-instrumentation-sqlalchemy does not support it: {str(conflict).rstrip('.')}")
    if instrumentor.is_instrumented_by_opentelemetry:
        return _no_spans("its instrumentation has been switched on elsewhere, which is left as it is")
    return instrumentor


def _listeners(engine: Engine) -> list[tuple[Any, str, Any]]:
    return [entry for entry in _every_listener() if entry[0]() is engine]


def _untrace(engine: Engine) -> None:
    from sqlalchemy import event

    for entry in _listeners(engine):
        _, name, listener = entry
        event.remove(engine, name, listener)
        _every_listener().remove(entry)


def _every_listener() -> list[tuple[Any, str, Any]]:
    from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer

    # SQLAlchemy tells of no listeners; this is the list by which the instrumentation removes its own.
    tracer: Any = EngineTracer
    return tracer._remove_event_listener_params


def _no_spans(reason: str) -> None:
    warn_once(("sqlalchemy", "spans"), "SQLAlchemy makes no spans: %s. Metrics are recorded all the same.", reason)
