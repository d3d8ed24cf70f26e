import gc
import sqlite3
import threading
import weakref

import pytest
import sqlalchemy
from sqlalchemy import create_engine, event, exc, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AssertionPool, NullPool, QueuePool, SingletonThreadPool, StaticPool

from otelbridge.diagnostics import forget_warnings
from otelbridge.errors import ConfigError
from otelbridge.instrumentation.sqlalchemy import EngineSpans, instrument_engine
from otelbridge.instrumentation.sqlalchemy.identity import Identity
from otelbridge.instrumentation.sqlalchemy.statements import MAX_CLASSES, MAX_STATEMENTS, Statements
from otelbridge.metrics.switch import switch

OPERATION = "db.client.operation.duration"
TRANSACTION = "db.client.transaction.duration"
WAIT = "db.client.connection.wait_time"
USE = "db.client.connection.use_time"
CREATE = "db.client.connection.create_time"
COUNT = "db.client.connection.count"
MAXIMUM = "db.client.connection.max"
PENDING = "db.client.connection.pending_requests"
TIMEOUTS = "db.client.connection.timeouts"


@pytest.fixture
def make(recorded, tmp_path):
    """Makes engines of a file database, instrumented from their first moment, and disposes of them."""
    engines = []

    def make(**options):
        engine = create_engine(f"sqlite:///{tmp_path}/shop.db", **options)
        engines.append((engine, instrument_engine(engine)))
        return engine

    yield make
    for engine, registration in engines:
        engine.dispose()
        registration.close()


@pytest.fixture
def engine(make):
    engine = make(poolclass=QueuePool, pool_size=2, max_overflow=3, pool_timeout=0.05)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE goods (id INTEGER PRIMARY KEY, name TEXT)")
    return engine


def operations(recorded):
    """Counts by operation, table and failure."""
    return {
        tuple(a.get(key) for key in ("db.operation.name", "db.collection.name", "error.type") if key in a): count
        for a, (count, _) in recorded.points(OPERATION)
    }


def outcomes(recorded):
    return {a["db.client.transaction.outcome"]: count for a, (count, _) in recorded.points(TRANSACTION)}


def count_of(recorded, name):
    return sum(count for _, (count, _) in recorded.points(name))


def states(recorded):
    return {a["db.client.connection.state"]: value for a, value in recorded.points(COUNT)}


def test_statements_are_told_apart_by_operation_and_table(recorded, engine):
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO goods VALUES (:id, 'a')"), {"id": 1})
        connection.execute(text("INSERT INTO goods VALUES (:id, 'a')"), [{"id": 2}, {"id": 3}])
        connection.execute(text("INSERT INTO goods VALUES (:id, 'a')"), [{"id": 4}])
        connection.execution_options(no_parameters=True).exec_driver_sql("select * from goods")
    assert operations(recorded) == {
        ("CREATE",): 1,
        ("INSERT", "goods"): 2,
        ("BATCH INSERT", "goods"): 1,
        ("SELECT", "goods"): 1,
    }
    assert {(a["db.system.name"], a["db.namespace"]) for a, _ in recorded.points(OPERATION)} == {("sqlite", "shop.db")}


def test_errors_of_the_database_pass_unchanged_and_are_named(recorded, engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO goods VALUES (1, 'a')")
    with engine.connect() as connection, pytest.raises(exc.IntegrityError) as caught:
        connection.exec_driver_sql("INSERT INTO goods VALUES (1, 'b')")
    assert type(caught.value.orig) is sqlite3.IntegrityError
    assert caught.value.__cause__ is caught.value.orig
    assert operations(recorded)["INSERT", "goods", "sqlite3.IntegrityError"] == 1


def test_durations_are_those_of_the_database(recorded, engine):
    with engine.connect() as connection:
        never = threading.Event()
        connection.connection.dbapi_connection.create_function("nap", 0, lambda: never.wait(0.05) or 1)
        connection.execute(text("SELECT nap() FROM goods UNION SELECT nap()"))
    ((_, total),) = [point for a, point in recorded.points(OPERATION) if a["db.operation.name"] == "SELECT"]
    assert total >= 0.05


def test_transactions_by_outcome(recorded, engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1")
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    with pytest.raises(RuntimeError), engine.begin() as connection:
        raise RuntimeError
    assert outcomes(recorded) == {"commit": 2, "rollback": 2}


def test_a_savepoint_is_part_of_its_transaction(recorded, engine):
    with engine.begin() as connection:
        with connection.begin_nested():
            connection.exec_driver_sql("SELECT 1")
        with pytest.raises(RuntimeError), connection.begin_nested():
            raise RuntimeError
    assert outcomes(recorded) == {"commit": 2}


def test_autocommit_makes_no_transactions(recorded, engine):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SELECT 1")
        connection.commit()
    assert outcomes(recorded) == {"commit": 1}


def test_returning_a_connection_unused_rolls_nothing_back(recorded, engine):
    with engine.connect():
        pass
    engine.raw_connection().close()
    assert outcomes(recorded) == {"commit": 1}


def test_a_transaction_on_a_broken_connection_is_a_rollback(recorded, engine):
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        connection.invalidate()
    assert outcomes(recorded) == {"commit": 1, "rollback": 1}


def test_transactions_of_an_application_that_begins_itself(recorded, engine):
    @event.listens_for(engine, "connect")
    def leave_it_to_me(connection, record):
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN")

    engine.dispose()
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO goods VALUES (1, 'a')")
    assert outcomes(recorded) == {"commit": 2}


def test_queue_pool_counts_and_limit(recorded, engine):
    assert states(recorded) == {"used": 0, "idle": 1}
    assert recorded.points(MAXIMUM) == [({"db.client.connection.pool.name": "shop.db"}, 5)]
    with engine.connect(), engine.connect():
        assert states(recorded) == {"used": 2, "idle": 0}
    assert states(recorded) == {"used": 0, "idle": 2}


def test_a_pool_without_limit_shows_none(recorded, make):
    engine = make(poolclass=QueuePool, max_overflow=-1)
    engine.connect().close()
    assert recorded.points(MAXIMUM) == []


def test_waiting_creating_and_using(recorded, engine):
    with engine.connect(), engine.connect():
        pass
    assert (count_of(recorded, WAIT), count_of(recorded, USE), count_of(recorded, CREATE)) == (3, 3, 2)
    assert recorded.value(PENDING) == 0


def test_a_connection_that_cannot_be_had_is_a_timeout(recorded, engine):
    held = [engine.connect() for _ in range(5)]
    with pytest.raises(exc.TimeoutError):
        engine.connect()
    for connection in held:
        connection.close()
    assert recorded.value(TIMEOUTS) == 1
    assert recorded.value(PENDING) == 0
    assert count_of(recorded, WAIT) == 6


def test_a_pending_request_is_seen_while_it_waits(recorded, make):
    engine = make(poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=30)
    held = engine.connect()
    waiter = threading.Thread(target=lambda: engine.connect().close())
    waiter.start()
    while recorded.value(PENDING) != 1:
        assert waiter.is_alive()
    held.close()
    waiter.join()
    assert recorded.value(PENDING) == 0


def test_a_server_that_refuses_is_no_timeout(recorded):
    engine = create_engine("sqlite:////nowhere/at/all.db")
    registration = instrument_engine(engine)
    with pytest.raises(exc.OperationalError):
        engine.connect()
    assert recorded.points(TIMEOUTS) == []
    assert recorded.points(WAIT) == []
    assert recorded.value(PENDING) == 0
    registration.close()


def test_creation_is_timed_with_a_creator_of_the_application_too(recorded, make, tmp_path):
    engine = make(creator=lambda: sqlite3.connect(tmp_path / "own.db"))
    engine.connect().close()
    assert count_of(recorded, CREATE) == 1


def test_everything_goes_on_after_dispose(recorded, engine):
    for _ in range(3):
        engine.dispose()
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
            assert states(recorded) == {"used": 1, "idle": 0}
    assert (count_of(recorded, WAIT), count_of(recorded, USE), count_of(recorded, CREATE)) == (4, 4, 4)
    assert operations(recorded)["SELECT",] == 3


def test_a_detached_connection_has_left_the_pool(recorded, engine):
    with engine.connect() as connection:
        connection.detach()
        assert count_of(recorded, USE) == 2
        assert states(recorded)["used"] == 0


@pytest.mark.parametrize(
    ("pool", "taken", "free", "limit"),
    [
        (NullPool, {"used": 1, "idle": 0}, {"used": 0, "idle": 0}, None),
        (StaticPool, {"used": 1, "idle": 0}, {"used": 0, "idle": 1}, 1),
        (SingletonThreadPool, {"used": 1, "idle": 0}, {"used": 0, "idle": 1}, 5),
        (AssertionPool, {"used": 1, "idle": 0}, {"used": 0, "idle": 1}, 1),
    ],
)
def test_what_other_pools_can_tell(recorded, make, pool, taken, free, limit):
    engine = make(poolclass=pool)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        assert states(recorded) == taken
    assert states(recorded) == free
    assert [value for _, value in recorded.points(MAXIMUM)] == ([] if limit is None else [limit])
    assert count_of(recorded, USE) == 1


def test_connections_that_are_shared_are_counted_by_use(recorded, make):
    engine = make(poolclass=SingletonThreadPool)
    with engine.connect():
        engine.raw_connection().close()
        assert count_of(recorded, USE) == 0
    assert count_of(recorded, USE) == 1
    static = make(poolclass=StaticPool)
    first, second = static.raw_connection(), static.raw_connection()
    first.close()
    second.close()
    assert count_of(recorded, USE) == 3
    assert {value for a, value in recorded.points(COUNT) if a["db.client.connection.state"] == "used"} == {0}


@pytest.mark.parametrize("pool", [NullPool, QueuePool])
def test_engines_that_share_a_pool_count_it_each(recorded, make, pool):
    first = make(poolclass=pool)
    second = make(pool=first.pool)
    for engine in (first, second, second):
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
            used = [value for a, value in recorded.points(COUNT) if a["db.client.connection.state"] == "used"]
            assert used == [1, 1]
    assert {value for a, value in recorded.points(COUNT) if a["db.client.connection.state"] == "used"} == {0}
    assert sorted(count for _, (count, _) in recorded.points(USE)) == [3, 3]
    assert outcomes(recorded) == {"rollback": 3}


def test_twice_is_once(recorded, engine):
    first, second = instrument_engine(engine), instrument_engine(engine.execution_options(schema_translate_map={}))
    assert first is second
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    assert operations(recorded)["SELECT",] == 1
    assert count_of(recorded, WAIT) == 2


def test_close_puts_everything_back_and_can_be_undone_by_instrumenting_again(recorded, make):
    bare = create_engine("sqlite://", poolclass=QueuePool)
    before = set(vars(bare.dialect)), set(vars(bare.pool))
    registration = instrument_engine(bare)
    bare.connect().close()
    bare.dispose()
    bare.connect().close()
    registration.close()
    registration.close()
    assert set(vars(bare.pool)) == before[1]
    assert not [name for name in vars(bare.dialect) if name.startswith(("do_", "_otelbridge"))]
    waits = count_of(recorded, WAIT)
    with bare.connect() as connection:
        connection.exec_driver_sql("SELECT 1 FROM sqlite_master")
    assert count_of(recorded, WAIT) == waits
    assert ("SELECT", "sqlite_master") not in operations(recorded)
    assert recorded.points(COUNT) == []
    again = instrument_engine(bare)
    with bare.connect() as connection:
        connection.exec_driver_sql("SELECT 1 FROM sqlite_master")
    assert operations(recorded)["SELECT", "sqlite_master"] == 1
    again.close()
    bare.dispose()


def test_a_wrapper_that_somebody_wrapped_rests_after_close(recorded, make):
    engine = make()
    ours = engine.dialect.do_execute
    seen = []

    def theirs(cursor, statement, *rest):
        seen.append(statement)
        return ours(cursor, statement, *rest)

    engine.dialect.do_execute = theirs
    instrument_engine(engine).close()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 7").scalar() == 7
    assert seen == ["SELECT 7"]
    assert recorded.points(OPERATION) == []


def test_an_engine_is_not_kept_alive(recorded):
    engine = create_engine("sqlite:///kept.db", poolclass=QueuePool)
    instrument_engine(engine)
    assert len(recorded.points(COUNT)) == 2
    reference = weakref.ref(engine)
    del engine
    gc.collect()
    assert reference() is None
    assert recorded.points(COUNT) == []


def test_an_engine_works_as_ever_without_a_provider():
    engine = create_engine("sqlite://")
    registration = instrument_engine(engine)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT 7").scalar() == 7
    registration.close()
    engine.dispose()


def test_a_provider_that_comes_and_goes_in_the_middle_leaves_nothing_odd(recorded, engine):
    switch.disconnect()
    connection = engine.connect()
    connection.exec_driver_sql("SELECT 1")
    switch.connect(recorded.provider)
    connection.close()
    assert outcomes(recorded) == {"commit": 1}
    assert recorded.value(PENDING) == 0


@pytest.mark.parametrize("thing", [None, "sqlite://", object()])
def test_what_is_no_engine_is_refused(thing):
    with pytest.raises(ConfigError, match="no SQLAlchemy engine"):
        instrument_engine(thing)


IDENTITY = Identity("sqlite", "shop.db", "shop.db")


def test_invented_statements_and_tables_stay_bounded(recorded):
    statements = Statements(IDENTITY)
    for number in range(MAX_STATEMENTS + MAX_CLASSES):
        statements.succeeded(f"SELECT a FROM t{number} WHERE b = {number}", 0.001)
    assert len(statements._by_text) <= MAX_STATEMENTS
    assert len(recorded.points(OPERATION)) <= MAX_CLASSES + 1
    assert count_of(recorded, OPERATION) == MAX_STATEMENTS + MAX_CLASSES


@pytest.mark.parametrize("statement", [["unhashable"], None, 5])
def test_a_statement_that_is_no_text_is_reported_once(recorded, caplog, statement):
    forget_warnings()
    statements = Statements(IDENTITY)
    for _ in range(3):
        statements.succeeded(statement, 0.1)
        statements.failed(statement, 0.1, ValueError())
    assert len(caplog.records) == 1


async def test_async_engine(recorded, tmp_path):
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db", pool_size=2, max_overflow=0)
    registration = instrument_engine(engine)
    assert instrument_engine(engine.sync_engine) is registration
    async with engine.begin() as connection:
        await connection.exec_driver_sql("CREATE TABLE goods (id INTEGER PRIMARY KEY)")
        await connection.execute(text("INSERT INTO goods VALUES (:id)"), [{"id": 1}, {"id": 2}])
    async with engine.connect() as connection:
        assert states(recorded) == {"used": 1, "idle": 0}
        with pytest.raises(exc.IntegrityError):
            await connection.exec_driver_sql("INSERT INTO goods VALUES (1)")
    await engine.dispose()
    async with engine.connect() as connection:
        result = await connection.stream(text("SELECT id FROM goods"))
        assert [row.id async for row in result] == [1, 2]
    assert operations(recorded) == {
        ("CREATE",): 1,
        ("BATCH INSERT", "goods"): 1,
        ("INSERT", "goods", "sqlite3.IntegrityError"): 1,
        ("SELECT", "goods"): 1,
    }
    assert outcomes(recorded) == {"commit": 1, "rollback": 2}
    assert (count_of(recorded, WAIT), count_of(recorded, USE), count_of(recorded, CREATE)) == (3, 3, 2)
    assert recorded.value(MAXIMUM) == 2
    await engine.dispose()
    registration.close()


@pytest.mark.skipif(sqlalchemy.__version__ < "2.1", reason="the official instrumentation takes this SQLAlchemy")
def test_spans_are_declined_in_one_line_where_they_cannot_be_had(recorded, engine, caplog):
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider(shutdown_on_exit=False)
    for _ in range(2):
        EngineSpans(provider).trace(engine).close()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("SQLAlchemy makes no spans:")
