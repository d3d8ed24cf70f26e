"""SQLAlchemy engines, sync and async, from version 1.4: statements, transactions and connection pools."""

from __future__ import annotations

from otelbridge.instrumentation.sqlalchemy.engines import instrument_engine
from otelbridge.instrumentation.sqlalchemy.finding import EngineFinder
from otelbridge.instrumentation.sqlalchemy.spans import EngineSpans

__all__ = ["EngineFinder", "EngineSpans", "instrument_engine"]
