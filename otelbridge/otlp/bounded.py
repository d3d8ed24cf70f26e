"""Calls that know no deadline of their own, waited for no longer than one."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, TypeVar

from otelbridge.concurrency import forks
from otelbridge.diagnostics import origin_of, warn

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


def within(seconds: float, work: Callable[[], _T], name: str) -> _T:
    """Do something in a thread of its own, and wait for it.

    Args:
        seconds: How long to wait.
        work: What to do.
        name: Name of the thread.

    Returns:
        What it returned.

    Raises:
        TimeoutError: It was not done in time. It goes on by itself.
        Exception: What it raised.
    """
    results: queue.SimpleQueue[tuple[_T] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((work(),))
        except Exception as error:
            results.put(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # No thread can be had: at the end of a process (Python 3.12), or at the limit of the system.
        run()
    try:
        result = results.get(timeout=max(seconds, 0))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(result, Exception):
        raise result
    return result[0]


def begin(work: Callable[[], object], name: str) -> Callable[[float], bool]:
    """Begin to do something in a thread of its own.

    Args:
        work: What to do.
        name: Name of the thread.

    Returns:
        What waits for it at most some seconds, and tells whether it was done and raised nothing.
    """
    done = forks.event()
    well: list[bool] = []

    def run() -> None:
        try:
            work()
            well.append(True)
        except Exception as error:
            warn("%s: it raised %s.", name, origin_of(error))
        finally:
            done.set()

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError:  # as above
        run()
    return lambda seconds: done.wait(max(seconds, 0)) and bool(well)
