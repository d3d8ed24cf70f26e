"""Work that many ask for at once and that is done once: renderings, checks of passwords."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from otelbridge.concurrency import forks

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Value = TypeVar("Value")
Result = TypeVar("Result")


class BusyError(Exception):
    """So much is waiting already that more would only wait in vain."""


class SingleFlight(Generic[Value]):
    """Runs jobs one at a time, in a thread that lives as long as there are any.

    Whoever asks for a job that waits or runs already shares its result. Nobody waits here: a result is a
    future, so that neither an event loop nor one of a few threads is held up.

    Args:
        name: Name of the thread.
        most: How many different jobs may wait or run at a time.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._lock = forks.lock()
        self._reset()
        # The child of a fork has no thread that would do the jobs.
        forks.register(after_in_child=self._reset)

    def _reset(self) -> None:
        self._jobs: dict[Hashable, tuple[Future[Value], Callable[[], Value]]] = {}
        self._thread: threading.Thread | None = None

    def run(self, key: Hashable, job: Callable[[], Value]) -> Future[Value]:
        """Have a job done.

        Args:
            key: What makes the job the same as another.
            job: What is to be done.

        Returns:
            A future of the result, or of what the job raised. It cannot be cancelled, as others may share it.

        Raises:
            BusyError: Too many jobs wait already, or the process can have no more threads.
        """
        with self._lock:
            if key not in self._jobs and len(self._jobs) >= self._most:
                raise BusyError
            future = self._jobs.setdefault(key, (_promise(), job))[0]
            # Whoever asked before may have been interrupted before there was one.
            if self._thread is None or not self._thread.is_alive():
                self._start(key)
        return future

    def close(self, timeout: float) -> None:
        """Wait until nothing runs any more.

        Args:
            timeout: Seconds to wait at most.
        """
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _start(self, key: Hashable) -> None:
        self._thread = thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is going down
            self._thread = None
            self._jobs.pop(key)[0].set_exception(BusyError())
            raise BusyError from error

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._thread is not threading.current_thread():
                    return  # a signal handler asked, and has started another, before this one was seen to be alive
                if not self._jobs:
                    self._thread = None
                    return
                key, (future, job) = next(iter(self._jobs.items()))
            try:
                value, error = job(), None
            except BaseException as raised:  # SystemExit in a user's callback must not end the thread
                value, error = None, raised
            # First off the list: who asks from now on wants what is true from now on.
            with self._lock:
                del self._jobs[key]
            if error is None:
                future.set_result(cast("Value", value))
            else:
                future.set_exception(error)
            del future, job, value, error  # nothing of it is to live on while the next one runs


def then(value: Value | Future[Value], step: Callable[[Value], Result | Future[Result]]) -> Result | Future[Result]:
    """Go on with a value, now or as soon as it is there.

    Args:
        value: The value, or a future of it.
        step: What is done with it. It must not block.

    Returns:
        What the step gives, or a future of that. An error of the future passes the step by.
    """
    if not isinstance(value, Future):
        return step(value)
    promise: Future[Result] = _promise()

    def go_on(done: Future[Value]) -> None:
        try:
            result = step(done.result())
        except BaseException as error:
            promise.set_exception(error)
            return
        if isinstance(result, Future):
            cast("Future[Result]", result).add_done_callback(lambda inner: _copy(inner, promise))
        else:
            promise.set_result(result)

    cast("Future[Value]", value).add_done_callback(go_on)
    return promise


def rescue(value: Value | Future[Value], cure: Callable[[BaseException], Value]) -> Value | Future[Value]:
    """Put something in the place of an error.

    Args:
        value: The value, or a future of it.
        cure: Makes a value of the error. It must not raise.

    Returns:
        The value; a future of it that ends well.
    """
    if not isinstance(value, Future):
        return value
    promise: Future[Value] = _promise()

    def settle(done: Future[Value]) -> None:
        error = done.exception()
        promise.set_result(done.result() if error is None else cure(error))

    cast("Future[Value]", value).add_done_callback(settle)
    return promise


def _copy(source: Future[Result], target: Future[Result]) -> None:
    error = source.exception()
    if error is None:
        target.set_result(source.result())
    else:
        target.set_exception(error)


def _promise() -> Future[Any]:
    future: Future[Any] = Future()
    # From here on cancel() does nothing: one scraper that hangs up must not cost the others their answer.
    future.set_running_or_notify_cancel()
    return future
