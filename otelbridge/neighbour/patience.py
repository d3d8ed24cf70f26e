"""Calls code that may take its time, or never return, and goes on without it after a while."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

_ALTOGETHER = 4
"""All jobs of one run together get so many times the patience for one."""

T = TypeVar("T")
K = TypeVar("K", bound="Hashable")


class _Batch(Generic[K, T]):
    """Jobs that one thread does one after the other."""

    def __init__(self, jobs: Mapping[K, Callable[[], T]]) -> None:
        self.jobs = dict(jobs)
        self.results: dict[K, T] = {}
        self.errors: dict[K, BaseException] = {}
        self.at: K | None = None
        """What is being done."""
        self.abandoned = False
        self.ended = threading.Event()

    def run(self) -> None:
        """Do the jobs, until somebody no longer waits for them."""
        try:
            for key, job in self.jobs.items():
                self.at = key
                try:
                    result = job()
                except BaseException as error:  # SystemExit too: it is the job's, not the thread's
                    self.errors[key] = error
                else:
                    self.results[key] = result
                if self.abandoned:
                    return
        finally:
            self.ended.set()

    @property
    def done(self) -> int:
        """How many jobs have come to an end."""
        return len(self.results) + len(self.errors)


class Patience(Generic[K, T]):
    """Does jobs in a thread of its own, one at a time, and waits for each only so long.

    A job that does not end in time keeps its thread. It is not begun again before it has ended; the others get
    another thread.

    Args:
        name: Name of the threads.
        seconds: How long to wait for a job, and a quarter of what all of them get.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._name = name
        self._seconds = seconds
        self._queue: SimpleQueue[_Batch[K, T] | None] | None = None
        self.thread: threading.Thread | None = None
        """The thread that does what comes next; None before the first."""
        self._stuck: dict[K, _Batch[K, T]] = {}

    def run(self, jobs: Mapping[K, Callable[[], T]]) -> tuple[dict[K, T], dict[K, BaseException]]:
        """Do jobs. Not for several threads at once.

        Args:
            jobs: What to do, by keys that stay the same from time to time.

        Returns:
            What the jobs gave, and what they raised; `TimeoutError` for those that were not done in time.
        """
        self._stuck = {key: batch for key, batch in self._stuck.items() if not batch.ended.is_set()}
        results: dict[K, T] = {}
        errors: dict[K, BaseException] = {key: _late(self._seconds) for key in jobs if key in self._stuck}
        left: dict[K, Callable[[], T]] = {key: job for key, job in jobs.items() if key not in self._stuck}
        deadline = monotonic() + _ALTOGETHER * self._seconds
        while left:
            batch: _Batch[K, T] = _Batch(left)
            if not self._submit(batch):
                errors |= {key: RuntimeError("there can be no more threads") for key in left}
                break
            self._await(batch, deadline)
            results |= batch.results
            errors |= batch.errors
            left = {key: job for key, job in left.items() if key not in results and key not in errors}
            if batch.ended.is_set() or batch.at is None:
                break
            self._stuck[batch.at] = batch
            errors[batch.at] = _late(self._seconds)
            left.pop(batch.at, None)
            if monotonic() >= deadline:
                errors |= {key: _late(_ALTOGETHER * self._seconds) for key in left}
                break
        return results, errors

    def close(self) -> None:
        """Let the thread end when it has done what it is at."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.put(None)

    def after_fork(self) -> None:
        """Begin anew in a forked child, which has none of the threads."""
        self._queue = None
        self._stuck = {}

    def _await(self, batch: _Batch[K, T], deadline: float) -> None:
        done = -1
        while not batch.ended.is_set() and done < batch.done and monotonic() < deadline:
            done = batch.done
            batch.ended.wait(min(self._seconds, deadline - monotonic()))
        if not batch.ended.is_set():
            batch.abandoned = True
            self.close()  # the thread ends with what it is at; the next jobs get another

    def _submit(self, batch: _Batch[K, T]) -> bool:
        if self._queue is None:
            queue: SimpleQueue[_Batch[K, T] | None] = SimpleQueue()
            thread = threading.Thread(target=_work, args=(queue,), name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter is about to end
                warn_once(("patience", self._name), "There is no thread to read other metrics with: %s", error)
                return False
            self._queue, self.thread = queue, thread
        self._queue.put(batch)
        return True


def _work(queue: SimpleQueue[_Batch[K, T] | None]) -> None:
    while (batch := queue.get()) is not None:
        batch.run()
        del batch  # what it holds is not to live until the next one comes


def _late(seconds: float) -> TimeoutError:
    return TimeoutError(f"not done within {seconds:g} s")
