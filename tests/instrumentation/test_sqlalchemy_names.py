import asyncio
import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, create_engine
from sqlalchemy.pool import NullPool

from otelbridge.instrumentation.sqlalchemy.failures import failure_attributes
from otelbridge.instrumentation.sqlalchemy.identity import identify, release


def names(url):
    engine = create_engine(url, poolclass=NullPool)
    identity = identify(engine)
    release(identity)
    return identity.system, identity.namespace, identity.pool_name


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql+psycopg://u:secret@db.example:5432/shop", ("postgresql", "shop", "db.example:5432/shop")),
        ("postgresql+asyncpg://u:secret@db.example/shop", ("postgresql", "shop", "db.example/shop")),
        ("postgresql+psycopg://u:secret@/shop?host=/run/pg&port=5433", ("postgresql", "shop", "/run/pg:5433/shop")),
        (
            "postgresql+psycopg://u:secret@/shop?host=one:5432&host=two:5432",
            ("postgresql", "shop", "one:5432/shop"),
        ),
        ("postgresql+psycopg://", ("postgresql", None, "postgresql")),
        ("sqlite://", ("sqlite", ":memory:", ":memory:")),
        ("sqlite:///:memory:", ("sqlite", ":memory:", ":memory:")),
        ("sqlite:////var/lib/shop.db", ("sqlite", "shop.db", "shop.db")),
        ("sqlite:///file:data/shop.db?mode=ro&uri=true", ("sqlite", "shop.db", "shop.db")),
        ("sqlite:///C:\\data\\shop.db", ("sqlite", "shop.db", "shop.db")),
    ],
)
def test_names_of_an_engine(url, expected):
    assert names(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql+psycopg://u:secret@db.example:5432/shop", ("db.example", 5432)),
        ("mysql+pymysql://u:secret@db.example/shop", ("db.example", None)),
        ("mariadb+pymysql://u:secret@[::1]:3307/shop", ("::1", 3307)),
        ("mysql+pymysql://u:secret@/shop?unix_socket=/run/mysqld/s", ("/run/mysqld/s", None)),
        ("postgresql+psycopg://u:secret@/shop?host=/run/pg&port=5433", ("/run/pg", 5433)),
        ("postgresql+psycopg://u:secret@/shop?host=one:5432&host=two:5433", ("one", 5432)),
        ("postgresql+psycopg://u:secret@/shop?host=one,two&port=5432,5433", ("one", 5432)),
        ("postgresql+psycopg:///shop?port=5433", (None, None)),
        ("sqlite:////var/lib/shop.db", (None, None)),
    ],
)
def test_servers_of_an_engine(url, expected):
    engine = create_engine(url, poolclass=NullPool)
    identity = identify(engine)
    release(identity)
    assert (identity.address, identity.port) == expected
    attributes = {"server.address": identity.address, "server.port": identity.port}
    assert attributes.items() - identity.attributes.items() <= {(key, None) for key in attributes}


WORDS = st.text("abcdefghij", min_size=1, max_size=8)


@settings(deadline=None)  # the first engine imports its driver
@given(WORDS.map(lambda word: f"user-{word}"), WORDS.map(lambda word: f"secret-{word}"), WORDS, WORDS)
def test_account_and_password_are_in_no_name(user, password, host, database):
    url = URL.create("postgresql+psycopg", user, password, host, 5432, database, {"options": password, "user": user})
    for name in names(url):
        assert user not in name
        assert password not in name


def test_engines_of_one_database_get_names_of_their_own_while_they_live():
    first, second = (create_engine("sqlite:///same.db") for _ in range(2))
    assert identify(first).pool_name == "same.db"
    other = identify(second)
    assert other.pool_name == "same.db#2"
    assert identify(second) == other
    del first
    gc.collect()
    assert identify(create_engine("sqlite:///same.db")).pool_name == "same.db"


class DriverError(Exception):
    sqlstate = pgcode = errno = None

    def __init__(self, *args, **attributes):
        super().__init__(*args)
        for name, value in attributes.items():
            setattr(self, name, value)


OWN = f"{__name__}.DriverError"


@pytest.mark.parametrize(
    ("error", "system", "name"),
    [
        (DriverError("duplicate", sqlstate="23505"), "postgresql", "23505"),
        (DriverError("duplicate", pgcode="23505"), "postgresql", "23505"),
        (DriverError("42S02", "no such table"), "microsoft.sql_server", "42S02"),
        (DriverError("ERROR", "words are no code"), "microsoft.sql_server", OWN),
        (DriverError(1062, "Duplicate entry"), "mysql", "1062"),
        (DriverError("gone", errno=2006), "mariadb", "2006"),
        (DriverError(DriverError(full_code="ORA-00942")), "oracle.db", "ORA-00942"),
        (DriverError("ORA-00942: no such table"), "oracle.db", OWN),
        (DriverError("UNIQUE failed", sqlite_errorname="SQLITE_CONSTRAINT_UNIQUE"), "sqlite", OWN),
        (DriverError("secret value"), "postgresql", OWN),
        (TimeoutError(), "postgresql", "TimeoutError"),
        (asyncio.CancelledError(), "postgresql", "asyncio.exceptions.CancelledError"),
    ],
)
def test_names_of_failures(error, system, name):
    expected = {"error.type": name}
    if name[0].isdigit() or name.startswith("ORA-"):
        expected["db.response.status_code"] = name
    assert failure_attributes(error, system) == expected
