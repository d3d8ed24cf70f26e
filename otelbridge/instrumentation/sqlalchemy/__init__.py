"""SQLAlchemy engines, sync and async, from version 1.4: statements, transactions and connection pools."""

from __future__ import annotations

from otelbridge.instrumentation.sqlalchemy.engines import instrument_engine
from otelbridge.instrumentation.sqlalchemy.spans import instrument_spans

__all__ = ["instrument_engine", "instrument_spans"]
