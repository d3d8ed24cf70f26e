"""Whether a database connection is in autocommit mode, as its driver knows without asking the server.

SQLAlchemy can tell only from version 2.0.43 on, and for one driver by a query of its own; so the drivers
are listed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Dialect

AUTOCOMMIT = "AUTOCOMMIT"


def autocommit_reader(dialect: Dialect) -> Callable[[Any], bool]:
    """Give what tells autocommit for the connections of a dialect.

    Args:
        dialect: The dialect of an engine.

    Returns:
        A function of the pooled connection. For a driver that is not known it answers as the engine was
        created, so that a level chosen for single connections goes unseen there.
    """
    known = _READERS.get(dialect.driver)
    if known is not None:
        return known
    # 1.4 keeps the engine's level under another name.
    level = getattr(dialect, "_on_connect_isolation_level", None) or getattr(dialect, "isolation_level", None)
    fixed = level == AUTOCOMMIT
    return lambda _connection: fixed


def _attribute(connection: Any) -> bool:
    return bool(connection.autocommit)


def _method(connection: Any) -> bool:
    return bool(_of_driver(connection).get_autocommit())


def _sqlite(connection: Any) -> bool:
    # Without an isolation level the driver begins nothing by itself, but the application may.
    driver = _of_driver(connection)
    begins = driver.isolation_level is not None and getattr(driver, "autocommit", None) is not True
    return not begins and not driver.in_transaction


def _of_driver(connection: Any) -> Any:
    # What SQLAlchemy puts before an async driver passes on a part of what that can tell. The first versions of 1.4
    # do not lead to it.
    return getattr(connection, "driver_connection", None) or getattr(connection, "_connection", connection)


_READERS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "asyncpg", "pg8000"), _attribute),
    **dict.fromkeys(("pyodbc", "aioodbc", "cx_oracle", "oracledb", "oracledb_async"), _attribute),
    **dict.fromkeys(("mysqldb", "pymysql", "aiomysql", "asyncmy", "cymysql"), _method),
    **dict.fromkeys(("pysqlite", "aiosqlite", "pysqlcipher"), _sqlite),
}
