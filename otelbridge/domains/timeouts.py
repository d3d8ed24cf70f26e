"""Which exceptions mean that time ran out, whoever raised them.

Libraries bring classes of their own, which are told by their names, so that none has to be imported. Where a name does
not say it, or says it wrongly, a table knows.
"""

from __future__ import annotations

import errno
import re
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from otelbridge.domains.operation import class_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Verdict = Callable[[Any], bool]

# `ReadTimeout`, `TIMEOUT`, `APITimeoutError`, `TimeoutExpired`, `SoftTimeLimitExceeded`. What follows may be no other
# word: a `TimeoutFormatError` is about a number that cannot be read.
_TIMEOUT = re.compile(
    r"(?:Timeout|TIMEOUT|TimedOut|TimeLimitExceeded|DeadlineExceeded)(?:Error|Exception|Expired|Exceeded)?$"
)
# PostgreSQL's codes of a statement that was ended and of a lock that was not had, for a limit of time or otherwise.
_QUERY_CANCELED, _LOCK_NOT_AVAILABLE = "57014", "55P03"
# A lock, a statement of MariaDB and one of MySQL took longer than their limits.
_MYSQL_LIMITS = frozenset({1205, 1969, 3024})


def is_timeout(error: object) -> bool:
    """Tell whether an exception means that time ran out.

    The class decides, or the first of its bases that says something: by its name (a word for a limit of time at the
    end), or by what is known of it. An exception that carries another one, as SQLAlchemy's, urllib's and requests' do,
    is what that one is; one that carries several is a timeout where all of them are.

    Args:
        error: The exception. What is none is no timeout either.
    """
    for kind in type(error).__mro__:
        verdict = _VERDICTS.get(class_name(kind))
        if verdict is not None:
            return _judged(verdict, error)
        if _TIMEOUT.search(kind.__name__):
            return isinstance(error, BaseException)
    return False


def _judged(verdict: Verdict, error: object) -> bool:
    try:
        return verdict(error)
    except Exception:  # one that lacks what its class promises says nothing
        return False


def _carrying(inner: Callable[[Any], object]) -> Verdict:
    return lambda error: is_timeout(inner(error))


def _all_late(group: Any) -> bool:
    return all(map(is_timeout, group.exceptions))


def _always(_error: Any) -> bool:
    return True


def _never(_error: Any) -> bool:
    return False


def _limit_of_postgresql(error: Any) -> bool:
    # Of who or what ended the statement, and of why a connection failed, only the message tells.
    code, message = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None), str(error)
    return "timeout expired" in message or (code in (_QUERY_CANCELED, _LOCK_NOT_AVAILABLE) and "timeout" in message)


def _limit_of_mysql(error: Any) -> bool:
    return error.args[0] in _MYSQL_LIMITS or "(timed out)" in str(error) or is_timeout(error.__cause__)


_VERDICTS: Mapping[str, Verdict] = {
    "BaseExceptionGroup": _all_late,
    "OSError": lambda error: error.errno == errno.ETIMEDOUT,
    "asyncpg.exceptions._base.PostgresError": _limit_of_postgresql,
    "exceptiongroup.BaseExceptionGroup": _all_late,  # for Python 3.10
    "grpc.RpcError": lambda error: error.code().name == "DEADLINE_EXCEEDED",
    "psycopg.Error": _limit_of_postgresql,
    "psycopg2.Error": _limit_of_postgresql,
    "pymysql.err.OperationalError": _limit_of_mysql,
    "requests.exceptions.ConnectionError": _carrying(lambda error: error.args[0]),
    "sqlalchemy.dialects.postgresql.asyncpg.AsyncAdapt_asyncpg_dbapi.Error": _limit_of_postgresql,
    "sqlalchemy.exc.DBAPIError": _carrying(attrgetter("orig")),
    "trio.TooSlowError": _always,
    "urllib.error.URLError": _carrying(attrgetter("reason")),
    "urllib3.exceptions.MaxRetryError": _carrying(attrgetter("reason")),
    # It has the timeout of connecting among its bases, and is a refusal.
    "urllib3.exceptions.NewConnectionError": _never,
}
