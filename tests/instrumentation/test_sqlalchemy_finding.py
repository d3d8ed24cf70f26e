"""Engines nobody gives are found, and those that are dropped are let go, through the whole of `init()`."""

import gc
import subprocess
import sys
import threading
import weakref

import pytest
from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

import otelbridge
from otelbridge.errors import ConfigError

pytestmark = pytest.mark.endtoend

OWN_PORT = otelbridge.PrometheusOptions(mode="server", port=0)


@pytest.fixture
def init():
    """Starts a bridge, which is stopped at the end."""
    yield lambda **settings: otelbridge.init(prometheus=OWN_PORT, workers="separate", **settings)
    otelbridge.shutdown()


@pytest.fixture
def make(tmp_path):
    """Makes engines of a file database, and disposes of them unless they are to be dropped."""
    engines = []

    def make(name="shop", keep=True, **options):
        engine = create_engine(f"sqlite:///{tmp_path}/{name}.db", poolclass=QueuePool, **options)
        if keep:
            engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.dispose()


def select(engine, number=1):
    with engine.connect() as connection:
        connection.execute(text(f"SELECT {number}"))


def statements(bridge, name="shop"):
    start = f'db_client_operation_duration_seconds_count{{db_namespace="{name}.db"'
    return sum(int(line.rsplit(" ", 1)[1]) for line in bridge.render().splitlines() if line.startswith(start))


def pools(bridge):
    lines = [line for line in bridge.render().splitlines() if "db_client_connection_pool_name=" in line]
    return {line.partition('pool_name="')[2].partition('"')[0] for line in lines}


def test_an_engine_made_after_the_start_is_found(init, make):
    bridge = init()
    engine = make()
    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))
    page = bridge.render()
    assert statements(bridge) == 1
    assert pools(bridge) == {"shop.db"}
    for count in ("transaction_duration", "connection_wait_time", "connection_create_time", "connection_use_time"):
        assert [line[-2:] for line in page.splitlines() if line.startswith(f"db_client_{count}_seconds_count")] == [
            " 1"
        ]


def test_an_engine_that_was_there_and_in_use_before_is_found(init, make):
    engine = make()
    select(engine)
    bridge = init()
    select(engine)
    assert statements(bridge) == 1


async def test_async_engines_are_found(init, tmp_path):
    bridge = init()
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
    async with engine.begin() as connection:
        await connection.execute(text("SELECT 1"))
    assert statements(bridge) == 1
    await engine.dispose()


def test_sessions_and_option_engines_lead_to_their_engine(init, make):
    bridge = init()
    engine = make()
    with Session(engine.execution_options(schema_translate_map=None)) as session:
        session.execute(text("SELECT 1"))
    engine.raw_connection().close()
    select(engine)
    assert statements(bridge) == 2
    assert pools(bridge) == {"shop.db"}


def test_found_and_given_is_once(init, make):
    found, given = make("found"), make("given")
    bridge = init(engine=given)
    select(given)
    select(found)
    assert bridge.instrument_engine(found) is bridge.instrument_engine(found)
    bridge.instrument_engine(given)
    select(given)
    select(found)
    assert (statements(bridge, "given"), statements(bridge, "found")) == (2, 2)


@pytest.mark.parametrize("settings", [{"find_engines": False}, {"instrument": ["process"]}, {"domains": ["business"]}])
def test_none_is_found_where_it_is_not_wanted(init, make, settings):
    bridge = init(**settings)
    select(make())
    assert "db_client" not in bridge.render()


def test_the_environment_switches_it_off(init, make, monkeypatch):
    monkeypatch.setenv("OTELBRIDGE_FIND_ENGINES", "false")
    bridge = init()
    select(make())
    given = make("given")
    bridge.instrument_engine(given)
    select(given)
    assert (statements(bridge), statements(bridge, "given")) == (0, 1)


def test_a_file_switches_it_off(init, make, tmp_path):
    file = tmp_path / "otel.yaml"
    file.write_text("file_format: '1.0'\ndistribution:\n  otelbridge:\n    find_engines: false\n")
    bridge = init(config=file)
    select(make())
    assert statements(bridge) == 0


def test_by_name_alone_engines_are_found_too(init, make):
    bridge = init(instrument=["sqlalchemy"])
    select(make())
    assert statements(bridge) == 1


@pytest.mark.parametrize("used", [True, False])
def test_a_handle_undoes_one_engine_which_is_not_found_again(init, make, used):
    bridge = init()
    engine, other = make(), make("other")
    if used:
        select(engine)
    handle = bridge.instrument_engine(engine)
    handle.close()
    handle.close()
    select(engine)
    select(other)
    assert (statements(bridge), statements(bridge, "other")) == (int(used), 1)
    assert pools(bridge) == {"other.db"}
    bridge.instrument_engine(engine)
    select(engine)
    assert statements(bridge) == int(used) + 1


def test_a_handle_undoes_one_application(init):
    bridge = init()
    app = FastAPI()
    before = dict(vars(app))
    handle = bridge.instrument_app(app)
    assert bridge.instrument_app(app) is handle
    assert vars(app) != before
    handle.close()
    assert vars(app) == before


def test_handles_of_a_bridge_that_is_shut_down_do_nothing(init, make):
    bridge = init()
    otelbridge.shutdown()
    bridge.instrument_app(FastAPI()).close()
    bridge.instrument_engine(make()).close()


def test_the_end_puts_everything_back(init, make):
    method = Engine.raw_connection
    engine, found, app = make(), make("found"), FastAPI()
    before = set(vars(engine.dialect)), set(vars(found.dialect)), set(vars(app)), list(sys.meta_path)
    init(engine=engine, app=app)
    for each in (engine, found):
        select(each)
    assert Engine.raw_connection is not method
    otelbridge.shutdown()
    select(make("late"))
    assert Engine.raw_connection is method
    assert (vars(app).keys(), sys.meta_path) == (before[2], before[3])
    for each in (engine, found):
        assert not [name for name in vars(each.dialect) if name.startswith(("do_", "_otelbridge"))]


def test_a_wrapper_of_somebody_else_around_ours_goes_on_after_the_end(init, make):
    method, seen = Engine.raw_connection, []
    bridge = init()
    ours = Engine.raw_connection

    def theirs(engine, *args, **options):
        seen.append(engine)
        return ours(engine, *args, **options)

    Engine.raw_connection = theirs
    try:
        otelbridge.shutdown()
        engine = make()
        select(engine)
    finally:
        Engine.raw_connection = method
    assert not bridge.running
    assert seen == [engine]
    assert not [name for name in vars(engine.dialect) if name.startswith("do_")]


def test_a_next_start_finds_the_same_engines_again(init, make):
    engine = make()
    init()
    select(engine)
    otelbridge.shutdown()
    bridge = init()
    select(engine)
    assert statements(bridge) == 1


def test_engines_first_used_by_many_threads_lose_nothing(init, make):
    bridge = init()
    engine = make(pool_size=8, max_overflow=0)
    ready = threading.Barrier(8)

    def work():
        ready.wait(60)
        select(engine)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statements(bridge) == 8
    (waits,) = [
        line
        for line in bridge.render().splitlines()
        if line.startswith("db_client_connection_wait_time_seconds_count{")
    ]
    assert waits.endswith(" 8")


def test_dropped_engines_are_let_go_with_the_series_of_their_pools(init, make):
    bridge = init()
    kept = make("kept")
    select(kept)
    engines = [make(keep=False) for _ in range(20)]
    handles = [bridge.instrument_engine(engine) for engine in engines[::2]]
    for engine in engines:
        select(engine)
    assert len(pools(bridge)) == 21
    for engine in engines:
        engine.dispose()
    dropped = [weakref.ref(engine) for engine in engines]
    del engine, engines
    gc.collect()
    assert [reference for reference in dropped if reference() is not None] == []
    assert pools(bridge) == {"kept.db"}
    assert statements(bridge) == 20
    for handle in handles:
        handle.close()


def test_the_next_engine_of_a_database_goes_on_with_the_series_of_the_last(init, make):
    bridge = init()
    for _ in range(3):
        engine = make(keep=False)
        select(engine)
        engine.dispose()
        del engine
        gc.collect()
        assert pools(bridge) == set()
    engine = make()
    select(engine)
    assert pools(bridge) == {"shop.db"}
    assert statements(bridge) == 4


def test_threads_make_and_drop_engines_beside_scrapes(init, make):
    bridge, ended, failed = init(), threading.Event(), []

    def scrape():
        while not ended.is_set():
            bridge.render()

    def work(number):
        try:
            for _ in range(20):
                engine = make(f"shop{number}", keep=False)
                select(engine)
                engine.dispose()
        except Exception as error:
            failed.append(error)

    scraper = threading.Thread(target=scrape)
    workers = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in (scraper, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    ended.set()
    scraper.join()
    gc.collect()
    assert failed == []
    assert pools(bridge) == set()
    assert [statements(bridge, f"shop{number}") for number in range(4)] == [20] * 4


def test_applications_are_let_go(init):
    bridge = init()
    app = FastAPI()
    bridge.instrument_app(app)
    reference = weakref.ref(app)
    del app
    gc.collect()
    assert reference() is None


def test_what_is_no_engine_is_refused(init):
    bridge = init()
    with pytest.raises(ConfigError, match="no SQLAlchemy engine"):
        bridge.instrument_engine("sqlite://")


AFTERWARDS = """
import sys, otelbridge
bridge = otelbridge.init(prometheus=otelbridge.PrometheusOptions(mode="server", port=0), workers="separate")
assert "sqlalchemy" not in sys.modules
import sqlalchemy, sqlalchemy.engine.base
assert type(sqlalchemy.engine.base.__loader__).__module__ == "_frozen_importlib_external"
assert sqlalchemy.engine.base.__spec__.loader is sqlalchemy.engine.base.__loader__
engine = sqlalchemy.create_engine("sqlite://")
with engine.connect() as connection:
    connection.execute(sqlalchemy.text("SELECT 1"))
print(sum(line.startswith("db_client_operation_duration_seconds_count") for line in bridge.render().splitlines()))
"""


def test_sqlalchemy_is_left_to_the_application_to_import():
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", AFTERWARDS], capture_output=True, text=True, timeout=120, check=False
    )
    assert (told.stdout.strip(), told.returncode) == ("1", 0), told.stderr
