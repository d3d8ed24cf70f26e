import asyncio
import concurrent.futures

import pytest

from otelbridge.domains import database

OPERATION = "db.client.operation.duration"
TRANSACTION = "db.client.transaction.duration"
POOL = {"db.client.connection.pool.name": "main"}


def counts(recorded, name):
    return [(attributes, count) for attributes, (count, _) in recorded.points(name)]


def test_operation_carries_what_was_said_and_nothing_else(recorded):
    with database.operation("GET", system="redis", namespace="0"):
        pass
    assert counts(recorded, OPERATION) == [
        ({"db.system.name": "redis", "db.namespace": "0", "db.operation.name": "GET"}, 1)
    ]


def test_failed_operation_is_named_and_raised_on(recorded):
    with pytest.raises(KeyError), database.operation("SELECT", system="postgresql", collection="orders"):
        raise KeyError("x")
    ((attributes, _),) = recorded.points(OPERATION)
    assert attributes["error.type"] == "KeyError"
    assert attributes["db.collection.name"] == "orders"


def test_operation_decorates_functions_of_both_kinds(recorded):
    @database.operation("GET", system="redis")
    def read():
        return 1

    @database.operation("GET", system="redis")
    async def read_async():
        return 2

    assert (read(), read(), asyncio.run(read_async())) == (1, 1, 2)
    assert counts(recorded, OPERATION) == [({"db.system.name": "redis", "db.operation.name": "GET"}, 3)]


def test_transaction_outcomes(recorded):
    with database.transaction(system="postgresql", namespace="shop"):
        pass
    with database.transaction(system="postgresql", namespace="shop") as tx:
        tx.rolled_back()
    with pytest.raises(ValueError), database.transaction(system="postgresql", namespace="shop"):  # noqa: PT011
        raise ValueError
    outcomes = {a["db.client.transaction.outcome"]: count for a, count in counts(recorded, TRANSACTION)}
    assert outcomes == {"commit": 1, "rollback": 2}


def test_pool_counts_are_read_at_collection_until_closed(recorded):
    used = 3
    pool = database.pool("main", used=lambda: used, idle=lambda: 4, maximum=10)
    assert recorded.points("db.client.connection.max") == [(POOL, 10)]
    used = 5
    states = {a["db.client.connection.state"]: value for a, value in recorded.points("db.client.connection.count")}
    assert states == {"used": 5, "idle": 4}
    pool.close()
    pool.close()
    assert recorded.points("db.client.connection.count") == []
    assert recorded.points("db.client.connection.max") == []


def test_a_broken_count_costs_only_itself(recorded, caplog):
    pool = database.pool("main", used=lambda: 1 / 0, idle=lambda: 4, maximum=lambda: 6)
    assert recorded.points("db.client.connection.count") == [({**POOL, "db.client.connection.state": "idle"}, 4)]
    assert recorded.value("db.client.connection.max") == 6
    assert "ZeroDivisionError" in caplog.text
    pool.close()


def test_waiting_is_pending_while_it_lasts(recorded):
    pool = database.pool("main")
    with pool.waiting():
        assert recorded.points("db.client.connection.pending_requests") == [(POOL, 1)]
    assert recorded.points("db.client.connection.pending_requests") == [(POOL, 0)]
    assert counts(recorded, "db.client.connection.wait_time") == [(POOL, 1)]


@pytest.mark.parametrize("kind", [TimeoutError, asyncio.TimeoutError, concurrent.futures.TimeoutError])
def test_a_timeout_of_a_wait_is_counted_as_one(recorded, kind):
    pool = database.pool("main")
    with pytest.raises(kind), pool.waiting():
        raise kind
    pool.timed_out()
    assert recorded.points("db.client.connection.timeouts") == [(POOL, 2)]
    assert recorded.points("db.client.connection.wait_time") == []
    assert recorded.value("db.client.connection.pending_requests") == 0


def test_another_failure_of_a_wait_is_no_timeout(recorded):
    pool = database.pool("main")
    with pytest.raises(OSError, match="refused"), pool.waiting():
        raise OSError("refused")
    assert recorded.points("db.client.connection.timeouts") == []
    assert recorded.value("db.client.connection.pending_requests") == 0


def test_creating_and_using_a_connection(recorded):
    pool = database.pool("main")
    pool.created(0.25)
    with pool.using():
        pass
    assert recorded.points("db.client.connection.create_time") == [(POOL, (1, 0.25))]
    assert counts(recorded, "db.client.connection.use_time") == [(POOL, 1)]


def test_cache(recorded):
    cache = database.cache("sessions", entries=lambda: 12, memory=lambda: 2048)
    cache.hit()
    cache.miss()
    cache.lookup(True)
    cache.lookup(False)
    cache.lookup(False)
    results = {a["cache.result"]: value for a, value in recorded.points("cache.requests")}
    assert results == {"hit": 2, "miss": 3}
    assert recorded.points("cache.entry.count") == [({"cache.name": "sessions"}, 12)]
    assert recorded.points("cache.memory.usage") == [({"cache.name": "sessions"}, 2048)]
    cache.close()
    assert recorded.points("cache.entry.count") == []


def test_nothing_is_needed_and_nothing_raised_before_init():
    with database.operation("GET", system="redis"), database.transaction(system="redis") as tx:
        tx.rolled_back()
    cache = database.cache("idle", entries=lambda: 1)
    cache.hit()
    cache.close()
