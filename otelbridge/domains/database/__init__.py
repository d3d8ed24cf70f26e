"""Databases and caches that are not instrumented automatically.

What SQLAlchemy executes is recorded by `otelbridge.instrumentation.sqlalchemy`; this is for the rest::

    with database.operation("GET", system="redis", namespace="0"):
        client.get(key)
"""

from __future__ import annotations

from otelbridge.domains.database.caches import Cache, cache
from otelbridge.domains.database.operations import DatabaseOperation, Transaction, operation, transaction
from otelbridge.domains.database.pools import Pool, pool

__all__ = ["Cache", "DatabaseOperation", "Pool", "Transaction", "cache", "operation", "pool", "transaction"]
