"""Works with one database through whatever SQLAlchemy is first on the path; prints what was recorded.

Run as a program with the URL of a database; the test beside it runs it under several versions. With the word ``found``
behind it the engine is not given, but found.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import sqlalchemy
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, exc, select, text
from sqlalchemy.pool import QueuePool

from otelbridge.instrumentation.sqlalchemy import EngineFinder, EngineSpans, instrument_engine
from otelbridge.metrics.switch import switch

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

schema = MetaData()
goods = Table("goods", schema, Column("id", Integer, primary_key=True, autoincrement=False), Column("name", String(20)))


def create(connection: Connection) -> None:
    schema.drop_all(connection, checkfirst=False)
    schema.create_all(connection, checkfirst=False)


def write(connection: Connection) -> None:
    connection.execute(goods.insert().values(id=1, name="a"))
    connection.execute(goods.insert(), [{"id": 2, "name": "b"}, {"id": 3, "name": "c"}])
    connection.execute(goods.update().where(goods.c.id == 1).values(name="z"))
    with connection.begin_nested():
        connection.execute(goods.delete().where(goods.c.id == 3))
    connection.execute(select(goods.c.id)).all()


def query(connection: Connection) -> None:
    connection.execute(text("select 1")).all()


def fail(connection: Connection) -> None:
    connection.execute(goods.insert().values(id=1, name="again"))


def run_sync(url: str, record: Callable[[Any], object]) -> tuple[Any, Callable[[], None]]:
    engine = create_engine(url, future=True, poolclass=QueuePool, pool_size=2, max_overflow=3)
    with engine.begin() as connection:
        goods.create(connection, checkfirst=True)
    record(engine)
    with engine.begin() as connection:
        create(connection)
    with engine.begin() as connection:
        write(connection)
    with engine.connect() as connection:
        query(connection)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        query(connection)
    try:
        with engine.begin() as connection:
            fail(connection)
    except exc.IntegrityError:
        pass
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            for outcome in ("commit", "rollback"):
                transaction = connection.begin_twophase()
                query(connection)
                transaction.prepare()
                getattr(transaction, outcome)()
    engine.dispose()

    def once() -> None:
        with engine.connect() as connection:
            query(connection)

    once()
    return engine, once


async def run_async(url: str, record: Callable[[Any], object]) -> tuple[Any, Callable[[], None]]:
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import AsyncAdaptedQueuePool

    engine = create_async_engine(url, future=True, poolclass=AsyncAdaptedQueuePool, pool_size=2, max_overflow=3)
    async with engine.begin() as connection:
        await connection.run_sync(lambda sync: goods.create(sync, checkfirst=True))
    record(engine)
    async with engine.begin() as connection:
        await connection.run_sync(create)
    async with engine.begin() as connection:
        await connection.run_sync(write)
    async with engine.connect() as connection:
        await connection.run_sync(query)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.run_sync(query)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(fail)
    except exc.IntegrityError:
        pass
    await engine.dispose()
    async with engine.connect() as connection:
        await connection.run_sync(query)
    await engine.dispose()
    return engine, lambda: asyncio.run(_once(engine))


async def _once(engine: Any) -> None:
    async with engine.connect() as connection:
        await connection.run_sync(query)
    await engine.dispose()


def recorded(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """Counts of histograms and values of the others, by metric and attributes."""
    data = reader.get_metrics_data()
    found: dict[str, list[Any]] = {}
    for metric in (m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics):
        histogram = isinstance(metric.data, Histogram)
        points = [
            [dict(point.attributes or {}), point.count if histogram else point.value]
            for point in metric.data.data_points
        ]
        found[metric.name] = sorted(points, key=str)
    return found


def find(_engine: Any) -> None:
    EngineFinder(instrument_engine)


RECORD: dict[str, Callable[[Any], object]] = {"given": instrument_engine, "found": find}


def main(url: str, how: str = "given") -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("otelbridge").addHandler(handler)

    reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    switch.connect(provider)
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))

    asynchronous = sqlalchemy.engine.make_url(url).get_dialect().is_async
    engine, once = asyncio.run(run_async(url, RECORD[how])) if asynchronous else run_sync(url, RECORD[how])
    result = {"version": sqlalchemy.__version__, "metrics": recorded(reader)}

    spans_of_engines = EngineSpans(tracers)
    spans_of_engines.trace(engine)
    once()
    spans_of_engines.close()
    result["spans"] = sorted(span.name for span in spans.get_finished_spans())
    result["names"] = sorted(recorded(reader))
    result["log"] = lines
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
