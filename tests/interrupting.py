"""A signal handler that is called wherever the main thread is, as often as the machine can bear it."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def interrupting(handler: Callable[[], object], seconds: float, *, nested: bool = False) -> Iterator[None]:
    """Call a handler again and again, as long as the block lasts.

    The timer is set anew when the handler has ended: one that went on by itself would, where the handler takes longer
    than it, interrupt the handler in its handler, ever deeper.

    Args:
        handler: What is called.
        seconds: How long after the end of one call the next one comes.
        nested: Whether a call may be interrupted by one further call.
    """
    depth, on = 0, True

    def call(_number: int, _frame: object) -> None:
        nonlocal depth
        depth += 1
        if nested and depth == 1:
            signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            handler()
        finally:
            depth -= 1
            # The last signal may arrive when the timer is stopped already.
            if on and not depth:
                signal.setitimer(signal.ITIMER_REAL, seconds)

    before = signal.signal(signal.SIGALRM, call)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        on = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
