"""While somebody reads, no series is forgotten: a reader would miss what it had counted, or see it twice."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Calm:
    """Keeps readers of some streams, and what would disturb them, apart. Neither waits for the other for long."""

    def __init__(self) -> None:
        self._readers = 0
        self._later: list[Callable[[], object]] = []
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
            later: list[Callable[[], object]] = []
            with self._lock:
                self._readers -= 1
                if not self._readers:
                    later, self._later = self._later, later
            for disturb in later:
                disturb()

    @contextmanager
    def between(self, later: Callable[[], Callable[[], object]]) -> Generator[bool]:
        """Do something while nobody reads.

        Args:
            later: Makes what is to be done when nobody reads any longer.

        Yields:
            Whether nobody reads; nobody begins to before the end.
        """
        with self._lock:
            if self._readers:
                self._later.append(later())
            yield not self._readers

    def after_fork(self) -> None:
        """Begin anew in a forked child, where none of the parent's threads reads."""
        self._lock = threading.RLock()
        self._readers = 0
        self._later = []
