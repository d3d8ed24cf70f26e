"""What recording adds to a statement that SQLAlchemy executes."""

from __future__ import annotations

import gc
import statistics
import time
from typing import TYPE_CHECKING, Any

from benchmarks import ours
from benchmarks.model import OURS, Effort, Figure, UnmeasuredError
from benchmarks.peers import create_sdk, readers

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.model import Sampler

    Instrument = Callable[[Any], None]
    Run = Callable[[Any, int], float]

OFFICIAL = "official instrumentation, 2 readers (connection counts only)"

_CHUNKS = 10


def _create_engine() -> Any:
    try:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import QueuePool
    except ImportError as error:
        raise UnmeasuredError("the library is not installed: pip install sqlalchemy") from error

    # The pool that database servers get, so that its checkouts are recorded as they would be.
    return create_engine("sqlite://", poolclass=QueuePool, pool_size=1, connect_args={"check_same_thread": False})


def _held(engine: Any, count: int) -> float:
    from sqlalchemy import text

    query = text("SELECT 1")
    with engine.connect() as connection:
        begin = time.thread_time()
        for _ in range(count):
            connection.execute(query).scalar()
        return time.thread_time() - begin


def _checked_out(engine: Any, count: int) -> float:
    from sqlalchemy import text

    query = text("SELECT 1")
    begin = time.thread_time()
    for _ in range(count):
        with engine.connect() as connection:
            connection.execute(query).scalar()
    return time.thread_time() - begin


def _multiple(instrument: Instrument, run: Run) -> Callable[[Effort], Sampler]:
    def prepare(effort: Effort) -> Sampler:
        bare, recorded = _create_engine(), _create_engine()
        instrument(recorded)
        count = max(20, effort.requests // 2)

        def sample() -> float:
            gc.collect()
            return statistics.median(1 / (run(bare, count) / run(recorded, count)) for _ in range(_CHUNKS))

        sample()
        return sample

    return prepare


def _ours(engine: Any) -> None:
    ours.start(engine=engine)


def _official(engine: Any) -> None:
    try:
        from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    except ImportError as error:
        raise UnmeasuredError("the peer is not installed: opentelemetry-instrumentation-sqlalchemy") from error
    from opentelemetry.trace import NoOpTracerProvider

    # It refuses SQLAlchemy 2.1 and works with it nevertheless; refusing would be a nought to compare with.
    SQLAlchemyInstrumentor().instrument(
        skip_dep_check=True,
        engine=engine,
        meter_provider=create_sdk(readers(2)),
        tracer_provider=NoOpTracerProvider(),
    )


FIGURES = tuple(
    Figure(
        f"sqlalchemy.{name}",
        f"A statement on SQLite in memory{how}, with its duration recorded, as a multiple of one without",
        "x",
        {OURS: _multiple(_ours, run), OFFICIAL: _multiple(_official, run)},
    )
    for name, how, run in (
        ("statement", "", _held),
        ("checkout", " with a connection taken from the pool for it", _checked_out),
    )
)
