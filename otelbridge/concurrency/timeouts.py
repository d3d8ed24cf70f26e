"""Calls code that may take its time, or never return, and goes on without it after a while."""

from __future__ import annotations

import _thread
import threading
import weakref
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from otelbridge.concurrency import forks

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

_LEAST = 0.25
"""Where the time is short, a busy machine needs this much of it to come to anything at all."""

_LEAST_SHARE = 0.25
"""But of all the time there is, none gets more than this because of that."""

_start_new_thread = _thread.start_new_thread

T = TypeVar("T")
K = TypeVar("K", bound="Hashable")


class BlockedError(TimeoutError):
    """A job was begun and has not come back: it keeps its thread until it does."""


class _Batch(Generic[K, T]):
    """Jobs that one thread does one after the other, until they are no longer waited for."""

    def __init__(self, jobs: Mapping[K, Callable[[], T]]) -> None:
        self.results: dict[K, T] = {}
        self.errors: dict[K, BaseException] = {}
        self.began = monotonic()
        """When what is being done was begun."""
        self.ended = forks.event()
        self._jobs = dict(jobs)
        self._at: list[K] = []
        self._abandoned = False
        self._lock = forks.lock()
        self._doing = forks.lock()

    def run(self) -> None:
        """Do them. What is reported meanwhile is logged by who waits, who may hold locks that a log handler wants."""
        with self._doing:
            self._run()

    def _run(self) -> None:
        try:
            for key, job in self._jobs.items():
                if not self._begin(key):
                    return
                try:
                    result = job()
                except BaseException as error:  # SystemExit too: it is the job's, not the thread's
                    self._finish(self.errors, key, error)
                else:
                    self._finish(self.results, key, result)
        finally:
            self.ended.set()

    def abandon(self) -> list[K]:
        """Wait no longer: what is known by now stays as it is, and nothing more is begun.

        Returns:
            What is being done: one or none.
        """
        with self._lock:
            self._abandoned = True
            return self._at

    def _begin(self, key: K) -> bool:
        with self._lock:
            if not self._abandoned:
                self._at, self.began = [key], monotonic()
            return not self._abandoned

    def _finish(self, found: dict[K, Any], key: K, what: object) -> None:
        with self._lock:
            if not self._abandoned:
                self._at = []
                found[key] = what


class TimeLimitedRunner(Generic[K, T]):
    """Does jobs in a thread of its own, one at a time, and waits for each only so long.

    A job that does not come back in time keeps its thread. It is not begun again before it has come back; the others
    get another thread. Where no thread can be had (at the end of a process with Python 3.12, at the limit of the
    system, after `close`, or where gevent has replaced threads since this module was loaded), whoever asks does the
    jobs.

    Args:
        name: Name of the threads.
        share: Of the time that is left when a job begins, how much it may take; the rest is for the others.
    """

    def __init__(self, name: str, share: float) -> None:
        self._name = name
        self._share = share
        self._end: weakref.finalize[[None], TimeLimitedRunner[K, T]] | None = None
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew in a forked child, which has none of the threads."""
        end, self._end = self._end, None
        if end is not None:
            end.detach()
        self._queue: SimpleQueue[_Batch[K, T] | None] | None = None
        self.thread: threading.Thread | None = None
        """The thread that does what comes next, or did so last; None before the first."""
        self._stuck: dict[K, _Batch[K, T]] = {}
        self._closed = False

    def run(self, jobs: Mapping[K, Callable[[], T]], seconds: float) -> tuple[dict[K, T], dict[K, BaseException]]:
        """Do jobs. Not for several threads at once.

        Args:
            jobs: What to do, by keys that stay the same from time to time.
            seconds: How long all of them may take.

        Returns:
            What the jobs gave, and what they raised: `BlockedError` for those that have not come back, this time or
            before, `TimeoutError` for those whose turn did not come.
        """
        deadline = monotonic() + seconds
        least = min(_LEAST, seconds * _LEAST_SHARE)
        self._stuck = {key: batch for key, batch in self._stuck.items() if not batch.ended.is_set()}
        results: dict[K, T] = {}
        errors: dict[K, BaseException] = {key: _blocked(self._stuck[key]) for key in jobs if key in self._stuck}
        left: dict[K, Callable[[], T]] = {key: job for key, job in jobs.items() if key not in errors}
        while left and monotonic() < deadline:
            batch = self._begin(left)
            self._await(batch, least, deadline)
            at = batch.abandon()
            results |= batch.results
            errors |= batch.errors
            for key in at:
                self._stuck[key], errors[key] = batch, _blocked(batch)
            left = {key: job for key, job in left.items() if key not in results and key not in errors}
            if at:
                self._leave_thread()  # which ends when the job comes back; the others get another
            elif left and not batch.ended.is_set():
                self._leave_thread()
                break  # The machine did not get round to it: no job is to blame, and there is no time to try again.
        return results, errors | {key: TimeoutError("there was no time left for it") for key in left}

    def close(self) -> None:
        """Let the thread end when it has done what it is at."""
        self._closed = True
        self._leave_thread()

    def _begin(self, jobs: Mapping[K, Callable[[], T]]) -> _Batch[K, T]:
        batch: _Batch[K, T] = _Batch(jobs)
        if self._queue is None and not self._closed:
            self._start_thread()
        queue = self._queue
        if queue is None:
            batch.run()
        else:
            queue.put(batch)
        return batch

    def _await(self, batch: _Batch[K, T], least: float, deadline: float) -> None:
        while not batch.ended.is_set():
            began = batch.began
            until = min(began + max(self._share * (deadline - began), least), deadline)
            if not batch.ended.wait(max(until - monotonic(), 0)) and batch.began == began:
                return

    def _start_thread(self) -> None:
        # What starts now would be a greenlet: it would wait for its first job in the thread that is to give it one.
        if _thread.start_new_thread is not _start_new_thread:
            return
        queue: SimpleQueue[_Batch[K, T] | None] = SimpleQueue()
        thread = threading.Thread(target=_work, args=(queue,), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return
        self._queue, self.thread = queue, thread
        self._end = weakref.finalize(self, queue.put, None)
        self._end.atexit = False

    def _leave_thread(self) -> None:
        self._queue = None
        end, self._end = self._end, None
        if end is not None:
            end()


def _work(queue: SimpleQueue[_Batch[Any, Any] | None]) -> None:
    while (batch := queue.get()) is not None:
        batch.run()
        del batch  # what it holds is not to live until the next one comes


def _blocked(batch: _Batch[Any, Any]) -> BlockedError:
    return BlockedError(f"not done within {monotonic() - batch.began:.1f} s")
