"""What the package says about trouble at run time: one log line a cause, never an exception.

Recording calls sit in an application's hot paths. A mistake there (a wrong type, an unknown
attribute) must neither raise nor flood the log, so each distinct cause is reported once.

Nothing is logged while a lock of ours is held: a handler of the application has a lock of its own, and may record.
What is reported meanwhile waits until the lock is released; docs/decisions/0012-locks-forks-and-logs.md.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from otelbridge.concurrency import forks

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("otelbridge")

# Causes are built from metric names and keys. A caller that invents names without end must not grow
# this without end either; beyond the cap the report itself is the one that is dropped.
_MAX_CAUSES = 1000

_reported: dict[tuple[str, ...], object] = {}
_waiting: deque[Callable[[], object]] = deque()


def warn_once(cause: tuple[str, ...], message: str, *args: object) -> None:
    """Log a warning the first time a cause is seen, as soon as this thread holds no lock of ours.

    Args:
        cause: What makes this trouble distinct, for instance the metric name and the kind of mistake.
        message: A ``logging`` format string that names the cause, the value and the cure.
        *args: The arguments of ``message``.
    """
    mine = object()
    if len(_reported) < _MAX_CAUSES and _reported.setdefault(cause, mine) is mine:
        warn(message, *args)


def warn(message: str, *args: object) -> None:
    """Log a warning as soon as this thread holds no lock of ours.

    Args:
        message: A ``logging`` format string.
        *args: The arguments of ``message``.
    """
    _waiting.append(partial(logger.warning, message, *args))
    log_waiting()


def inform(message: str, *args: object) -> None:
    """Log what is worth knowing and no trouble; otherwise as `warn`."""
    _waiting.append(partial(logger.info, message, *args))
    log_waiting()


def log_waiting() -> None:
    """Log what was reported while a lock was held, by this thread or another one, unless this one still holds one."""
    # At the end of the interpreter a frozen thread may have the lock of a handler.
    while _waiting and not sys.is_finalizing() and not forks.holding():
        try:
            log = _waiting.popleft()
        except IndexError:  # another thread has logged it
            return
        log()


class LateWarnings:
    """A block after which waiting warnings are logged: ``with late_warnings, self._lock: ...``."""

    def __enter__(self) -> None: ...

    def __exit__(self, *exception: object) -> None:
        log_waiting()


late_warnings = LateWarnings()
"""The one there is; it has no state."""


class _Late(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if not forks.holding():
            return True
        _waiting.append(partial(logging.getLogger(record.name).handle, record))
        return False


def delay_logs(*names: str) -> None:
    """Have loggers of others, whose code runs while locks of ours are held, wait as ours do.

    Args:
        *names: Names of the loggers; of those below them each for itself.
    """
    for name in names:
        logging.getLogger(name).addFilter(_late)


_late = _Late()


def origin_of(error: BaseException) -> str:
    """Say what was raised and where, for a log.

    Args:
        error: What other people's code raised.

    Returns:
        Its class and the innermost place, as in ``ValueError at shop.py:12``. Not its text, which is whoever's and may
        hold a password.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    return f"{type(error).__name__}{where}"


def forget_warnings() -> None:
    """Let every cause be reported again, as a new `init()` and tests want it."""
    _reported.clear()
