"""Work that must not wait for itself.

A signal handler, a finalizer or a logging handler runs in the middle of whatever its thread is at. If it asks for the
same thing again, or waits for another thread that needs what its own thread holds, nothing ever goes on. So each thread
knows what it is in the middle of, and who asks for more can be told at once.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from otelbridge.concurrency import forks

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class ReentranceError(RuntimeError):
    """A thread asked for what it is in the middle of."""


class Turn:
    """Work that one thread does at a time.

    Args:
        what: The work, for people; see `inside`.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._renew()
        forks.register(after_in_child=self._renew)

    def _renew(self) -> None:
        # A forked child has another one, as it may never come to the end of what its thread was at in the parent.
        self.lock = forks.lock()
        """Held meanwhile. It may be taken without a turn to keep out other threads."""

    def run(self, work: Callable[[], _T], timeout: float = -1.0) -> _T:
        """Do it when other threads have done theirs.

        Args:
            work: What is to be done.
            timeout: Seconds to wait for other threads; without end if negative.

        Returns:
            What `work` gave.

        Raises:
            ReentranceError: This thread, or the one it works for, is in the middle of it.
            TimeoutError: Other threads took too long.
        """
        if self in _here.turns:
            raise ReentranceError(f"{self._what} was asked for in the middle of it")
        if timeout >= 0 and not self.lock.acquire(timeout=timeout):
            raise TimeoutError(f"other threads took more than {timeout:.1f} s for {self._what}")
        # A handler that comes before the next line has its turn within this one's lock, and leaves no trace. Nothing
        # interrupts between taking a lock by `with` and what follows, so that it is given back whatever is raised.
        with self.lock:
            if timeout >= 0:
                self.lock.release()
            return _during(self._what, _here.turns | {self}, work)


class _Here(threading.local):
    """What a thread is in the middle of."""

    what = ""
    turns: frozenset[Turn] = frozenset()


_here = _Here()


def inside() -> str:
    """Tell what this thread is in the middle of; empty if it is nothing that could be waited for."""
    return _here.what


def engaged() -> bool:
    """Tell whether this thread, or the one it works for, has the turn of anything."""
    return bool(_here.turns)


def during(what: str, work: Callable[[], _T]) -> _T:
    """Do what other threads may do at the same time.

    Args:
        what: The work, for people; see `inside`.
        work: What is to be done.

    Returns:
        What `work` gave.
    """
    return _during(what, _here.turns, work)


def on_behalf(work: Callable[[], _T]) -> Callable[[], _T]:
    """Prepare what another thread is to do for this one, which waits for it.

    Args:
        work: What is to be done.

    Returns:
        The same, done in the middle of what this thread is in the middle of.
    """
    what, turns = _here.what, _here.turns
    return lambda: _during(what, turns | _here.turns, work)


def _during(what: str, turns: frozenset[Turn], work: Callable[[], _T]) -> _T:
    before = _here.what, _here.turns
    try:
        _here.what, _here.turns = what, turns
        return work()
    finally:
        _here.what, _here.turns = before


def _begin_child() -> None:
    _here.what, _here.turns = "", frozenset()


forks.register(after_in_child=_begin_child)
