"""Connection pools."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from otelbridge.domains.database import records
from otelbridge.domains.operation import Operation
from otelbridge.domains.presence import Presence
from otelbridge.domains.timeouts import is_timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self


class _Waiting(Operation):
    """One wait for a connection."""

    __slots__ = ("_pool", "_presence")

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool
        self._presence = Presence(records.CONNECTION_PENDING_REQUESTS)

    def _again(self) -> Self:
        return type(self)(self._pool)

    def _active(self) -> bool:
        return records.METER.active

    def _started(self) -> None:
        self._presence.begin(self._pool.attributes)

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        self._presence.end()
        if error is None:
            records.CONNECTION_WAIT_TIME.record(seconds, self._pool.attributes)
        elif is_timeout(error):
            self._pool.timed_out()


class _Using(Operation):
    """One use of a connection."""

    __slots__ = ("_pool",)

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool

    def _again(self) -> Self:
        return type(self)(self._pool)

    def _active(self) -> bool:
        return records.METER.active

    def _finished(self, seconds: float, error: BaseException | None) -> None:  # noqa: ARG002  # used is used
        records.CONNECTION_USE_TIME.record(seconds, self._pool.attributes)


class Pool:
    """One connection pool; made by `pool`."""

    def __init__(
        self,
        name: str,
        used: Callable[[], int] | None,
        idle: Callable[[], int] | None,
        maximum: Callable[[], int] | int | None,
    ) -> None:
        self.attributes = {"db.client.connection.pool.name": name}
        self._sources = ExitStack()
        for state, source in (("used", used), ("idle", idle)):
            if source is not None:
                attributes = {**self.attributes, "db.client.connection.state": state}
                self._sources.callback(records.CONNECTION_COUNT.observe((name, state), source, attributes).close)
        if maximum is not None:
            limit = maximum if callable(maximum) else _constant(maximum)
            self._sources.callback(records.CONNECTION_MAX.observe(name, limit, self.attributes).close)

    def waiting(self) -> Operation:
        """Time one wait for a connection.

        The result is a context manager, sync and async, and a decorator. It counts as pending while it
        lasts; its seconds go to ``db.client.connection.wait_time``, and a timeout that leaves the block
        to ``db.client.connection.timeouts`` instead.
        """
        return _Waiting(self)

    def using(self) -> Operation:
        """Time one use of a connection into ``db.client.connection.use_time``, in seconds.

        The result is a context manager, sync and async, and a decorator.
        """
        return _Using(self)

    def timed_out(self) -> None:
        """Count one wait that ended in a timeout."""
        records.CONNECTION_TIMEOUTS.record(1, self.attributes)

    def created(self, seconds: float) -> None:
        """Record that a connection was opened.

        Args:
            seconds: How long opening it took.
        """
        records.CONNECTION_CREATE_TIME.record(seconds, self.attributes)

    def close(self) -> None:
        """Stop observing the counts. Closing twice is harmless."""
        self._sources.close()


def _constant(number: int) -> Callable[[], int]:
    return lambda: number


def pool(
    name: str,
    *,
    used: Callable[[], int] | None = None,
    idle: Callable[[], int] | None = None,
    maximum: Callable[[], int] | int | None = None,
) -> Pool:
    """Describe a connection pool.

    Args:
        name: Its name, unique within the application. A pool of the same name replaces the sources of
            the earlier one.
        used: Gives the connections in use; called at each collection.
        idle: Gives the connections that wait to be used; called at each collection.
        maximum: The most connections the pool may have open, or what gives it.

    Returns:
        The pool, whose methods record what the counts cannot tell.
    """
    return Pool(name, used, idle, maximum)
