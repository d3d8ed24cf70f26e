"""Databases and caches: operations, transactions, connection pools, hits and misses.

``db.client.operation.duration`` is a stable semantic convention, ``db.client.connection.*`` are in
development there; transactions and caches have no convention yet.
"""

from __future__ import annotations

from otelbridge.catalogue.attributes import ERROR_TYPE
from otelbridge.catalogue.buckets import DB
from otelbridge.catalogue.model import Attribute, Domain, Kind, Metric

_SYSTEM = Attribute(
    "db.system.name",
    "The database product, as the client knows it.",
    values=(
        "postgresql",
        "mysql",
        "mariadb",
        "sqlite",
        "microsoft.sql_server",
        "oracle.db",
        "cockroachdb",
        "clickhouse",
        "mongodb",
        "redis",
        "elasticsearch",
        "other_sql",
    ),
    example="postgresql",
)
_NAMESPACE = Attribute("db.namespace", "Name of the database within its server.", example="shop")
_OPERATION = Attribute("db.operation.name", "Name of the operation or command.", example="SELECT")
_COLLECTION = Attribute("db.collection.name", "The one table or collection that is worked on.", example="orders")
_STATUS_CODE = Attribute(
    "db.response.status_code", "Code with which the database refused, where it gave one.", example="23505"
)
_SERVER_ADDRESS = Attribute("server.address", "Host of the database, as the client names it.", example="localhost")
_SERVER_PORT = Attribute("server.port", "Port of the database, where the client names one.", type="int", example=5432)
_POOL = Attribute(
    "db.client.connection.pool.name",
    "Name of the connection pool, unique within the application.",
    example="localhost:5432/shop",
)
_STATE = Attribute(
    "db.client.connection.state",
    "State of the connections that are counted.",
    values=("used", "idle"),
    closed=True,
    example="used",
)
_OUTCOME = Attribute(
    "db.client.transaction.outcome",
    "How the transaction ended.",
    values=("commit", "rollback"),
    closed=True,
    example="commit",
)
_CACHE = Attribute("cache.name", "Name of the cache, chosen by the application.", example="sessions")
_RESULT = Attribute(
    "cache.result",
    "Whether the entry was there.",
    values=("hit", "miss"),
    closed=True,
    example="hit",
)

OPERATION_DURATION = Metric(
    id="D1",
    name="db.client.operation.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Duration of database client operations.",
    attributes=(
        *(_SYSTEM, _NAMESPACE, _SERVER_ADDRESS, _SERVER_PORT),
        *(_OPERATION, _COLLECTION, _STATUS_CODE, ERROR_TYPE),
    ),
    buckets=DB,
    convention="semconv",
    answers=("002-M25", "002-M26", "003-M11", "004-M22"),
)
CONNECTION_COUNT = Metric(
    id="D2",
    name="db.client.connection.count",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{connection}",
    brief="The number of connections that are currently in the state described by the attribute.",
    attributes=(_POOL, _STATE),
    convention="semconv",
    answers=("002-M22", "002-M23", "003-M10", "004-M21"),
)
CONNECTION_MAX = Metric(
    id="D3",
    name="db.client.connection.max",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{connection}",
    brief="The maximum number of open connections allowed.",
    attributes=(_POOL,),
    convention="semconv",
    answers=("002-M24", "003-M10", "003-M29", "004-M21"),
)
CONNECTION_PENDING_REQUESTS = Metric(
    id="D4",
    name="db.client.connection.pending_requests",
    kind=Kind.UP_DOWN_COUNTER,
    unit="{request}",
    brief="The number of current pending requests for an open connection.",
    attributes=(_POOL,),
    convention="semconv",
    merge="livesum",
)
CONNECTION_TIMEOUTS = Metric(
    id="D5",
    name="db.client.connection.timeouts",
    kind=Kind.COUNTER,
    unit="{timeout}",
    brief="The number of timeouts that occurred trying to obtain a connection from the pool.",
    attributes=(_POOL,),
    convention="semconv",
)
CONNECTION_WAIT_TIME = Metric(
    id="D6",
    name="db.client.connection.wait_time",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="The time it took to obtain an open connection from the pool.",
    attributes=(_POOL,),
    buckets=DB,
    convention="semconv",
)
CONNECTION_CREATE_TIME = Metric(
    id="D7",
    name="db.client.connection.create_time",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="The time it took to create a new connection.",
    attributes=(_POOL,),
    buckets=DB,
    convention="semconv",
)
CONNECTION_USE_TIME = Metric(
    id="D8",
    name="db.client.connection.use_time",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="The time between borrowing a connection and returning it to the pool.",
    attributes=(_POOL,),
    buckets=DB,
    convention="semconv",
)
TRANSACTION_DURATION = Metric(
    id="D9",
    name="db.client.transaction.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Duration of database transactions, from begin to commit or rollback.",
    attributes=(_SYSTEM, _NAMESPACE, _SERVER_ADDRESS, _SERVER_PORT, _OUTCOME),
    buckets=DB,
    answers=("002-M27",),
)
CACHE_REQUESTS = Metric(
    id="K1",
    name="cache.requests",
    kind=Kind.COUNTER,
    unit="{request}",
    brief="Look-ups in a cache, by whether the entry was there.",
    attributes=(_CACHE, _RESULT),
    answers=("002-M28", "002-M29", "004-M6", "004-M7", "004-M14"),
)
CACHE_ENTRY_COUNT = Metric(
    id="K2",
    name="cache.entry.count",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{entry}",
    brief="Entries a cache holds.",
    attributes=(_CACHE,),
    answers=("002-M12", "002-M30"),
)
CACHE_MEMORY_USAGE = Metric(
    id="K3",
    name="cache.memory.usage",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="By",
    brief="Memory a cache occupies.",
    attributes=(_CACHE,),
    answers=("002-M31",),
)

DOMAIN = Domain(
    "database",
    "Database operations, transactions, connection pools and caches.",
    metrics=(
        OPERATION_DURATION,
        CONNECTION_COUNT,
        CONNECTION_MAX,
        CONNECTION_PENDING_REQUESTS,
        CONNECTION_TIMEOUTS,
        CONNECTION_WAIT_TIME,
        CONNECTION_CREATE_TIME,
        CONNECTION_USE_TIME,
        TRANSACTION_DURATION,
        CACHE_REQUESTS,
        CACHE_ENTRY_COUNT,
        CACHE_MEMORY_USAGE,
    ),
)
