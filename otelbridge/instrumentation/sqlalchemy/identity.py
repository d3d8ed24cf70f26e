"""Which database an engine talks to, in the words of the conventions and without any secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from otelbridge.concurrency import forks

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

_SYSTEMS = {
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mariadb",
    "sqlite": "sqlite",
    "mssql": "microsoft.sql_server",
    "oracle": "oracle.db",
    "cockroachdb": "cockroachdb",
    "redshift": "aws.redshift",
    "clickhouse": "clickhouse",
    "clickhousedb": "clickhouse",
    "hana": "sap.hana",
    "ibm_db_sa": "ibm.db2",
    "db2": "ibm.db2",
    "firebird": "firebirdsql",
    "spanner": "gcp.spanner",
    "spanner+spanner": "gcp.spanner",
    "teradatasql": "teradata",
    "trino": "trino",
}
"""Names of SQLAlchemy's dialects as ``db.system.name`` has them."""

_FILE_DATABASES = frozenset({"sqlite", "duckdb"})
_MEMORY = ":memory:"

_names: WeakValueDictionary[str, Engine] = WeakValueDictionary()
_lock = forks.lock()


@dataclass(frozen=True, slots=True)
class Identity:
    """The database of an engine."""

    system: str
    """``db.system.name``. A dialect the conventions do not know goes by its own name."""

    namespace: str | None
    """``db.namespace``: the database that the URL names; for a file its name without the directory."""

    pool_name: str
    """``db.client.connection.pool.name``: address, port and namespace, unique among live engines."""

    @property
    def attributes(self) -> dict[str, str]:
        """What every operation and transaction of the engine carries."""
        named = {"db.system.name": self.system}
        if self.namespace:
            named["db.namespace"] = self.namespace
        return named


def identify(engine: Engine) -> Identity:
    """Name the database of an engine and reserve its pool name.

    Args:
        engine: The sync engine, no option engine.

    Returns:
        The names. Where another live engine has the pool name already, a number is added to it.
    """
    system = _SYSTEMS.get(engine.dialect.name, engine.dialect.name)
    namespace = _namespace(engine)
    wanted = "/".join(part for part in (_address(engine), namespace) if part) or system
    with _lock:
        name, number = wanted, 2
        while _names.get(name, engine) is not engine:
            name, number = f"{wanted}#{number}", number + 1
        _names[name] = engine
    return Identity(system, namespace, name)


def release(identity: Identity) -> None:
    """Give a pool name back."""
    with _lock:
        _names.pop(identity.pool_name, None)


def _namespace(engine: Engine) -> str | None:
    database = engine.url.database
    if engine.dialect.name not in _FILE_DATABASES:
        return database or None
    if not database:
        return _MEMORY
    path = database.removeprefix("file:").partition("?")[0]
    return path.replace("\\", "/").rpartition("/")[2] or _MEMORY


def _address(engine: Engine) -> str:
    url = engine.url
    host = url.host or _first(url.query.get("host")) or _first(url.query.get("unix_socket"))
    # Several hosts in one value, a socket's path, an account in front: what is no plain address is
    # shortened to its first part, so that nothing but an address can come along.
    host = (host or "").partition(",")[0].rpartition("@")[2]
    port = url.port or _first(url.query.get("port"))
    return f"{host}:{port}" if host and port else host


def _first(value: Any) -> str | None:
    if isinstance(value, (tuple, list)):
        return str(value[0]) if value else None  # pyright: ignore[reportUnknownArgumentType]
    return value
