"""What the package says about trouble at run time: one log line a cause, never an exception.

Recording calls sit in an application's hot paths. A mistake there (a wrong type, an unknown
attribute) must neither raise nor flood the log, so each distinct cause is reported once.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

logger = logging.getLogger("otelbridge")

# Causes are built from metric names and keys. A caller that invents names without end must not grow
# this set without end either; beyond the cap the report itself is the one that is dropped.
_MAX_CAUSES = 1000

_reported: set[tuple[str, ...]] = set()
# Reentrant: a signal handler or finalizer may report while this thread does.
_lock = threading.RLock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def warn_once(cause: tuple[str, ...], message: str, *args: object) -> None:
    """Log a warning the first time a cause is seen.

    Args:
        cause: What makes this trouble distinct, for instance the metric name and the kind of mistake.
        message: A ``logging`` format string that names the cause, the value and the cure.
        *args: The arguments of ``message``.
    """
    with _lock:
        if cause in _reported or len(_reported) >= _MAX_CAUSES:
            return
        _reported.add(cause)
    logger.warning(message, *args)


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
    with _lock:
        _reported.clear()
