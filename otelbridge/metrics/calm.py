"""While somebody reads, no series is forgotten: a reader would miss what it had counted, or see it twice."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Calm:
    """Keeps readers of some streams, and what would disturb them, apart. Neither waits for the other for long."""

    def __init__(self) -> None:
        self._readers = 0
        self._disturbing = False
        self._later: deque[Callable[[], object]] = deque()
        # Reentrant: a signal handler may read or forget while this thread does.
        self._lock = threading.RLock()

    @contextmanager
    def reading(self) -> Generator[None]:
        """Read. What was put off meanwhile is done afterwards, by whoever is the last to read."""
        with self._lock:
            self._readers += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
            self.catch_up()

    @contextmanager
    def disturbing(self, later: Callable[[], Callable[[], object]]) -> Generator[bool]:
        """Do something while nobody reads, and nobody else does such a thing.

        Args:
            later: Makes what is to be done when that is so, if it is not now; see `catch_up`.

        Yields:
            Whether it is so; then nobody begins to before the end.
        """
        with self._lock:
            # This very thread may be at it already, and something it calls be a finalizer or signal handler.
            already = self._disturbing
            now = not self._readers and not already
            if not now:
                self._later.append(later())
            self._disturbing = True
            try:
                yield now
            finally:
                self._disturbing = already

    def put_off(self, what: Callable[[], object]) -> None:
        """Do something later, see `catch_up`."""
        self._later.append(what)

    def catch_up(self) -> None:
        """Do what was put off, unless somebody still reads."""
        for _ in range(len(self._later)):
            if self._readers or self._disturbing:
                return  # and do it at the end of that
            with suppress(IndexError):  # another thread has done it
                self._later.popleft()()

    def after_fork(self) -> None:
        """Begin anew in a forked child, where none of the parent's threads reads."""
        self._lock = threading.RLock()
        self._readers = 0
        self._disturbing = False
        self._later.clear()
