"""Real components that tests run against, and what happens where one cannot be had."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.leftovers import disk_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
    place = _unprivileged_directory(tmp_path_factory)
    data, port = place / "data", free_port()
    account = {"user": _UNPRIVILEGED} if _is_root() else {}
    options = {"cwd": place, **account}
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
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [server, "-D", str(data), *arguments], stdout=log, stderr=log, env=environment, **options
        )
    try:
        _wait_until_ready(process, port, place / "log")
        yield Postgresql(port)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(place, ignore_errors=True)


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def _unprivileged_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # PostgreSQL refuses to run as root. Its directory then lies beside pytest's own, whose parents
    # only their owner may enter; and a socket's path must be short anyway.
    if not _is_root():
        return tmp_path_factory.mktemp("pg")
    place = disk_directory() / "pg"
    place.mkdir()
    shutil.chown(place, _UNPRIVILEGED)
    return place


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + _START_SECONDS
    while True:
        assert process.poll() is None, f"PostgreSQL stopped: {log.read_text()}"
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, f"PostgreSQL did not start: {log.read_text()}"
            time.sleep(0.1)
        else:
            return
