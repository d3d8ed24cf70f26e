"""Times transactions, from the dialect's begin to its commit or rollback.

The begin is kept in the info dictionary of the database connection, which SQLAlchemy empties when the
connection is replaced. An end without a begin is no transaction: the pool rolls back every connection
that is returned to it. Savepoints take another way through the dialect and are not seen here.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.domains.database.records import METER, TRANSACTION_DURATION
from otelbridge.instrumentation.sqlalchemy.series import Series

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.instrumentation.patches import Patches
    from otelbridge.instrumentation.sqlalchemy.identity import Identity

_BEGAN = "otelbridge.transaction"


class Transactions:
    """The transactions of one engine.

    Args:
        identity: The database of the engine.
        autocommit: Tells whether a connection is in autocommit mode, where SQLAlchemy begins and commits
            but the database does not.
    """

    def __init__(self, identity: Identity, autocommit: Callable[[Any], bool]) -> None:
        self._series = {
            outcome: Series(TRANSACTION_DURATION, {**identity.attributes, "db.client.transaction.outcome": outcome})
            for outcome in ("commit", "rollback")
        }
        self._autocommit = autocommit
        self.closed = False

    def begun(self, connection: Any) -> None:
        """Keep the begin of a transaction. Never raises."""
        if self.closed or not METER.active:
            return
        info = _info(connection)
        if info is not None:
            info[_BEGAN] = perf_counter()

    def ending(self, connection: Any) -> float | None:
        """Take the begin of a transaction off its connection, before the database is told to end it.

        Returns:
            The begin, or None where no transaction is open. Never raises.
        """
        info = _info(connection)
        begin: float | None = None if info is None else info.pop(_BEGAN, None)
        if begin is None or self.closed:
            return None
        try:
            return None if self._autocommit(connection) else begin
        except Exception:  # a broken connection may answer no question; it had a transaction all the same
            return begin

    def ended(self, begin: float | None, outcome: str) -> None:
        """Record a transaction. Never raises."""
        if begin is not None:
            self._series[outcome].record(perf_counter() - begin)

    def lost(self, _connection: Any, record: Any, _error: Any) -> None:
        """Record the rollback that breaking a connection off amounts to; a listener of the pool."""
        try:
            self.ended(None if self.closed else record.info.pop(_BEGAN, None), "rollback")
        except Exception as error:
            warn_once(("sqlalchemy", "transaction"), "Recording a lost transaction raised %r.", error)


def _info(connection: Any) -> dict[Any, Any] | None:
    try:
        return connection.info
    except Exception:  # connections of SQLAlchemy's own, made for its first look at a server, have none
        return None


def wrap_transactions(patches: Patches, transactions: Transactions) -> None:
    """Time the transactions of a dialect.

    Args:
        patches: Those of the dialect.
        transactions: What records them.
    """
    patches.wrap("do_begin", lambda original: _begin(original, transactions))
    patches.wrap("do_commit", lambda original: _end(original, transactions, "commit"))
    patches.wrap("do_rollback", lambda original: _end(original, transactions, "rollback"))
    patches.wrap("do_begin_twophase", lambda original: _begin_twophase(original, transactions))
    patches.wrap("do_commit_twophase", lambda original: _end_twophase(original, transactions, "commit"))
    patches.wrap("do_rollback_twophase", lambda original: _end_twophase(original, transactions, "rollback"))


def _begin(original: Any, transactions: Transactions) -> Any:
    def do_begin(dbapi_connection: Any) -> Any:
        transactions.begun(dbapi_connection)
        return original(dbapi_connection)

    return do_begin


def _end(original: Any, transactions: Transactions, outcome: str) -> Any:
    def end(dbapi_connection: Any) -> Any:
        begin = transactions.ending(dbapi_connection)
        try:
            result = original(dbapi_connection)
        except BaseException:
            # What could not be committed is undone by the server, at once or with the connection.
            transactions.ended(begin, "rollback")
            raise
        transactions.ended(begin, outcome)
        return result

    return end


def _begin_twophase(original: Any, transactions: Transactions) -> Any:
    def do_begin_twophase(connection: Any, xid: Any) -> Any:
        transactions.begun(_pooled(connection))
        return original(connection, xid)

    return do_begin_twophase


def _end_twophase(original: Any, transactions: Transactions, outcome: str) -> Any:
    # Dialects end a prepared transaction by statements and then call do_rollback to leave the
    # connection clean; that the begin is gone by then keeps this from counting twice.
    def end_twophase(connection: Any, xid: Any, is_prepared: bool = True, recover: bool = False) -> Any:
        begin = transactions.ending(_pooled(connection))
        try:
            result = original(connection, xid, is_prepared, recover)
        except BaseException:
            transactions.ended(begin, "rollback")
            raise
        transactions.ended(begin, outcome)
        return result

    return end_twophase


def _pooled(connection: Any) -> Any:
    try:
        return connection.connection
    except Exception:  # closed or broken; the dialect's own call will say so
        return None
