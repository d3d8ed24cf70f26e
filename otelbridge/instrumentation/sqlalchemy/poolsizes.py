"""What each kind of pool can tell about its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.pool import Pool


class PoolSize(NamedTuple):
    """Connections of a pool. None is what the pool does not know."""

    used: int
    """Lent to somebody."""

    idle: int | None
    """Open and waiting."""

    maximum: int | None
    """The most it opens; None also for a pool without a limit."""


def pool_size(pool: Pool, taken: int) -> PoolSize:
    """Read a pool.

    Args:
        pool: The pool of an engine.
        taken: Connections that were seen to be lent, for pools that do not count.

    Returns:
        Its connections. Of a class that is not known, only the lent ones are told.
    """
    from sqlalchemy.pool import AssertionPool, NullPool, QueuePool, SingletonThreadPool, StaticPool

    readers: tuple[tuple[type[Pool], Callable[[Any, int], PoolSize]], ...] = (
        (QueuePool, _queue),
        (NullPool, _null),
        (StaticPool, _static),
        (SingletonThreadPool, _singleton),
        (AssertionPool, _assertion),
    )
    for kind, read in readers:
        if isinstance(pool, kind):
            return read(pool, taken)
    return PoolSize(taken, None, None)


def _queue(pool: Any, _taken: int) -> PoolSize:
    # There is no public reading of the overflow limit; -1 stands for none.
    overflow: int = pool._max_overflow
    limit = None if overflow < 0 else pool.size() + overflow
    return PoolSize(max(0, pool.checkedout()), pool.checkedin(), limit)


def _null(_pool: Any, taken: int) -> PoolSize:
    return PoolSize(taken, 0, None)


def _static(pool: Any, taken: int) -> PoolSize:
    # The attribute is made on first use; reading it would make one.
    own: dict[str, Any] = pool.__dict__
    record = own.get("connection")
    open_ = record is not None and record.dbapi_connection is not None
    used = min(1, taken)
    return PoolSize(used, 1 - used if open_ else 0, 1)


def _singleton(pool: Any, taken: int) -> PoolSize:
    return PoolSize(taken, max(0, len(pool._all_conns) - taken), pool.size)


def _assertion(pool: Any, taken: int) -> PoolSize:
    used = min(1, taken)
    return PoolSize(used, 1 - used if pool._conn is not None else 0, 1)
