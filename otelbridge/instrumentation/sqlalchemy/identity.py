"""Which engine is meant, and which database it talks to, in the words of the conventions and without any secret."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from otelbridge.concurrency import forks
from otelbridge.errors import ConfigError, MissingDependencyError

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

_PORT = re.compile(r"([^:]+):(\d{1,5})")
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

    address: str | None = None
    """``server.address``: host or path of the socket, where the URL names one; the first of several."""

    port: int | None = None
    """``server.port``, where the URL names one."""

    @property
    def attributes(self) -> dict[str, str | int]:
        """What every operation and transaction of the engine carries."""
        said = {
            "db.system.name": self.system,
            "db.namespace": self.namespace,
            "server.address": self.address,
            "server.port": self.port,
        }
        return {key: value for key, value in said.items() if value}


def sync_engine_of(engine: Any) -> Engine:
    """Find the engine that owns dialect and pool.

    Args:
        engine: A sync, async or option engine.

    Returns:
        The sync engine it stands on.

    Raises:
        ConfigError: It is no engine.
        MissingDependencyError: SQLAlchemy is not installed.
    """
    try:
        from sqlalchemy.engine import Engine
    except ImportError as error:
        raise MissingDependencyError("Instrumenting a database engine", "sqlalchemy", "sqlalchemy") from error
    found = getattr(engine, "sync_engine", engine)
    if not isinstance(found, Engine):
        raise ConfigError(
            f"A {type(engine).__name__} is no SQLAlchemy engine",
            "Pass what create_engine or create_async_engine returned",
        )
    # Engine.execution_options gives a short-lived stand-in for an engine that lives on.
    while (owner := getattr(found, "_proxied", None)) is not None:
        found = owner
    return found


def identify(engine: Engine) -> Identity:
    """Name the database of an engine and reserve its pool name.

    Args:
        engine: The sync engine, no option engine.

    Returns:
        The names. Where another live engine has the pool name already, a number is added to it.
    """
    system = _SYSTEMS.get(engine.dialect.name, engine.dialect.name)
    namespace = _namespace(engine)
    address, port = _server(engine)
    place = f"{address}:{port}" if address and port else address
    wanted = "/".join(part for part in (place, namespace) if part) or system
    with _lock:
        name, number = wanted, 2
        while _names.get(name, engine) is not engine:
            name, number = f"{wanted}#{number}", number + 1
        _names[name] = engine
    return Identity(system, namespace, name, address, port)


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


def _server(engine: Engine) -> tuple[str | None, int | None]:
    url = engine.url
    host = url.host or _first(url.query.get("host")) or _first(url.query.get("unix_socket"))
    # Several hosts in one value, a socket's path, an account in front: what is no plain address is
    # shortened to its first part, so that nothing but an address can come along.
    host = (host or "").partition(",")[0].rpartition("@")[2]
    port = str(url.port or _first(url.query.get("port")) or "").partition(",")[0]
    # PostgreSQL's driver takes a port behind the host as well.
    behind = _PORT.fullmatch(host)
    if behind is not None and not port:
        host, port = behind.groups()
    return host or None, int(port) if host and port.isascii() and port.isdigit() else None


def _first(value: Any) -> str | None:
    if isinstance(value, (tuple, list)):
        return str(value[0]) if value else None  # pyright: ignore[reportUnknownArgumentType]
    return value
