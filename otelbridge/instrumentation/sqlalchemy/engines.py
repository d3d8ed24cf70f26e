"""Instruments one engine, and undoes it."""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from otelbridge.concurrency import forks
from otelbridge.diagnostics import late_warnings
from otelbridge.domains.database import records
from otelbridge.domains.recording import Registration
from otelbridge.instrumentation.patches import Patches
from otelbridge.instrumentation.sqlalchemy.autocommit import autocommit_reader
from otelbridge.instrumentation.sqlalchemy.checkouts import Checkouts
from otelbridge.instrumentation.sqlalchemy.identity import Identity, identify, release, sync_engine_of
from otelbridge.instrumentation.sqlalchemy.poolsizes import PoolSize, pool_size
from otelbridge.instrumentation.sqlalchemy.statements import wrap_statements
from otelbridge.instrumentation.sqlalchemy.transactions import Transactions, wrap_transactions

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

    from sqlalchemy.engine import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from otelbridge.domains.checks import Attributes
    from otelbridge.instrumentation.sqlalchemy.spans import EngineSpans

_INSTRUMENTED = "_otelbridge_instrumented"

_OF_POOLS = (
    records.CONNECTION_PENDING_REQUESTS,
    records.CONNECTION_TIMEOUTS,
    records.CONNECTION_WAIT_TIME,
    records.CONNECTION_CREATE_TIME,
    records.CONNECTION_USE_TIME,
)

_lock = forks.lock()


def instrument_engine(engine: Engine | AsyncEngine, *, spans: EngineSpans | None = None) -> Registration:
    """Record the statements, transactions and pool of an engine (``db.client.*``, times in seconds).

    Nothing but this one engine is touched: methods of its dialect and pool objects are wrapped, which
    `Engine.dispose` and `Engine.execution_options` do not lose. What the database raises passes through
    unchanged. Failures carry ``error.type`` and ``db.response.status_code``: the SQLSTATE or number the
    database gave, where the driver tells it; else ``error.type`` alone, the class of the exception. A batch
    of several parameter sets is one operation named ``BATCH INSERT`` and the like. A connection that is
    closed without a commit counts as a rollback, since that is what SQLAlchemy does.

    The engine is not kept alive, not by the handle either. When it goes, the series of its pool go.

    Args:
        engine: A sync or async engine of SQLAlchemy 1.4 or later. Instrumenting it twice is harmless.
        spans: What makes spans of the engine too; None makes none.

    Returns:
        A handle whose `close()` undoes everything; the same one for the same engine.

    Raises:
        ConfigError: It is no engine.
        MissingDependencyError: SQLAlchemy is not installed.
    """
    sync_engine = sync_engine_of(engine)
    with late_warnings, _lock:
        known: tuple[Registration, ExitStack] | None = getattr(sync_engine.dialect, _INSTRUMENTED, None)
        if known is not None:
            return known[0]
        undo = _instrument(sync_engine)
        if spans is not None:
            undo.callback(spans.trace(sync_engine).close)
        registration = _handle_of(undo)
        setattr(sync_engine.dialect, _INSTRUMENTED, (registration, undo))
        return registration


def _handle_of(undo: ExitStack) -> Registration:
    # What undoes holds the engine, and the engine it; from outside nobody does.
    reference = weakref.ref(undo)

    def close() -> None:
        living = reference()
        if living is not None:
            with late_warnings, _lock:
                living.close()

    return Registration(close)


def _instrument(engine: Engine) -> ExitStack:
    from sqlalchemy import event

    identity = identify(engine)
    undo = ExitStack()
    undo.callback(release, identity)

    dialect = Patches(engine.dialect)
    transactions = Transactions(identity, autocommit_reader(engine.dialect))
    undo.callback(wrap_statements(dialect, identity))
    wrap_transactions(dialect, transactions)
    undo.callback(setattr, transactions, "closed", True)
    undo.callback(dialect.undo)

    checkouts = Checkouts(identity.pool_name)
    checkouts.attach(engine.pool)
    undo.callback(checkouts.close)

    # Listeners live on in the pools that replace this one, and are removed by the pool they came to first.
    pool: Any = engine.pool
    for name, listener in (
        ("checkin", checkouts.returned),
        ("detach", checkouts.returned),
        ("invalidate", transactions.lost),
    ):
        event.listen(pool, name, listener)
        undo.callback(event.remove, pool, name, listener)

    observed = _observe(engine, identity, checkouts.taken)
    finalizer = weakref.finalize(engine, observed)
    finalizer.atexit = False
    undo.callback(finalizer)
    undo.callback(vars(engine.dialect).pop, _INSTRUMENTED, None)
    return undo


def _observe(engine: Engine, identity: Identity, taken: Sized) -> Callable[[], None]:
    # The sources are kept by the process, so they must keep neither the engine nor its pool, whose
    # listeners lead back to the engine.
    reference = weakref.ref(engine)

    def read() -> PoolSize | None:
        living = reference()
        return None if living is None else pool_size(living.pool, len(taken))

    def count() -> list[tuple[float, Attributes]]:
        size = read()
        if size is None:
            return []
        states: dict[str, int | None] = {"used": size.used, "idle": size.idle}
        return [
            (number, {"db.client.connection.state": state}) for state, number in states.items() if number is not None
        ]

    def maximum() -> list[tuple[float, Attributes]]:
        size = read()
        return [] if size is None or size.maximum is None else [(size.maximum, {})]

    attributes = {"db.client.connection.pool.name": identity.pool_name}
    key = ("sqlalchemy", identity.pool_name)
    counts = records.CONNECTION_COUNT.observe(key, count, attributes)
    limits = records.CONNECTION_MAX.observe(key, maximum, attributes)

    def close() -> None:
        counts.close()
        limits.close()
        for recorder in _OF_POOLS:
            recorder.remove(attributes)

    return close
