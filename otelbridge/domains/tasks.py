"""Tasks and background jobs, their queues and workers.

    @otelbridge.tasks.task("send_invoice", queue="billing")
    async def send_invoice(order): ...

    otelbridge.tasks.queue("billing", size=pending.qsize)

Timed calls are context managers, sync and async, and decorators. Failures are raised on.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING

from otelbridge.catalogue.tasks import (
    DOMAIN,
    TASK_ACTIVE,
    TASK_DEPENDENCY_DURATION,
    TASK_DURATION,
    TASK_QUEUE_SIZE,
    TASK_WORKER_COUNT,
)
from otelbridge.domains import health
from otelbridge.domains.operation import Operation, error_type, is_timeout
from otelbridge.domains.presence import Presence
from otelbridge.domains.recording import DomainMeter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Literal

    from otelbridge.domains.recording import Registration

    Result = Literal["success", "failure", "cancelled", "timeout", "retry"]

_meter = DomainMeter(DOMAIN)
_duration = _meter.recorder(TASK_DURATION)
_active = _meter.recorder(TASK_ACTIVE)
_dependency = _meter.recorder(TASK_DEPENDENCY_DURATION)
_queue_size = _meter.observed(TASK_QUEUE_SIZE)
_workers = _meter.observed(TASK_WORKER_COUNT)


class Task(Operation):
    """One run of a task, timed as ``task.duration`` and counted in ``task.active`` while it runs.

    Without a word from the task the end decides: a clean one is ``success``; a cancellation is
    ``cancelled``; an exception of a class called ``TimeoutError`` (Python's, asyncio's, a client
    library's) is ``timeout``; any other is ``failure``. An exception that leaves the task is also counted
    in ``health.exceptions``, unless the task said that it will be tried again.

    Args:
        name: Name of the task, out of a small set.
        queue: Queue it came from.
    """

    __slots__ = ("_presence", "_result", "name", "queue")

    def __init__(self, name: str, *, queue: str | None = None) -> None:
        super().__init__()
        self.name = name
        self.queue = queue
        self._presence = Presence(_active)
        self._result: str | None = None

    def retry(self) -> None:
        """Say that this run did not do it and the task will be tried again."""
        self._result = "retry"

    def result(self, result: Result) -> None:
        """Say how the run ended, whatever leaves the block.

        Args:
            result: ``success``, ``failure``, ``cancelled``, ``timeout`` or ``retry``.
        """
        self._result = result

    def _again(self) -> Task:
        return Task(self.name, queue=self.queue)

    def _active(self) -> bool:
        return _meter.active

    def _started(self) -> None:
        self._result = None
        self._presence.begin(self._attributes())

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        self._presence.end()
        result = self._result or _result_of(error)
        _duration.record(
            seconds,
            {
                **self._attributes(),
                "task.result": result,
                "error.type": None if error is None else error_type(error),
            },
        )
        if isinstance(error, Exception) and result in ("failure", "timeout"):
            health.exception(error, origin="task")

    def _attributes(self) -> dict[str, str | None]:
        return {"task.name": self.name, "task.queue.name": self.queue}


class Dependencies(Operation):
    """Waiting for what a task depends on, timed as ``task.dependency.duration``.

    A clean end is ``resolved``, a timeout ``timeout``, any other exception ``failed``.

    Args:
        task: Name of the task that waits.
    """

    __slots__ = ("task",)

    def __init__(self, task: str) -> None:
        super().__init__()
        self.task = task

    def _again(self) -> Dependencies:
        return Dependencies(self.task)

    def _active(self) -> bool:
        return _meter.active

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        result = "resolved" if error is None else "timeout" if is_timeout(error) else "failed"
        _dependency.record(seconds, {"task.name": self.task, "task.dependency.result": result})


task = Task
dependencies = Dependencies


def queue(name: str, *, size: Callable[[], float]) -> Registration:
    """Report how many tasks wait in a queue, as ``task.queue.size``.

    Args:
        name: Name of the queue. Reporting a name again replaces the earlier source.
        size: Called at each collection; gives the number of waiting tasks.

    Returns:
        A handle whose ``close()`` stops the report.
    """
    return _queue_size.observe(name, size, {"task.queue.name": name})


def workers(pool: str, states: Callable[[], Mapping[str, float]]) -> Registration:
    """Report the workers of a pool by state, as ``task.worker.count``.

    Args:
        pool: Name of the pool. Reporting a name again replaces the earlier source.
        states: Called at each collection; gives the number of workers by state: ``busy``, ``idle``,
            ``offline``.

    Returns:
        A handle whose ``close()`` stops the report.
    """

    def read() -> Iterator[tuple[float, Mapping[str, str]]]:
        for state, count in states().items():
            yield count, {"task.worker.state": state}

    return _workers.observe(pool, read, {"task.worker.pool.name": pool})


def _result_of(error: BaseException | None) -> Result:
    if error is None:
        return "success"
    if isinstance(error, CancelledError):
        return "cancelled"
    return "timeout" if is_timeout(error) else "failure"
