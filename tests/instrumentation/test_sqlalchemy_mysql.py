"""MySQL's dialects and drivers, with a real MariaDB server behind them."""

import asyncio
import threading

import pytest
from sqlalchemy import create_engine, exc, text
from sqlalchemy.ext.asyncio import create_async_engine

from otelbridge.instrumentation.sqlalchemy import instrument_engine
from tests.components import running

pytestmark = pytest.mark.components

OPERATION = "db.client.operation.duration"
TRANSACTION = "db.client.transaction.duration"
RUNNING = "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT sleep%'"


def prepare(connection):
    connection.exec_driver_sql("DROP TABLE IF EXISTS goods")
    connection.exec_driver_sql("CREATE TABLE goods (id integer PRIMARY KEY, name varchar(20)) ENGINE=InnoDB")


@pytest.fixture(params=["mysql+pymysql", "mariadb+pymysql"])
def engine(request, recorded, mariadb):
    engine = create_engine(mariadb.url(request.param), pool_size=2, max_overflow=1, pool_timeout=0.05)
    with engine.begin() as connection:
        prepare(connection)
    registration = instrument_engine(engine)
    yield engine
    registration.close()
    engine.dispose()


def operations(recorded):
    keys = ("db.operation.name", "db.collection.name", "error.type")
    return {tuple(a[key] for key in keys if key in a): count for a, (count, _) in recorded.points(OPERATION)}


def outcomes(recorded):
    return {a["db.client.transaction.outcome"]: count for a, (count, _) in recorded.points(TRANSACTION)}


def test_database_and_server_are_named_without_the_account(recorded, engine, mariadb):
    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))
    server = {"db.namespace": "shop", "server.address": "127.0.0.1", "server.port": mariadb.port}
    named = {"db.system.name": engine.dialect.name, **server}
    assert [a for a, _ in recorded.points(OPERATION)] == [{**named, "db.operation.name": "SELECT"}]
    assert [a for a, _ in recorded.points(TRANSACTION)] == [{**named, "db.client.transaction.outcome": "commit"}]
    assert {a["db.client.connection.pool.name"] for a, _ in recorded.points("db.client.connection.count")} == {
        mariadb.pool_name
    }
    for name, metric in recorded.metrics().items():
        assert "secret-word" not in metric.to_json(), name
        assert "service" not in metric.data.to_json(), name


def test_failures_carry_the_number_of_the_server(recorded, engine):
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO goods VALUES (1, 'a')"))
    for statement in ("INSERT INTO goods VALUES (1, 'a')", "SELECT * FROM nothing", "SELEC 1"):
        with pytest.raises(exc.DBAPIError), engine.begin() as connection:
            connection.execute(text(statement))
    failed = {a["error.type"]: a.get("db.response.status_code") for a, _ in recorded.points(OPERATION) if len(a) > 6}
    assert failed == {"1062": "1062", "1146": "1146", "1064": "1064"}
    assert outcomes(recorded) == {"commit": 1, "rollback": 3}


def test_statements_as_mysql_writes_them(recorded, engine):
    with engine.begin() as connection:
        for statement in (
            "INSERT IGNORE INTO `goods` VALUES (1, 'a')",
            "INSERT INTO goods VALUES (1, 'b') ON DUPLICATE KEY UPDATE name = VALUES(name)",
            "REPLACE INTO goods VALUES (2, 'c')",
            'UPDATE LOW_PRIORITY IGNORE `shop`.`goods` SET name = "from elsewhere"',
            "SELECT name FROM `goods` # FROM secret",
            "DELETE QUICK FROM goods WHERE id = 2",
            "SHOW TABLES",
            "TRUNCATE goods",
        ):
            connection.exec_driver_sql(statement)
    assert operations(recorded) == {
        ("INSERT", "goods"): 2,
        ("REPLACE", "goods"): 1,
        ("UPDATE", "shop.goods"): 1,
        ("SELECT", "goods"): 1,
        ("DELETE", "goods"): 1,
        ("SHOW",): 1,
        ("TRUNCATE",): 1,
    }


def test_a_batch_is_one_operation(recorded, engine):
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO goods VALUES (:id, 'a')"), [{"id": 1}, {"id": 2}])
    assert operations(recorded) == {("BATCH INSERT", "goods"): 1}


def test_autocommit_makes_no_transactions(recorded, engine, mariadb):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SELECT 1"))
    whole = create_engine(mariadb.url(), isolation_level="AUTOCOMMIT")
    registration = instrument_engine(whole)
    with whole.begin() as connection:
        connection.execute(text("SELECT 1"))
    whole.dispose()
    registration.close()
    assert outcomes(recorded) == {}


def test_a_two_phase_transaction_is_one(recorded, engine):
    with engine.connect() as connection:
        for outcome in ("commit", "rollback"):
            transaction = connection.begin_twophase()
            connection.execute(text("SELECT 1"))
            transaction.prepare()
            getattr(transaction, outcome)()
    assert outcomes(recorded) == {"commit": 1, "rollback": 1}


def test_a_connection_that_the_server_ends_is_replaced(recorded, engine):
    with engine.connect() as connection:
        number = connection.execute(text("SELECT connection_id()")).scalar()
        with engine.connect() as other:
            other.execute(text(f"KILL {number}"))
        with pytest.raises(exc.OperationalError):
            connection.execute(text("SELECT id FROM goods"))
    with engine.connect() as connection:
        connection.execute(text("SELECT id FROM goods"))
    counts = operations(recorded)
    assert counts["SELECT", "goods"] == 1
    assert sum(counts.get(("SELECT", "goods", code), 0) for code in ("1927", "2006", "2013")) == 1
    states = {a["db.client.connection.state"]: v for a, v in recorded.points("db.client.connection.count")}
    assert states["used"] == 0


def test_waiting_for_the_pool(recorded, engine):
    held = [engine.connect() for _ in range(3)]
    with pytest.raises(exc.TimeoutError):
        engine.connect()
    for connection in held:
        connection.close()
    assert recorded.value("db.client.connection.max") == 3
    assert recorded.value("db.client.connection.timeouts") == 1
    assert recorded.value("db.client.connection.pending_requests") == 0
    assert recorded.value("db.client.connection.wait_time")[0] == 3


def test_a_lock_that_is_not_had_in_time(recorded, engine):
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO goods VALUES (1, 'a')"))
    with engine.begin() as holder:
        holder.execute(text("UPDATE goods SET name = 'b'"))
        with engine.connect() as waiter:
            waiter.execute(text("SET innodb_lock_wait_timeout = 1"))
            with pytest.raises(exc.OperationalError):
                waiter.execute(text("UPDATE goods SET name = 'c'"))
    assert operations(recorded)["UPDATE", "goods", "1205"] == 1
    assert outcomes(recorded) == {"commit": 2, "rollback": 1}


def test_a_deadlock(recorded, engine):
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO goods VALUES (1, 'a'), (2, 'a')"))
    both = threading.Barrier(2)
    failed = []

    def work(first, second):
        try:
            with engine.begin() as connection:
                connection.execute(text("UPDATE goods SET name = 'b' WHERE id = :id"), {"id": first})
                both.wait(60)
                connection.execute(text("UPDATE goods SET name = 'c' WHERE id = :id"), {"id": second})
        except exc.OperationalError as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=ids) for ids in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == 1
    assert operations(recorded)["UPDATE", "goods", "1213"] == 1
    assert outcomes(recorded) == {"commit": 2, "rollback": 1}


@pytest.mark.parametrize("dialect", ["mysql+aiomysql", "mariadb+aiomysql"])
async def test_aiomysql(recorded, mariadb, dialect):
    engine = create_async_engine(mariadb.url(dialect), pool_size=2, max_overflow=0, pool_timeout=0.05)
    async with engine.begin() as connection:
        await connection.run_sync(prepare)
    registration = instrument_engine(engine)
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO goods VALUES (:id, 'a')"), [{"id": 1}, {"id": 2}])
    with pytest.raises(exc.IntegrityError):
        async with engine.begin() as connection:
            await connection.execute(text("INSERT INTO goods VALUES (1, 'a')"))
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("SELECT 1"))
    async with engine.connect(), engine.connect():
        with pytest.raises(exc.TimeoutError):
            await engine.connect()
    await engine.dispose()
    registration.close()
    assert operations(recorded) == {
        ("BATCH INSERT", "goods"): 1,
        ("INSERT", "goods", "1062"): 1,
        ("SELECT",): 1,
    }
    assert outcomes(recorded) == {"commit": 1, "rollback": 1}
    assert recorded.value("db.client.connection.timeouts") == 1
    assert recorded.value("db.client.connection.pending_requests") == 0


async def test_a_cancelled_query_is_recorded_as_such(recorded, mariadb):
    engine = create_async_engine(mariadb.url("mysql+aiomysql"))
    registration = instrument_engine(engine)

    async def sleep():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT sleep(30)"))

    task = asyncio.create_task(sleep())
    await running(mariadb.url(), RUNNING)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.dispose()
    registration.close()
    assert operations(recorded)["SELECT", "asyncio.exceptions.CancelledError"] == 1
