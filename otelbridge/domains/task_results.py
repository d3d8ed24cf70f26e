"""How a run of a task ended, by what left it.

Task runners steer with exceptions, and programs end with one, which are no failures. They are told by the names of
their classes, so that no runner has to be imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from otelbridge.domains.operation import class_name
from otelbridge.domains.timeouts import is_timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_Known = TypeVar("_Known")

Result = Literal["success", "failure", "cancelled", "timeout", "retry", "ignored", "rejected"]

FAILURES: frozenset[Result] = frozenset({"failure", "timeout"})
"""The results that are failures of the task."""

NO_ERRORS: frozenset[Result] = frozenset({"success", "retry", "ignored", "rejected"})
"""The results of exceptions that are no errors."""


def result_of_error(error: BaseException | None) -> Result:
    """Tell how a run ended that an exception left.

    Args:
        error: The exception; None for a clean end.
    """
    if error is None:
        return "success"
    known = _of_class(_BY_EXCEPTION, error)
    if known is None:
        return "timeout" if is_timeout(error) else "failure"
    return known(error) if callable(known) else known


def result_of_value(value: object) -> Result | None:
    """Tell how a run ended by what the function returned, where that steers a task runner; otherwise None."""
    return _of_class(_BY_VALUE, value)


def _of_class(table: Mapping[str, _Known], value: object) -> _Known | None:
    return next((table[name] for name in map(class_name, type(value).__mro__) if name in table), None)


def _group(error: Any) -> Result:
    # Where one fails, the others are cancelled for it. What steers a runner does so alone, not in a group.
    results = set(map(result_of_error, error.exceptions)) - {"cancelled"}
    if not results:
        return "cancelled"
    return "timeout" if results == {"timeout"} else "failure"


def _exit(error: SystemExit) -> Result:
    # Anything but a number is printed, and the code is then 1.
    return _code(error.code if isinstance(error.code, int) or error.code is None else 1)


def _exit_of_command(error: Any) -> Result:
    return _code(getattr(error, "exit_code", 1))


def _code(code: int | None) -> Result:
    return "failure" if code else "success"


_BY_EXCEPTION: Mapping[str, Result | Callable[[Any], Result]] = {
    "BaseExceptionGroup": _group,
    "SystemExit": _exit,
    "arq.worker.Retry": "retry",
    "arq.worker.RetryJob": "retry",
    "asyncio.exceptions.CancelledError": "cancelled",
    "celery.exceptions.Ignore": "ignored",
    "celery.exceptions.Reject": "rejected",
    "celery.exceptions.Retry": "retry",
    "celery.exceptions.WorkerShutdown": "cancelled",
    "celery.exceptions.WorkerTerminate": "cancelled",
    "click.exceptions.Exit": _exit_of_command,
    # The retries of dramatiq take it for a wish to try again, and do not call it an error.
    "dramatiq.errors.RateLimitExceeded": "retry",
    "dramatiq.errors.Retry": "retry",
    "dramatiq.middleware.middleware.SkipMessage": "ignored",
    "dramatiq.middleware.shutdown.Shutdown": "cancelled",
    "exceptiongroup.BaseExceptionGroup": _group,  # for Python 3.10
    # How gevent ends a greenlet, and Celery's pool of them a revoked task.
    "greenlet.GreenletExit": "cancelled",
    "rq.exceptions.ShutDownImminentException": "cancelled",
    "taskiq.exceptions.NoResultError": "ignored",
    "taskiq.exceptions.TaskRejectedError": "rejected",
    "trio.Cancelled": "cancelled",
    "typer.exceptions.Exit": _exit_of_command,
}

_BY_VALUE: Mapping[str, Result] = {"rq.job.Retry": "retry"}
