import asyncio
import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, create_engine
from sqlalchemy.pool import NullPool

from otelbridge.instrumentation.sqlalchemy.failures import failure_name
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
    assert failure_name(error, system) == name
