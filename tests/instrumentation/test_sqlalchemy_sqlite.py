"""Who begins a transaction in SQLite: the driver, SQLAlchemy's recipe for applications that do it, or nobody."""

import sys

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool, QueuePool

from otelbridge.instrumentation.sqlalchemy import instrument_engine

TRANSACTION = "db.client.transaction.duration"

# From Python 3.12 on the driver has a second way to say so, of which aiosqlite tells nothing.
AUTOCOMMIT = [{"isolation_level": None}, *([{"autocommit": True}] if sys.version_info >= (3, 12) else [])]


def recipe(engine):
    """What SQLAlchemy documents for transactions that are whole, from the first statement on."""

    @event.listens_for(engine, "connect")
    def connected(connection, _record):
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begun(connection):
        connection.exec_driver_sql("BEGIN")


def outcomes(recorded):
    return {a["db.client.transaction.outcome"]: count for a, (count, _) in recorded.points(TRANSACTION)}


@pytest.fixture(params=["sqlite", "sqlite+aiosqlite"])
def work(request, recorded, tmp_path):
    """Makes an instrumented engine, sync or async, and works in one transaction after the other."""
    asynchronous = request.param == "sqlite+aiosqlite"

    async def work(prepare, *outcomes, level=None, **options):
        make = create_async_engine if asynchronous else create_engine
        engine = make(f"{request.param}:///{tmp_path}/shop.db", poolclass=NullPool, **options)
        prepare(engine.sync_engine if asynchronous else engine)
        registration = instrument_engine(engine)
        for outcome in outcomes:
            if asynchronous:
                async with engine.connect() as connection:
                    if level is not None:
                        await connection.execution_options(isolation_level=level)
                    await connection.execute(text("CREATE TABLE IF NOT EXISTS t (x INTEGER)"))
                    await connection.execute(text("INSERT INTO t VALUES (1)"))
                    await getattr(connection, outcome)()
            else:
                with engine.connect() as connection:
                    if level is not None:
                        connection.execution_options(isolation_level=level)
                    connection.execute(text("CREATE TABLE IF NOT EXISTS t (x INTEGER)"))
                    connection.execute(text("INSERT INTO t VALUES (1)"))
                    getattr(connection, outcome)()
        if asynchronous:
            await engine.dispose()
        else:
            engine.dispose()
        registration.close()

    return work


async def test_the_driver_begins(recorded, work):
    await work(lambda engine: None, "commit", "rollback", "commit")
    assert outcomes(recorded) == {"commit": 2, "rollback": 1}


async def test_the_application_begins(recorded, work):
    await work(recipe, "commit", "rollback", "commit")
    assert outcomes(recorded) == {"commit": 2, "rollback": 1}


async def test_nobody_begins(recorded, work):
    await work(lambda engine: None, "commit", "rollback", connect_args={"isolation_level": None})
    assert outcomes(recorded) == {}


@pytest.mark.parametrize("arguments", AUTOCOMMIT)
def test_the_driver_says_that_nobody_begins(recorded, tmp_path, arguments):
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", connect_args=arguments)
    registration = instrument_engine(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
    registration.close()
    engine.dispose()
    assert outcomes(recorded) == {}


async def test_sqlalchemy_says_that_nobody_begins(recorded, work):
    await work(lambda engine: None, "commit", "rollback", isolation_level="AUTOCOMMIT")
    await work(lambda engine: None, "commit", "rollback", level="AUTOCOMMIT")
    assert outcomes(recorded) == {}


def test_a_connection_taken_out_of_the_pool_is_asked_all_the_same(recorded, tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", poolclass=QueuePool)
    recipe(engine)
    registration = instrument_engine(engine)
    with engine.begin() as connection:
        connection.detach()
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
    registration.close()
    engine.dispose()
    assert outcomes(recorded) == {"commit": 1}
