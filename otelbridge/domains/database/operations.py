"""Single operations and transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.domains.database.records import METER, OPERATION_DURATION, TRANSACTION_DURATION
from otelbridge.domains.operation import Operation, error_type

if TYPE_CHECKING:
    from typing_extensions import Self


class DatabaseOperation(Operation):
    """One operation of a database client; made by `operation`."""

    __slots__ = ("_collection", "_name", "_namespace", "_system")

    def __init__(self, name: str, system: str, namespace: str | None, collection: str | None) -> None:
        super().__init__()
        self._name = name
        self._system = system
        self._namespace = namespace
        self._collection = collection

    def _again(self) -> Self:
        return type(self)(self._name, self._system, self._namespace, self._collection)

    def _active(self) -> bool:
        return METER.active

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        OPERATION_DURATION.record(
            seconds,
            {
                "db.system.name": self._system,
                "db.namespace": self._namespace,
                "db.operation.name": self._name,
                "db.collection.name": self._collection,
                "error.type": None if error is None else error_type(error),
            },
        )


class Transaction(Operation):
    """One transaction; made by `transaction`. An exception that leaves the block is a rollback."""

    __slots__ = ("_namespace", "_rolled_back", "_system")

    def __init__(self, system: str, namespace: str | None) -> None:
        super().__init__()
        self._system = system
        self._namespace = namespace
        self._rolled_back = False

    def rolled_back(self) -> None:
        """Say that the transaction was rolled back although no exception leaves the block."""
        self._rolled_back = True

    def _again(self) -> Self:
        return type(self)(self._system, self._namespace)

    def _active(self) -> bool:
        return METER.active

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        failed, self._rolled_back = self._rolled_back or error is not None, False
        TRANSACTION_DURATION.record(
            seconds,
            {
                "db.system.name": self._system,
                "db.namespace": self._namespace,
                "db.client.transaction.outcome": "rollback" if failed else "commit",
            },
        )


def operation(
    name: str, *, system: str, namespace: str | None = None, collection: str | None = None
) -> DatabaseOperation:
    """Time one database operation into ``db.client.operation.duration``, in seconds.

    The result is a context manager, sync and async, and a decorator. A failure is recorded with
    ``error.type``, the class of the exception, and raised on.

    Args:
        name: Name of the operation or command, for instance ``SELECT`` or ``HMSET``. Never a whole query.
        system: The database product, as ``db.system.name`` spells it, for instance ``redis``.
        namespace: Name of the database within its server.
        collection: The one table or collection that is worked on.

    Returns:
        The operation, not yet started.
    """
    return DatabaseOperation(name, system, namespace, collection)


def transaction(*, system: str, namespace: str | None = None) -> Transaction:
    """Time one transaction into ``db.client.transaction.duration``, in seconds.

    The result is a context manager, sync and async, and a decorator. It only records: beginning and
    ending the transaction stays with the caller.

    Args:
        system: The database product, as ``db.system.name`` spells it, for instance ``postgresql``.
        namespace: Name of the database within its server.

    Returns:
        The transaction, not yet started. It counts as a rollback when an exception leaves the block or
        after `Transaction.rolled_back`, else as a commit.
    """
    return Transaction(system, namespace)
