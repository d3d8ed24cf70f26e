"""Uses an engine that OpenTelemetry's own instrumentation of SQLAlchemy knows too; prints spans and metrics.

Run as a program with the URL of a database and words that say what happens, in their order.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import sqlalchemy
from opentelemetry import trace
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy.ext import asyncio as sqlalchemy_asyncio

import otelbridge


class Scene:
    """An application that does one thing after the other."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: Any = None
        self.bridge: Any = None
        self.handle: Any = None

    def init(self, **settings: Any) -> None:
        self.bridge = otelbridge.init(
            prometheus=otelbridge.PrometheusOptions(mode="server", port=0), workers="separate", **settings
        )

    def init_traces(self) -> None:
        self.init(traces=True)

    def theirs(self) -> None:
        SQLAlchemyInstrumentor().instrument()

    def theirs_with_engine(self) -> None:
        SQLAlchemyInstrumentor().instrument(engine=getattr(self.engine, "sync_engine", self.engine))

    def make(self) -> None:
        if "+aiosqlite" in self.url:
            self.engine = sqlalchemy_asyncio.create_async_engine(self.url)
        else:
            self.engine = sqlalchemy.create_engine(self.url)

    def give(self) -> None:
        self.handle = self.bridge.instrument_engine(self.engine)

    def take(self) -> None:
        self.handle.close()

    def use(self) -> None:
        if hasattr(self.engine, "sync_engine"):
            asyncio.run(self._use())
            return
        with self.engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))

    async def _use(self) -> None:
        async with self.engine.connect() as connection:
            await connection.execute(sqlalchemy.text("SELECT 1"))
        await self.engine.dispose()

    def end(self) -> None:
        otelbridge.shutdown()


def main(url: str, *words: str) -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("otelbridge").addHandler(handler)
    spans = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(tracers)
    scene = Scene(url)
    for word in words:
        getattr(scene, word)()
    page = scene.bridge.render()
    start = "db_client_operation_duration_seconds_count{"
    result = {
        "spans": [span.name for span in spans.get_finished_spans() if span.name.startswith("SELECT")],
        "statements": sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(start)),
        "metrics": sorted({line.split(" ")[2] for line in page.splitlines() if line.startswith("# TYPE db_")}),
        "log": [line for line in lines if "SQLAlchemy" in line],
    }
    otelbridge.shutdown()
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
