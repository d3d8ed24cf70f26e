"""A few threads that do what is ready to be done, and are there only once they are needed."""

from __future__ import annotations

import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING

from otelbridge.diagnostics import logger, warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = Callable[[], None]


class Workers:
    """Daemon threads that take jobs in turn. Jobs are given by one thread only.

    Args:
        name: Name of the threads.
        most: How many there may be.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._idle: deque[None] = deque()
        self._threads: list[threading.Thread] = []

    def submit(self, job: Job) -> None:
        """Have a job done as soon as a thread is free. It should not block."""
        self._jobs.put(job)
        try:
            self._idle.pop()  # one that is free takes the job
        except IndexError:
            if len(self._threads) < self._most:
                self._spawn()

    def close(self, timeout: float) -> bool:
        """Let the threads end when the jobs given so far are done.

        Args:
            timeout: Seconds to wait for that.

        Returns:
            Whether they have ended.
        """
        deadline = time.monotonic() + timeout
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _spawn(self) -> None:
        thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is going down
            warn_once(("workers", self._name), "The metrics endpoint has no thread to answer with: %s", error)
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:  # the thread has other connections to look after
                logger.debug("A connection to the metrics endpoint broke", exc_info=True)
            del job  # what it holds is not to live until the next one comes
            self._idle.append(None)
