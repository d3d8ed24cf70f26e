"""Spans of an engine, by OpenTelemetry's own instrumentation of SQLAlchemy where it can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from opentelemetry.metrics import NoOpMeterProvider

from otelbridge.concurrency import forks
from otelbridge.diagnostics import warn_once
from otelbridge.domains.recording import Registration
from otelbridge.instrumentation.sqlalchemy.engines import sync_engine_of

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider
    from sqlalchemy.engine import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

_engines: WeakSet[Engine] = WeakSet()
_lock = forks.lock()


def instrument_spans(engine: Engine | AsyncEngine, tracer_provider: TracerProvider) -> Registration:
    """Make spans of what an engine does, with ``opentelemetry-instrumentation-sqlalchemy``.

    That package makes a metric of its own, under a name the conventions have given up; it is kept
    silent, since `instrument_engine` records the current ones. Where the package is missing, does not
    support the installed SQLAlchemy or is in use already, one line in the log says so and no spans are
    made here.

    Args:
        engine: A sync or async engine.
        tracer_provider: Where the spans go.

    Returns:
        A handle whose `close()` ends it.

    Raises:
        ConfigError: It is no engine.
        MissingDependencyError: SQLAlchemy is not installed.
    """
    sync_engine = sync_engine_of(engine)
    instrumentor = _instrumentor()
    if instrumentor is None:
        return Registration(lambda: None)
    with _lock:
        if instrumentor.is_instrumented_by_opentelemetry and not _engines:
            _no_spans("its instrumentation has been switched on elsewhere, which is left as it is")
            return Registration(lambda: None)
        _engines.add(sync_engine)
        _apply(instrumentor, tracer_provider)

    def close() -> None:
        with _lock:
            if sync_engine in _engines:
                _engines.discard(sync_engine)
                _apply(instrumentor, tracer_provider)

    return Registration(close)


def _instrumentor() -> Any:
    try:
        from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
        from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    except ImportError:
        _no_spans("opentelemetry-instrumentation-sqlalchemy is not installed; otelbridge[sqlalchemy] brings it")
        return None
    instrumentor = SQLAlchemyInstrumentor()
    conflict = get_dependency_conflicts(instrumentor.instrumentation_dependencies())
    if conflict is not None:
        _no_spans(f"opentelemetry-instrumentation-sqlalchemy does not support it: {str(conflict).rstrip('.')}")
        return None
    return instrumentor


def _apply(instrumentor: Any, tracer_provider: TracerProvider) -> None:
    # The instrumentor is one for the process and takes its engines all at once, so that a further
    # engine means to begin again with the longer list.
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    if _engines:
        instrumentor.instrument(
            engines=list(_engines), tracer_provider=tracer_provider, meter_provider=NoOpMeterProvider()
        )


def _no_spans(reason: str) -> None:
    warn_once(("sqlalchemy", "spans"), "SQLAlchemy makes no spans: %s. Metrics are recorded all the same.", reason)
