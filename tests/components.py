"""Real components that tests run against, and what happens where one cannot be had."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.leftovers import disk_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REQUIRED = "OTELBRIDGE_REQUIRE_COMPONENTS"
_UNPRIVILEGED = "nobody"
# Below those that systems give to whatever asks for any port. Hypothesis makes other chance repeat itself.
_PORTS = (10_240, 32_000)
_chance = random.SystemRandom()
_START_SECONDS = 60.0


def missing(component: str, reason: str) -> NoReturn:
    """Skip the test that needs a component, or fail it where components are required."""
    message = f"{component}: {reason}"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{message} ({REQUIRED}=1)")
    pytest.skip(message)


def free_port() -> int:
    """A port on which nothing listens, and which the system gives to no connection until a server has it."""
    while True:
        port = _chance.randrange(*_PORTS)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


async def running(url: str, query: str) -> None:
    """Wait until a database executes something, which a query counts."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    deadline = time.monotonic() + _START_SECONDS
    # Within one transaction PostgreSQL tells the same again and again.
    with create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        while not connection.execute(text(query)).scalar():
            assert time.monotonic() < deadline, f"{query} counts nothing"
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Postgresql:
    """A running PostgreSQL server."""

    port: int
    database: str = "postgres"

    def url(self, dialect: str = "postgresql+psycopg") -> str:
        """URL of the server for a SQLAlchemy dialect."""
        return f"{dialect}://postgres:secret-word@127.0.0.1:{self.port}/{self.database}"

    @property
    def pool_name(self) -> str:
        """The name a pool of this database goes by."""
        return f"127.0.0.1:{self.port}/{self.database}"


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgresql]:
    """A PostgreSQL server of its own, with prepared transactions allowed, stopped at the end."""
    server, initdb = shutil.which("postgres"), shutil.which("initdb")
    if server is None or initdb is None:
        missing("PostgreSQL", "postgres and initdb are not on PATH")
    place = _unprivileged_directory(tmp_path_factory, "pg")
    data, port = place / "data", free_port()
    options = {"cwd": place, **_account()}
    environment = {**os.environ, "HOME": str(place), "LC_ALL": "C"}
    subprocess.run(
        [initdb, "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"],
        check=True,
        capture_output=True,
        env=environment,
        **options,
    )
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": place,
        "fsync": "off",
        "max_prepared_transactions": 5,
    }
    arguments = [item for name, value in settings.items() for item in ("-c", f"{name}={value}")]
    with running_server(
        [server, "-D", str(data), *arguments], place, _postgresql_answers(port), env=environment, **options
    ):
        yield Postgresql(port)


@dataclass(frozen=True)
class Mariadb:
    """A running MariaDB server, which speaks MySQL's protocol."""

    port: int
    database: str = "shop"

    def url(self, dialect: str = "mysql+pymysql") -> str:
        """URL of the server for a SQLAlchemy dialect."""
        return f"{dialect}://service:secret-word@127.0.0.1:{self.port}/{self.database}"

    @property
    def pool_name(self) -> str:
        """The name a pool of this database goes by."""
        return f"127.0.0.1:{self.port}/{self.database}"


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mariadb]:
    """A MariaDB server of its own, with an empty database, stopped at the end."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    server, install = shutil.which("mariadbd", path=path), shutil.which("mariadb-install-db")
    if server is None or install is None:
        missing("MariaDB", "mariadbd and mariadb-install-db are not on PATH (Debian's mariadb-server)")
    place = _unprivileged_directory(tmp_path_factory, "mariadb")
    port = free_port()
    options = {"cwd": place, **_account()}
    subprocess.run(
        [install, "--no-defaults", f"--datadir={place}/data", "--auth-root-authentication-method=normal"],
        check=True,
        capture_output=True,
        **options,
    )
    mariadb = Mariadb(port)
    (place / "init.sql").write_text(
        f"CREATE DATABASE {mariadb.database};\n"
        "CREATE USER service@127.0.0.1 IDENTIFIED BY 'secret-word';\n"
        "GRANT ALL ON *.* TO service@127.0.0.1;\n"
    )
    settings = {
        "datadir": place / "data",
        "port": port,
        "bind-address": "127.0.0.1",
        "socket": place / "s",
        "pid-file": place / "pid",
        "init-file": place / "init.sql",
        "innodb-flush-log-at-trx-commit": 0,
        "innodb-lock-wait-timeout": 60,
        "skip-name-resolve": "ON",
        # A temporary directory of the tests' is gone before the server is.
        "tmpdir": place,
    }
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    with running_server([server, "--no-defaults", *arguments], place, _mariadb_answers(mariadb), **options):
        yield mariadb


@contextmanager
def running_server(command: list[str], place: Path, answers: Callable[[], bool], **options: Any) -> Iterator[None]:
    """A server that answers, ended at the end and its directory removed; what it says is in ``log`` there."""
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, **options)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not answers():
            assert process.poll() is None, f"{command[0]} stopped: {(place / 'log').read_text()}"
            assert time.monotonic() < deadline, f"{command[0]} did not start: {(place / 'log').read_text()}"
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(place, ignore_errors=True)


def _account() -> dict[str, Any]:
    return {"user": _UNPRIVILEGED} if _is_root() else {}


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def _unprivileged_directory(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    # Database servers refuse to run as root. Their directory then lies beside pytest's own, whose parents
    # only their owner may enter; and a socket's path must be short anyway.
    if not _is_root():
        return tmp_path_factory.mktemp(name)
    place = Path(tempfile.mkdtemp(prefix=name, dir=disk_directory()))
    shutil.chown(place, _UNPRIVILEGED)
    return place


def _postgresql_answers(port: int) -> Callable[[], bool]:
    import psycopg

    def answers() -> bool:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    return answers


def _mariadb_answers(mariadb: Mariadb) -> Callable[[], bool]:
    import pymysql

    def answers() -> bool:
        try:
            pymysql.connect(host="127.0.0.1", port=mariadb.port, user="service", password="secret-word").close()
        except pymysql.OperationalError:
            return False
        return True

    return answers
