"""The same work under every supported line of SQLAlchemy must be recorded the same."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.components import missing

DRIVER = Path(__file__).with_name("sqlalchemy_driver.py")
CURRENT = ""
# Where psycopg came too late for a line of SQLAlchemy, the driver before it does the same.
SYNC_POSTGRESQL = {"1.4": "postgresql+psycopg2"}
# What that driver needs statements for, psycopg does by calls of its own.
BY_STATEMENT_OR_CALL = {"BEGIN", "PREPARE", "COMMIT", "ROLLBACK"}

pytestmark = pytest.mark.components


def work(version, url, how="given"):
    environment = dict(os.environ)
    if url.startswith(f"{SYNC_POSTGRESQL['1.4']}:") and find_spec("psycopg2") is None:
        missing("psycopg2", "it is not installed")
    if version:
        directory = Path(sys.prefix) / f"sqlalchemy-{version}"
        if not directory.is_dir():
            missing(f"SQLAlchemy {version}", f"it is not in {directory}")
        environment["PYTHONPATH"] = os.pathsep.join([str(directory), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, str(DRIVER), url, how],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["version"].startswith(version)
    return told


def without_two_phase_statements(metrics):
    name = "db.client.operation.duration"
    kept = [point for point in metrics[name] if point[0]["db.operation.name"] not in BY_STATEMENT_OR_CALL]
    return {**metrics, name: kept}


@pytest.fixture(scope="module")
def current(tmp_path_factory):
    """What the installed SQLAlchemy records, worked out once a database."""
    known = {}

    def current(kind, url):
        if kind not in known:
            known[kind] = work(CURRENT, url)["metrics"]
        return known[kind]

    return current


@pytest.mark.parametrize("version", ["1.4", "2.0"])
@pytest.mark.parametrize("dialect", ["sqlite", "sqlite+aiosqlite"])
def test_sqlite(tmp_path, current, version, dialect):
    told = work(version, f"{dialect}:///{tmp_path}/shop.db")
    (tmp_path / "shop.db").unlink()
    assert told["metrics"] == current(dialect, f"{dialect}:///{tmp_path}/shop.db")
    assert len(told["metrics"]) == 8


@pytest.mark.parametrize("version", ["1.4", "2.0", CURRENT])
@pytest.mark.parametrize("dialect", ["sqlite", "sqlite+aiosqlite"])
def test_engines_that_are_found(tmp_path, current, version, dialect):
    told = work(version, f"{dialect}:///{tmp_path}/shop.db", "found")
    (tmp_path / "shop.db").unlink()
    assert told["metrics"] == current(dialect, f"{dialect}:///{tmp_path}/shop.db")


@pytest.mark.parametrize("version", ["1.4", "2.0"])
@pytest.mark.parametrize("dialect", ["postgresql+psycopg", "postgresql+asyncpg"])
def test_postgresql(postgresql, current, version, dialect):
    synchronous = dialect == "postgresql+psycopg"
    told = work(version, postgresql.url(SYNC_POSTGRESQL.get(version, dialect) if synchronous else dialect))
    expected = current(dialect, postgresql.url(dialect))
    assert without_two_phase_statements(told["metrics"]) == without_two_phase_statements(expected)
    errors = {a.get("error.type") for a, _ in told["metrics"]["db.client.operation.duration"]}
    assert errors == {None, "23505"}


@pytest.mark.parametrize("version", ["1.4", "2.0"])
@pytest.mark.parametrize("dialect", ["mysql+pymysql", "mysql+aiomysql", "mariadb+pymysql", "mariadb+aiomysql"])
def test_mysql(mariadb, current, version, dialect):
    told = work(version, mariadb.url(dialect))
    assert told["metrics"] == current(dialect, mariadb.url(dialect))
    errors = {a.get("error.type") for a, _ in told["metrics"]["db.client.operation.duration"]}
    assert errors == {None, "1062"}


@pytest.mark.parametrize("version", ["1.4", "2.0"])
def test_spans_without_the_metric_that_comes_with_them(tmp_path, version):
    told = work(version, f"sqlite:///{tmp_path}/shop.db")
    assert any(name.startswith("select") for name in told["spans"])
    assert "db.client.connections.usage" not in told["names"]
    assert told["log"] == []
