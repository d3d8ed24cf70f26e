"""How a failed statement is named.

The conventions want the status code of the database in ``db.response.status_code``, and ``error.type`` to be
the same, or else the class of the exception. SQLSTATE is the code that most databases share; MySQL and Oracle
have numbers of their own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from otelbridge.domains.operation import error_type

if TYPE_CHECKING:
    from collections.abc import Callable

_SQLSTATE = re.compile(r"(?=.*[0-9])[0-9A-Z]{5}")
_ORACLE = re.compile(r"[A-Z]{2,4}-[0-9]{4,5}")
_LARGEST_ERRNO = 99_999


def failure_attributes(error: BaseException, system: str) -> dict[str, str]:
    """Name the failure of a statement.

    Args:
        error: What the driver raised.
        system: The ``db.system.name`` of the engine.

    Returns:
        ``error.type``, and ``db.response.status_code`` where the driver tells the code the database gave.
    """
    code = _CODES.get(system, _sqlstate)(error)
    return {"error.type": error_type(error)} if code is None else {"error.type": code, "db.response.status_code": code}


def _sqlstate(error: Any) -> str | None:
    for candidate in (getattr(error, "sqlstate", None), getattr(error, "pgcode", None), _first_argument(error)):
        if isinstance(candidate, str) and _SQLSTATE.fullmatch(candidate):
            return candidate
    return None


def _errno(error: Any) -> str | None:
    for candidate in (getattr(error, "errno", None), _first_argument(error)):
        if type(candidate) is int and 0 < candidate <= _LARGEST_ERRNO:
            return str(candidate)
    return None


def _oracle(error: Any) -> str | None:
    code = getattr(error.args[0], "full_code", None) if error.args else None
    return code if isinstance(code, str) and _ORACLE.fullmatch(code) else None


def _none(_error: Any) -> str | None:
    # SQLite's codes are known to the driver from Python 3.11 only; one service on two versions must not
    # show two names of one failure.
    return None


def _first_argument(error: BaseException) -> object:
    # Drivers give the code and then the message; a lone argument is a message.
    return error.args[0] if len(error.args) > 1 else None


_CODES: dict[str, Callable[[Any], str | None]] = {
    "mysql": _errno,
    "mariadb": _errno,
    "oracle.db": _oracle,
    "sqlite": _none,
}
