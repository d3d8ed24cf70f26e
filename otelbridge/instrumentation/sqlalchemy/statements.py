"""Times what an engine executes, where its dialect hands the statement to the driver.

Wrapping the dialect costs about a microsecond a statement; SQLAlchemy's own event hooks, which do the
same, cost nine. Everything that can be known before is worked out once a statement and kept.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.domains.database.records import OPERATION_DURATION
from otelbridge.instrumentation.sqlalchemy.failures import failure_attributes
from otelbridge.instrumentation.sqlalchemy.series import Series
from otelbridge.instrumentation.sqlalchemy.sqltext import MAX_TEXT, Summary, summarize

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.instrumentation.patches import Patches
    from otelbridge.instrumentation.sqlalchemy.identity import Identity

MAX_STATEMENTS = 1000
"""Texts that are remembered. Applications that write values into their statements have no end of them."""

MAX_CLASSES = 500
"""Pairs of operation and table that get series of their own, an engine."""


class StatementClass:
    """All statements of one operation on one table: what they record, and nothing else.

    Args:
        attributes: What all of them carry.
        system: The ``db.system.name`` of the engine.
    """

    __slots__ = ("_attributes", "_system", "succeeded")

    def __init__(self, attributes: dict[str, str | int], system: str) -> None:
        self._attributes = attributes
        self._system = system
        self.succeeded = Series(OPERATION_DURATION, attributes).record
        """Record the seconds of one execution."""

    def failed(self, seconds: float, error: BaseException) -> None:
        """Record one execution that raised."""
        OPERATION_DURATION.record(seconds, {**self._attributes, **failure_attributes(error, self._system)})


class Statements:
    """The statements of one engine, executed one at a time or in batches.

    Args:
        identity: The database of the engine.
        prefix: What the operation name starts with.
    """

    def __init__(self, identity: Identity, prefix: str = "") -> None:
        self._identity = identity
        self._prefix = prefix
        self._by_text: dict[str, StatementClass] = {}
        self._classes: dict[Summary, StatementClass] = {}
        self.closed = False

    def succeeded(self, statement: str, seconds: float) -> None:
        """Record one execution. Never raises."""
        if self.closed:
            return
        try:
            (self._by_text.get(statement) or self._classify(statement)).succeeded(seconds)
        except Exception as error:  # telemetry never raises into the application
            _report(error)

    def failed(self, statement: str, seconds: float, failure: BaseException) -> None:
        """Record one execution that raised. Never raises itself."""
        if self.closed:
            return
        try:
            (self._by_text.get(statement) or self._classify(statement)).failed(seconds, failure)
        except Exception as error:
            _report(error)

    def _classify(self, statement: str) -> StatementClass:
        found = self._class_of(summarize(statement, self._identity.system))
        if len(statement) <= MAX_TEXT:
            if len(self._by_text) >= MAX_STATEMENTS:
                self._by_text.clear()
            self._by_text[statement] = found
        return found

    def _class_of(self, summary: Summary) -> StatementClass:
        known = self._classes.get(summary)
        if known is not None:
            return known
        if len(self._classes) >= MAX_CLASSES:
            # Statements still count, under their operation alone where that is known already.
            unnamed = Summary(summary.operation, None)
            summary = unnamed if unnamed in self._classes else Summary(None, None)
        return self._classes.setdefault(summary, self._new_class(summary))

    def _new_class(self, summary: Summary) -> StatementClass:
        attributes = self._identity.attributes
        if summary.operation:
            attributes["db.operation.name"] = f"{self._prefix}{summary.operation}"
        if summary.collection:
            attributes["db.collection.name"] = summary.collection
        return StatementClass(attributes, self._identity.system)


def wrap_statements(patches: Patches, identity: Identity) -> Callable[[], None]:
    """Time the statements of a dialect.

    Args:
        patches: Those of the dialect.
        identity: The database of its engine.

    Returns:
        What stops the recording, even where the wrappers cannot be taken off.
    """
    single, batch = Statements(identity), Statements(identity, "BATCH ")
    patches.wrap("do_execute", lambda original: _timed(original, single))
    patches.wrap("do_execute_no_params", lambda original: _timed_without_parameters(original, single))
    patches.wrap("do_executemany", lambda original: _timed_batch(original, single, batch))

    def stop() -> None:
        single.closed = batch.closed = True

    return stop


def _timed(original: Any, statements: Statements) -> Any:
    def do_execute(cursor: Any, statement: Any, parameters: Any, context: Any = None) -> Any:
        begin = perf_counter()
        try:
            result = original(cursor, statement, parameters, context)
        except BaseException as error:
            statements.failed(statement, perf_counter() - begin, error)
            raise
        statements.succeeded(statement, perf_counter() - begin)
        return result

    return do_execute


def _timed_without_parameters(original: Any, statements: Statements) -> Any:
    def do_execute_no_params(cursor: Any, statement: Any, context: Any = None) -> Any:
        begin = perf_counter()
        try:
            result = original(cursor, statement, context)
        except BaseException as error:
            statements.failed(statement, perf_counter() - begin, error)
            raise
        statements.succeeded(statement, perf_counter() - begin)
        return result

    return do_execute_no_params


def _timed_batch(original: Any, single: Statements, batch: Statements) -> Any:
    def do_executemany(cursor: Any, statement: Any, parameters: Any, context: Any = None) -> Any:
        # The conventions call it a batch from two operations on.
        statements = batch if _length(parameters) > 1 else single
        begin = perf_counter()
        try:
            result = original(cursor, statement, parameters, context)
        except BaseException as error:
            statements.failed(statement, perf_counter() - begin, error)
            raise
        statements.succeeded(statement, perf_counter() - begin)
        return result

    return do_executemany


def _length(parameters: Any) -> int:
    try:
        return len(parameters)
    except Exception:  # a driver may take any iterable; one of unknown length is a batch
        return 2


def _report(error: Exception) -> None:
    warn_once(("sqlalchemy", "statement"), "Recording a SQLAlchemy statement raised %r; it is left out.", error)
