import asyncio

import pytest
from sqlalchemy import create_engine, exc, text
from sqlalchemy.ext.asyncio import create_async_engine

from otelbridge.instrumentation.sqlalchemy import instrument_engine
from tests.components import running

pytestmark = pytest.mark.components

OPERATION = "db.client.operation.duration"
TRANSACTION = "db.client.transaction.duration"
RUNNING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"


@pytest.fixture(params=["postgresql+psycopg", "postgresql+psycopg2"])
def engine(request, recorded, postgresql):
    engine = create_engine(postgresql.url(request.param), pool_size=2, max_overflow=0)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS goods")
        connection.exec_driver_sql("CREATE TABLE goods (id integer PRIMARY KEY)")
    registration = instrument_engine(engine)
    yield engine
    registration.close()
    engine.dispose()


def operations(recorded):
    keys = ("db.operation.name", "db.collection.name", "error.type")
    return {tuple(a[key] for key in keys if key in a): count for a, (count, _) in recorded.points(OPERATION)}


def outcomes(recorded):
    return {a["db.client.transaction.outcome"]: count for a, (count, _) in recorded.points(TRANSACTION)}


def test_failures_carry_the_sqlstate(recorded, engine):
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO goods VALUES (1)"))
    with pytest.raises(exc.IntegrityError), engine.begin() as connection:
        connection.execute(text("INSERT INTO goods VALUES (1)"))
    with pytest.raises(exc.ProgrammingError), engine.begin() as connection:
        connection.execute(text("SELECT * FROM nothing"))
    assert operations(recorded) == {
        ("INSERT", "goods"): 1,
        ("INSERT", "goods", "23505"): 1,
        ("SELECT", "nothing", "42P01"): 1,
    }
    codes = {a.get("error.type"): a.get("db.response.status_code") for a, _ in recorded.points(OPERATION)}
    assert codes == {None: None, "23505": "23505", "42P01": "42P01"}
    assert outcomes(recorded) == {"commit": 1, "rollback": 2}


def test_names_hold_no_account(recorded, engine, postgresql):
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    assert recorded.points("db.client.connection.max") == [
        ({"db.client.connection.pool.name": postgresql.pool_name}, 2)
    ]
    for name, metric in recorded.metrics().items():
        assert "secret-word" not in metric.to_json(), name
    ((attributes, _),) = recorded.points(OPERATION)
    assert attributes == {
        "db.system.name": "postgresql",
        "db.namespace": "postgres",
        "db.operation.name": "SELECT",
        "server.address": "127.0.0.1",
        "server.port": postgresql.port,
    }


def test_a_two_phase_transaction_is_one(recorded, engine):
    with engine.connect() as connection:
        for outcome in ("commit", "rollback"):
            transaction = connection.begin_twophase()
            connection.execute(text("SELECT 1"))
            transaction.prepare()
            getattr(transaction, outcome)()
        transaction = connection.begin_twophase()
        connection.execute(text("SELECT 1"))
        transaction.commit()
    assert outcomes(recorded) == {"commit": 2, "rollback": 1}


def test_a_commit_that_the_server_refuses_is_a_rollback(recorded, engine):
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE late (id integer, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED)"
        )
    with pytest.raises(exc.IntegrityError), engine.begin() as connection:
        connection.execute(text("INSERT INTO late VALUES (1), (1)"))
    assert outcomes(recorded) == {"commit": 1, "rollback": 1}


def test_autocommit_of_engine_and_connection_makes_no_transactions(recorded, engine, postgresql):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SELECT 1"))
    whole = create_engine(postgresql.url(), isolation_level="AUTOCOMMIT")
    registration = instrument_engine(whole)
    with whole.begin() as connection:
        connection.execute(text("SELECT 1"))
    whole.dispose()
    registration.close()
    assert outcomes(recorded) == {}


def test_a_connection_that_the_server_ends_is_replaced(recorded, engine):
    with engine.connect() as connection:
        process = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        with engine.connect() as other:
            other.execute(text(f"SELECT pg_terminate_backend({process})"))
        with pytest.raises(exc.OperationalError):
            connection.execute(text("SELECT id FROM goods"))
    with engine.connect() as connection:
        connection.execute(text("SELECT id FROM goods"))
    counts = operations(recorded)
    # Before psycopg 3 the driver may notice the lost connection alone, and not what the server said of it.
    ((name, count),) = ((key[-1], count) for key, count in counts.items() if len(key) == 3)
    assert name in {"psycopg": ["57P01"], "psycopg2": ["57P01", "psycopg2.OperationalError"]}[engine.driver]
    assert count == 1
    assert counts["SELECT", "goods"] == 1
    states = {a["db.client.connection.state"]: v for a, v in recorded.points("db.client.connection.count")}
    assert states["used"] == 0
    assert outcomes(recorded)["rollback"] >= 3


@pytest.mark.parametrize("dialect", ["postgresql+asyncpg", "postgresql+psycopg"])
async def test_async_drivers(recorded, postgresql, dialect):
    engine = create_async_engine(postgresql.url(dialect), pool_size=2, max_overflow=0, pool_timeout=0.05)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE IF EXISTS things")
        await connection.exec_driver_sql("CREATE TABLE things (id integer PRIMARY KEY)")
    registration = instrument_engine(engine)
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO things VALUES (:id)"), [{"id": 1}, {"id": 2}])
    with pytest.raises(exc.IntegrityError):
        async with engine.begin() as connection:
            await connection.execute(text("INSERT INTO things VALUES (1)"))
    async with engine.connect(), engine.connect():
        with pytest.raises(exc.TimeoutError):
            await engine.connect()
    await engine.dispose()
    registration.close()
    assert operations(recorded) == {("BATCH INSERT", "things"): 1, ("INSERT", "things", "23505"): 1}
    assert outcomes(recorded) == {"commit": 1, "rollback": 1}
    assert recorded.value("db.client.connection.timeouts") == 1
    assert recorded.value("db.client.connection.pending_requests") == 0


@pytest.mark.parametrize("dialect", ["postgresql+asyncpg", "postgresql+psycopg"])
async def test_a_cancelled_query_is_recorded_as_such(recorded, postgresql, dialect):
    engine = create_async_engine(postgresql.url(dialect))
    registration = instrument_engine(engine)

    async def sleep():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(30)"))

    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    before = operations(recorded)["SELECT",]
    task = asyncio.create_task(sleep())
    await running(postgresql.url(), RUNNING)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.dispose()
    registration.close()
    counts = operations(recorded)
    assert counts["SELECT",] == before
    assert counts["SELECT", "asyncio.exceptions.CancelledError"] == 1
