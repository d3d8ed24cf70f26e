"""Which exceptions mean that time ran out: those that real clients raise when a server keeps silent, and no others."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import multiprocessing
import socket
import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, NoReturn

import aiohttp
import anyio
import anyio.lowlevel
import asyncpg
import billiard.exceptions
import celery.exceptions
import dramatiq.middleware
import dramatiq.results
import gevent
import grpc
import httpx
import httpx2
import pexpect
import psycopg
import psycopg2
import pymysql
import pytest
import redis
import requests
import rq.exceptions
import rq.timeouts
import sqlalchemy.exc
import taskiq
import trio
import urllib3
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from otelbridge.domains.timeouts import is_timeout
from tests.components import postgresql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["postgresql"]

SHORT = 0.05


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    """A port nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def over_urllib3(port: int, **options: object) -> object:
    with urllib3.PoolManager() as pool:
        return pool.request("GET", f"http://127.0.0.1:{port}/", timeout=SHORT, **options)


def over_requests(port: int, retries: int = 0) -> object:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
        return session.get(f"http://127.0.0.1:{port}/", timeout=SHORT)


def over_httpx(port: int) -> object:
    return httpx.get(f"http://127.0.0.1:{port}/", timeout=SHORT, trust_env=False)


def over_httpx2(port: int) -> object:
    return httpx2.get(f"http://127.0.0.1:{port}/", timeout=SHORT, trust_env=False)


def over_urllib(port: int) -> object:
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/", None, SHORT)


def over_aiohttp(port: int) -> object:
    async def get() -> None:
        timeout = aiohttp.ClientTimeout(sock_read=SHORT)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"http://127.0.0.1:{port}/"):
            pass

    return asyncio.run(get())


def over_grpc(port: int) -> object:
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        return channel.unary_unary("/shop/Answer")(b"", timeout=SHORT)


def over_grpc_aio(port: int) -> object:
    async def call() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            await channel.unary_unary("/shop/Answer")(b"", timeout=SHORT)

    return asyncio.run(call())


def over_redis(port: int) -> object:
    with redis.Redis("127.0.0.1", port, socket_timeout=SHORT) as client:
        return client.ping()


def over_pymysql(port: int) -> object:
    return pymysql.connect(host="127.0.0.1", port=port, user="shop", read_timeout=1, connect_timeout=1)


def over_asyncpg(port: int) -> object:
    return asyncio.run(asyncpg.connect(host="127.0.0.1", port=port, user="shop", ssl=False, timeout=SHORT))


def over_a_socket(port: int) -> object:
    with socket.create_connection(("127.0.0.1", port), timeout=SHORT) as connection:
        return connection.recv(1)


CLIENTS = [
    over_a_socket,
    over_aiohttp,
    over_asyncpg,
    over_grpc,
    over_grpc_aio,
    over_httpx,
    over_httpx2,
    over_pymysql,
    over_redis,
    over_requests,
    over_urllib,
    over_urllib3,
]


def raised_by(call: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as raised:  # noqa: PT011 -- each client has its own
        call()
    return raised.value


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_that_keeps_silent_is_a_timeout(client, silent) -> None:
    error = raised_by(lambda: client(silent))
    assert is_timeout(error), repr(error)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_that_refuses_is_none(client, closed) -> None:
    error = raised_by(lambda: client(closed))
    assert not is_timeout(error), repr(error)


@pytest.mark.parametrize("client", [over_urllib3, over_requests])
def test_asking_again_changes_neither(client, silent, closed) -> None:
    asked_again = {"retries": urllib3.Retry(1, backoff_factor=0)}
    assert is_timeout(raised_by(lambda: client(silent, **asked_again)))
    assert not is_timeout(raised_by(lambda: client(closed, **asked_again)))


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        asyncio.TimeoutError(),
        concurrent.futures.TimeoutError(),
        multiprocessing.TimeoutError(),
        subprocess.TimeoutExpired("sleep", 1),
        OSError(errno.ETIMEDOUT, "Connection timed out"),
        aiohttp.ClientConnectorError(None, OSError(errno.ETIMEDOUT, "Connection timed out")),
        billiard.exceptions.SoftTimeLimitExceeded(),
        billiard.exceptions.TimeLimitExceeded(3),
        celery.exceptions.TimeoutError(),
        dramatiq.middleware.TimeLimitExceeded(),
        dramatiq.results.ResultTimeout("late"),
        grpc.FutureTimeoutError(),
        gevent.Timeout(1),
        httpx.PoolTimeout("late"),
        pexpect.TIMEOUT("late"),
        httpx.WriteTimeout("late"),
        psycopg.errors.ConnectionTimeout(),
        psycopg2.OperationalError("connection to server failed: timeout expired"),
        pymysql.err.OperationalError(1205, "Lock wait timeout exceeded; try restarting transaction"),
        caused(
            pymysql.err.OperationalError(2003, "Can't connect to MySQL server"), asyncio.TimeoutError()
        ),  # aiomysql's
        pymysql.err.OperationalError(3024, "Query execution was interrupted"),
        requests.ConnectTimeout(),
        requests.ConnectionError(urllib3.exceptions.ReadTimeoutError(None, None, "late")),
        rq.exceptions.DequeueTimeout(),
        rq.timeouts.JobTimeoutException(),
        sqlalchemy.exc.TimeoutError(),
        sqlalchemy.exc.OperationalError("SELECT 1", {}, TimeoutError()),
        taskiq.TaskiqResultTimeoutError(timeout=1),
        trio.TooSlowError(),
        urllib.error.URLError(TimeoutError()),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__name__}",
)
def test_every_librarys_timeout_is_one(error) -> None:
    assert is_timeout(error)


@pytest.mark.parametrize(
    "error",
    [
        None,
        "TimeoutError",
        ValueError("timeout"),
        OSError(),
        OSError(errno.ECONNREFUSED, "refused"),
        grpc.RpcError(),
        httpx.ConnectError("refused"),
        psycopg.ProgrammingError('invalid connection option "timeout"'),
        psycopg.errors.QueryCanceled("canceling statement due to user request"),
        pymysql.err.OperationalError(),
        pymysql.err.OperationalError(2003, "Can't connect to MySQL server"),
        requests.ConnectionError(),
        requests.exceptions.RetryError(),
        rq.exceptions.TimeoutFormatError(),
        sqlalchemy.exc.OperationalError("SELECT 1", {}, ConnectionRefusedError()),
        urllib.error.URLError("unknown url type"),
        urllib3.exceptions.MaxRetryError(None, "/", None),
        urllib3.exceptions.TimeoutStateError(),
        urllib3.Timeout(1),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__name__}",
)
def test_what_only_speaks_of_time_is_none(error) -> None:
    assert not is_timeout(error)


@pytest.mark.parametrize(
    ("errors", "timeout"),
    [
        ([httpx.ReadTimeout("late")], True),
        ([httpx.ReadTimeout("late"), TimeoutError()], True),
        ([httpx.ReadTimeout("late"), ValueError()], False),
    ],
)
def test_a_group_is_a_timeout_where_all_are(errors, timeout) -> None:
    async def fail(error: Exception) -> NoReturn:
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
            raise error

    async def together() -> None:
        async with anyio.create_task_group() as group:
            for error in errors:
                group.start_soon(fail, error)

    assert is_timeout(raised_by(lambda: asyncio.run(together()))) is timeout


def test_what_cannot_be_read_says_nothing() -> None:
    class Broken(urllib3.exceptions.MaxRetryError):
        @property
        def reason(self) -> NoReturn:
            raise RuntimeError("not now")

        @reason.setter
        def reason(self, _value: object) -> None:
            pass

    assert not is_timeout(Broken(None, "/"))
    around = urllib.error.URLError("")
    around.reason = around
    assert not is_timeout(around)


SLEEP = "SELECT pg_sleep(60)"


def over_engine(url: str) -> object:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SET statement_timeout = 20"))
            return connection.execute(text(SLEEP))
    finally:
        engine.dispose()


def over_async_engine(url: str) -> object:
    async def run() -> None:
        engine = create_async_engine(url)
        try:
            async with engine.connect() as connection:
                await connection.execute(text("SET statement_timeout = 20"))
                await connection.execute(text(SLEEP))
        finally:
            await engine.dispose()

    return asyncio.run(run())


@pytest.mark.components
@pytest.mark.parametrize(
    ("client", "driver"),
    [(over_engine, "psycopg"), (over_engine, "psycopg2"), (over_async_engine, "asyncpg")],
)
def test_a_statement_that_postgresql_ends_for_its_time_is_one(client, driver, postgresql) -> None:
    error = raised_by(lambda: client(postgresql.url(f"postgresql+{driver}")))
    assert isinstance(error, sqlalchemy.exc.DBAPIError)
    assert is_timeout(error)
    assert is_timeout(error.orig)
    assert is_timeout(getattr(error, "driver_exception", error.orig))


@pytest.mark.components
def test_a_lock_that_is_not_had_is_one_if_it_was_waited_for(postgresql) -> None:
    where = {"host": "127.0.0.1", "port": postgresql.port, "user": "postgres", "dbname": "postgres"}
    with psycopg.connect(**where) as first, psycopg.connect(**where) as second:
        first.execute("SELECT pg_advisory_xact_lock(7)")
        second.execute("SET lock_timeout = 20")
        waited = raised_by(lambda: second.execute("SELECT pg_advisory_xact_lock(7)"))
    assert isinstance(waited, psycopg.errors.LockNotAvailable)
    assert is_timeout(waited)
    assert not is_timeout(psycopg.errors.LockNotAvailable("could not obtain lock on row"))


@pytest.mark.components
def test_a_statement_that_somebody_ends_is_none(postgresql) -> None:
    def ended_by_itself() -> None:
        with psycopg.connect(host="127.0.0.1", port=postgresql.port, user="postgres", dbname="postgres") as connection:
            connection.execute("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)")

    error = raised_by(ended_by_itself)
    assert isinstance(error, psycopg.errors.QueryCanceled)
    assert not is_timeout(error)
