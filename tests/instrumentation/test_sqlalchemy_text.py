import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.instrumentation.sqlalchemy.sqltext import MAX_TEXT, Summary, summarize

NAME_CHARACTERS = frozenset(string.ascii_letters + string.digits + "_.$")


@pytest.mark.parametrize(
    ("statement", "operation", "collection"),
    [
        ("SELECT 1", "SELECT", None),
        ("select * from users", "SELECT", "users"),
        ("SELECT a FROM public.users AS u WHERE u.b IN (1, 2) ORDER BY 1, 2", "SELECT", "public.users"),
        ('INSERT INTO "Order" (a, b) VALUES (?, ?)', "INSERT", "Order"),
        ("INSERT INTO t(a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = excluded.a", "INSERT", "t"),
        ("INSERT OR REPLACE INTO t VALUES (1)", "INSERT", "t"),
        ("INSERT INTO t (a) VALUES (1) RETURNING t.id INTO :id", "INSERT", "t"),
        ("UPDATE t SET a = 1, b = 2 WHERE c = 3", "UPDATE", "t"),
        ("DELETE FROM ONLY t", "DELETE", "t"),
        ("SELECT * FROM `orders`", "SELECT", "orders"),
        ("SELECT [Order].[id] FROM [Order]", "SELECT", "Order"),
        ("SELECT EXTRACT(year FROM t.day) FROM t", "SELECT", "t"),
        ("SELECT * FROM t WHERE a IS DISTINCT FROM b FOR UPDATE", "SELECT", "t"),
        ("SELECT * FROM (SELECT * FROM t) AS q", "SELECT", "t"),
        ("SELECT a.x FROM t AS a JOIN t AS b ON a.x = b.y", "SELECT", "t"),
        ("-- one\n/* two */ (SELECT 1 FROM t) UNION (SELECT 2 FROM t)", "SELECT", "t"),
        ("WITH c AS (SELECT * FROM orders) SELECT * FROM c", "SELECT", "orders"),
        ("WITH RECURSIVE c (n) AS (SELECT 1 UNION SELECT n FROM c) SELECT * FROM c", "SELECT", None),
        ("WITH c AS (SELECT 1) INSERT INTO t SELECT * FROM c", "INSERT", "t"),
        ("SELECT 1;", "SELECT", None),
        ("SELECT 1; DROP TABLE t", "BATCH", None),
        ("SAVEPOINT sa_savepoint_1", "SAVEPOINT", None),
        ("PRAGMA table_info(t)", "PRAGMA", None),
        ("own_procedure 1, 2", None, None),
        ("", None, None),
        ("  /* nothing */ ", None, None),
    ],
)
def test_simple_statements(statement, operation, collection):
    assert summarize(statement, "postgresql") == Summary(operation, collection)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM a, b",
        "SELECT * FROM t AS a, t AS b",
        "SELECT * FROM a JOIN b ON a.x = b.x",
        "DELETE FROM t USING u WHERE t.a = u.a",
        "INSERT INTO a SELECT * FROM b",
        "MERGE INTO t USING s ON (1) WHEN MATCHED THEN UPDATE SET a = 1",
        "SELECT * FROM generate_series(1, 2)",
        f"SELECT * FROM {'x' * 65}",
        'SELECT * FROM "a b"',
    ],
)
def test_no_table_is_named_where_there_is_not_exactly_one_plain_one(statement):
    assert summarize(statement, "postgresql").collection is None


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'x FROM secret'",
        "INSERT INTO t VALUES ('it''s FROM secret')",
        r"SELECT 'it\'s FROM secret'",
        "SELECT $$ FROM secret $$",
        "SELECT $tag$ FROM secret $tag$",
        "SELECT 1 -- FROM secret",
        "SELECT 1 /* FROM secret",
        'SELECT "a FROM secret"',
    ],
)
def test_literals_and_comments_never_become_names(statement):
    assert summarize(statement, "postgresql").collection in (None, "t")


@pytest.mark.parametrize("system", ["mysql", "mariadb"])
@pytest.mark.parametrize(
    ("statement", "operation", "collection"),
    [
        ("SELECT * FROM `shop`.`orders` AS `o` WHERE `o`.`from` = 1", "SELECT", "shop.orders"),
        ("# FROM secret\nSELECT a FROM t # , secret", "SELECT", "t"),
        ("INSERT INTO t SET a = 1 ON DUPLICATE KEY UPDATE a = 2", "INSERT", "t"),
        ("INSERT DELAYED IGNORE INTO `t` (a) VALUES (1)", "INSERT", "t"),
        ("REPLACE LOW_PRIORITY INTO t VALUES (1)", "REPLACE", "t"),
        ("UPDATE LOW_PRIORITY IGNORE t SET a = 1, b = 2", "UPDATE", "t"),
        ("UPDATE t AS a, u AS b SET a.x = b.x", "UPDATE", None),
        ("DELETE LOW_PRIORITY QUICK FROM t LIMIT 1", "DELETE", "t"),
        ("DELETE t FROM t JOIN u ON t.a = u.a", "DELETE", None),
        ("SELECT SQL_CALC_FOUND_ROWS * FROM t FORCE INDEX FOR JOIN (i) LIMIT 1, 2", "SELECT", "t"),
        ("SELECT a INTO @a FROM t", "SELECT", None),
        ("SELECT a FROM t STRAIGHT_JOIN u", "SELECT", None),
        ('SELECT a FROM t WHERE b = "x FROM secret"', "SELECT", "t"),
        ("SELECT a FROM `a``b`", "SELECT", None),
        ("SELECT a FROM t PARTITION (p0) LOCK IN SHARE MODE", "SELECT", "t"),
        ("/*!40101 SET NAMES utf8 */", None, None),
        ("LOAD DATA INFILE 'x' INTO TABLE t", "LOAD", None),
        ("CALL work(1)", "CALL", None),
        ("XA START 'secret'", "XA", None),
    ],
)
def test_statements_of_mysql(system, statement, operation, collection):
    assert summarize(statement, system) == Summary(operation, collection)


@pytest.mark.parametrize(
    ("statement", "collection"),
    [
        ("SELECT a #> '{b}' FROM t", "t"),
        ("UPDATE ignore SET a = 1, b = 2", "ignore"),
        ("SELECT * FROM ignore AS i", "ignore"),
        ("INSERT INTO low_priority VALUES (1)", "low_priority"),
        ('SELECT a FROM "a""b"', None),
    ],
)
def test_words_and_signs_of_mysql_mean_nothing_elsewhere(statement, collection):
    assert summarize(statement, "postgresql").collection == collection


def test_a_long_statement_is_read_in_part_and_names_no_table():
    statement = f"SELECT {', '.join(f'c{n}' for n in range(MAX_TEXT))} FROM t"
    assert summarize(statement, "postgresql") == Summary("SELECT", None)


KEYWORDS = ("SELECT", "FROM", "INTO", "UPDATE", "JOIN", "WITH", "AS", "USING")
SYSTEMS = st.sampled_from(("postgresql", "mysql"))
FRAGMENTS = st.sampled_from((*KEYWORDS, *"(),.;'\"`[]\\", "--", "/*", "*/", "$$", "\n", "t", "a b", "é", "1", "#"))


@given(st.one_of(st.text(), st.lists(FRAGMENTS, max_size=60).map(" ".join), st.lists(FRAGMENTS).map("".join)), SYSTEMS)
def test_any_text_gives_bounded_names(text, system):
    summary = summarize(text, system)
    assert summary.operation is None or (summary.operation.isalpha() and len(summary.operation) <= 20)
    if summary.collection is not None:
        assert len(summary.collection) <= 64
        assert set(summary.collection) <= NAME_CHARACTERS
