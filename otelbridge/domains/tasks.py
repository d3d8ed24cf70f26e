"""Tasks and background jobs, their queues and workers.

    @otelbridge.tasks.task("send_invoice", queue="billing")
    async def send_invoice(order): ...

    otelbridge.tasks.queue("billing", size=pending.qsize)

Timed calls are context managers, sync and async, and decorators. Failures are raised on.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from otelbridge.domains.checks import checked_return
from otelbridge.domains.operation import Operation, error_type
from otelbridge.domains.presence import Presence
from otelbridge.domains.recording import DomainMeter
from otelbridge.domains.task_results import FAILURES, NO_ERRORS, result_of_error, result_of_value
from otelbridge.domains.timeouts import is_timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otelbridge.domains.recording import Registration
    from otelbridge.domains.task_results import Result

_meter = DomainMeter(DOMAIN)
_duration = _meter.recorder(TASK_DURATION)
_active = _meter.recorder(TASK_ACTIVE)
_dependency = _meter.recorder(TASK_DEPENDENCY_DURATION)
_queue_size = _meter.observed(TASK_QUEUE_SIZE)
_workers = _meter.observed(TASK_WORKER_COUNT)


class Task(Operation):
    """One run of a task, timed as ``task.duration`` and counted in ``task.active`` while it runs.

    Without a word from the task the end decides: a clean one is ``success``, and so is an exit with the code 0; a
    cancellation is ``cancelled``; an exception that means that time ran out, whichever library's, is ``timeout``; what
    a task runner raises to steer (Celery, RQ, arq, dramatiq, taskiq) is ``retry``, ``ignored`` or ``rejected``; any
    other exception is ``failure``. A failure or timeout that leaves the task as an exception is also counted in
    ``health.exceptions``, unless the task said that it ended otherwise.

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
            result: ``success``, ``failure``, ``cancelled``, ``timeout``, ``retry``, ``ignored`` or ``rejected``.
        """
        self._result = result

    def _again(self) -> Task:
        return Task(self.name, queue=self.queue)

    def _active(self) -> bool:
        return _meter.active

    def _started(self) -> None:
        self._result = None
        self._presence.begin(self._attributes())

    def _returned(self, result: object) -> None:
        self._result = self._result or result_of_value(result)

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        self._presence.end()
        ended = result_of_error(error)
        result = self._result or ended
        failure = None if ended in NO_ERRORS else error
        _duration.record(
            seconds,
            {
                **self._attributes(),
                "task.result": result,
                "error.type": None if failure is None else error_type(failure),
            },
        )
        if isinstance(failure, Exception) and result in FAILURES:
            health.exception(failure, origin="task")

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
        for state, count in checked_return(states(), Mapping, "the number of workers by state").items():
            yield count, {"task.worker.state": state}

    return _workers.observe(pool, read, {"task.worker.pool.name": pool})
